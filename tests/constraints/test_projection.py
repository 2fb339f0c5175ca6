"""Constraints against closed forms: conditionals of normal laws, Fourier waves, and each other."""

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.constraints._projection import Projection
from diffsci.constraints.base import Setting
from diffsci.constraints.bounds import Bounds
from diffsci.constraints.dirichlet import Dirichlet
from diffsci.constraints.divergence_free import DivergenceFree
from diffsci.constraints.linear import Linear
from diffsci.constraints.mean import Mean
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.exact import StationaryField
from diffsci.diffusion.exact.output_law import linear_output_law
from diffsci.diffusion.samplers.dpmpp import DPMpp
from diffsci.diffusion.schedules.edm import EDM
from diffsci.errors import ConfigError, DataError, NumericsError
from diffsci.grid import Grid
from diffsci.solvers.kolmogorov import Kolmogorov


def box(sizes=(6, 9), boundary="periodic", names=("v", "u"), scale=(0.5, 2.0)):
    dims = ("z", "y", "x")[-len(sizes) :]
    return Setting(
        grid=Grid(
            dims=dims,
            coordinates=tuple(tuple(0.3 * i for i in range(size)) for size in sizes),
            units=("1",) * len(sizes),
            boundary=((boundary, boundary),) * len(sizes),
        ),
        channels=names,
        scale=np.array(scale),
    )


def states(setting, count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 1 + torch.randn(count, *setting.shape, generator=generator, dtype=torch.float64)


def file_of(path, setting, rows, values=None):
    dims = ("row", *setting.grid.dims)
    ds = xr.Dataset({name: (dims, rows[:, i]) for i, name in enumerate(setting.channels)})
    if values is not None:
        ds["value"] = ("row", values)
    ds.to_netcdf(path, engine="scipy")
    return Linear(file=str(path))


def weighted(setting, x, y):
    """Inner product in which channels are measured in their scales."""
    scale = torch.as_tensor(setting.scale).reshape(-1, *[1] * len(setting.grid.sizes))
    return float((x * y / scale**2).sum())


def some(tmp_path):
    """Sets of constraints, each with a setting that they fit."""
    walls = box(boundary="wall")
    rows = np.random.default_rng(0).standard_normal((3, *walls.shape))
    return [
        (box(), [Mean(value=2.0)]),
        (box(), [Mean(value=(1.0, -1.0))]),
        (box(), [DivergenceFree()]),
        (box((4, 6, 5), names=("w", "v", "u"), scale=(1.0, 2.0, 0.7)), [DivergenceFree()]),
        (box(), [DivergenceFree(), Mean(value=0.3, channels=("u",))]),
        (walls, [Dirichlet(sides=("x.low", "y.high", "y.low"))]),
        (walls, [Dirichlet(sides=("x.high",), value=1.5, channels=("u",)), Mean(value=0.0)]),
        (walls, [file_of(tmp_path / "a.nc", walls, rows, np.arange(3.0)), Mean(value=1.0)]),
        (box(), [Bounds(minimum=0.0), Mean(value=1.0)]),
        (box(), [Bounds(minimum=-0.5, maximum=2.5), DivergenceFree()]),
    ]


@pytest.mark.parametrize("number", range(10))
def test_what_comes_out_is_the_nearest_state_that_meets_all(number, tmp_path):
    """Met, left alone when met, and no nearer one: x - x' looks away from all that meet it."""
    setting, constraints = some(tmp_path)[number]
    project = Projection.of(constraints, setting)
    x = states(setting)
    made = project(x)
    # Alternations end within 1e-9 std of all; without bounds what is left is rounding.
    most = 1e-8 if project.bounded else 1e-13
    assert project.off(x).min() > 1e-2 and project.off(made).max() < most
    assert torch.allclose(project(made), made, rtol=0, atol=most)
    assert (made >= project.low).all() and (made <= project.high).all()
    other = project(states(setting, seed=1))
    for row in range(len(x)):
        angle = weighted(setting, (x - made)[row], (other - made)[row])
        size = weighted(setting, (x - made)[row], (x - made)[row])
        # Zero on planes, negative where bounds are touched.
        assert angle < 1e-6 * size if project.bounded else abs(angle) < 1e-10 * size


def test_it_is_the_conditional_mean_of_a_normal_law(tmp_path):
    """x ~ N(m, W) given A x = b has mean m + W A^T (A W A^T)^-1 (b - A m), here by numpy."""
    setting = box(boundary="wall")
    random = np.random.default_rng(1)
    rows, b = random.standard_normal((4, *setting.shape)), random.standard_normal(4)
    project = Projection.of([file_of(tmp_path / "a.nc", setting, rows, b)], setting)
    m = states(setting, 1)
    a = rows.reshape(4, -1)
    w = np.repeat(setting.scale**2, 54)
    gain = (w[:, None] * a.T) @ np.linalg.inv(a @ (w[:, None] * a.T))
    exact = m.numpy().reshape(-1) + gain @ (b - a @ m.numpy().reshape(-1))
    # A system of 4 rows of condition below 10.
    assert np.allclose(project(m).numpy().reshape(-1), exact, rtol=0, atol=1e-13)


def test_a_sampler_that_projects_has_the_conditional_law():
    """Fields on a ring given their mean: that wave is known, the others keep their law.

    Of the sampler's own law, steps and all, exactly the wave of the mean is taken out.
    """
    size = 8
    basis = Basis((size,), (True,))
    variance = (1.0 / (1 + torch.arange(size, dtype=torch.float64)) ** 2)[None]
    law = StationaryField(basis=basis, variance=variance)
    schedule, sampler = EDM(), DPMpp(steps=6)
    model = law.denoiser(schedule)
    setting = box((size,), names=("u",), scale=(1.0,))
    project = Projection.of([Mean(value=0.7)], setting)

    def plain(x_t, t):
        return model(x_t[:, None], t)[:, 0]

    def projected(x_t, t):
        return project(model(x_t[:, None], t))[:, 0]

    start = torch.zeros(size, dtype=torch.float64), 80.0**2 * torch.eye(size, dtype=torch.float64)
    free_mean, free = linear_output_law(sampler, plain, schedule, *start)

    def ending(*parts):
        return project(sampler(*parts)[:, None])[:, 0]

    mean, covariance = linear_output_law(ending, projected, schedule, *start)
    ring = torch.eye(size, dtype=torch.float64) - 1 / size
    # Numbers of order 1, and x_1 of order 80.
    assert torch.allclose(covariance, ring @ free @ ring, rtol=0, atol=1e-10)
    assert torch.allclose(mean, ring @ free_mean + 0.7, rtol=0, atol=1e-10)


def test_leray_keeps_curls_takes_gradients_and_commutes_with_shifts():
    setting = box((8, 12), scale=(1.0, 1.0))
    project = Projection.of([DivergenceFree()], setting)
    y, x = (torch.arange(n, dtype=torch.float64) / n * 2 * np.pi for n in (8, 12))
    y, x = torch.meshgrid(y, x, indexing="ij")
    long, high = 12 * 0.3 / (2 * np.pi), 8 * 0.3 / (2 * np.pi)  # box lengths over 2 pi
    # The stream function sin(2 y) cos(3 x), and a potential of the same shape.
    curl = torch.stack([3 / long * torch.sin(2 * y) * torch.sin(3 * x),
                        2 / high * torch.cos(2 * y) * torch.cos(3 * x)])[None]  # fmt: skip
    gradient = torch.stack([2 / high * torch.cos(2 * y) * torch.cos(3 * x),
                            -3 / long * torch.sin(2 * y) * torch.sin(3 * x)])[None]  # fmt: skip
    assert torch.allclose(project(curl), curl, rtol=0, atol=1e-13)
    assert project(gradient).abs().max() < 1e-13
    assert torch.allclose(project(curl + gradient), curl, rtol=0, atol=1e-13)
    field = states(setting)
    moved = project(field.roll((3, 5), dims=(2, 3)))
    assert torch.allclose(moved, project(field).roll((3, 5), dims=(2, 3)), rtol=0, atol=1e-13)


def test_the_velocity_of_the_solver_has_no_divergence():
    solver = Kolmogorov(points=16, solver_points=16, spin_up=0.4, trajectories=1, frames=1, dt=0.1)
    found = solver()
    field = torch.from_numpy(np.stack([found.v.values, found.u.values], axis=2)[:, 0]).double()
    setting = box((16, 16), scale=(1.0, 1.0))
    # Stored in single precision: 6e-8 of values of order 3.
    assert Projection.of([DivergenceFree()], setting).off(field).max() < 1e-6


def test_the_mean_counts_cells_by_their_size_and_may_be_that_of_a_frame():
    grid = Grid(
        dims=("latitude", "longitude"),
        coordinates=((-60.0, 0.0, 60.0), (0.0, 120.0, 240.0)),
        units=("degrees_north", "degrees_east"),
        boundary=(("open", "open"), ("periodic", "periodic")),
        geometry="sphere",
    )
    setting = Setting(grid=grid, channels=("h",), scale=np.array([3.0]))
    project = Projection.of([Mean()], setting)
    x, given = states(setting), states(setting, seed=2)
    weights = torch.from_numpy(grid.cell_weights / 9)

    def mean(values):
        return (values * weights).sum(dim=(1, 2, 3))

    made = project(x, given)
    assert torch.allclose(mean(made), mean(given), rtol=0, atol=1e-14)
    error = (mean(x) - mean(given)).abs() / 3
    # The nearest change of a weighted mean is along the weights: its size by Cauchy and Schwarz.
    share = float((weights**2).sum().sqrt() * 3)
    assert torch.allclose(project.off(x, given), error / share, rtol=1e-12, atol=0)


def test_bounds_and_a_mean_by_hand():
    """Water poured over (0, 1, 5): at least 0, mean 1.  0 -> 0, 1 -> 0, 5 -> 3."""
    setting = box((3,), names=("c",), scale=(1.0,))
    project = Projection.of([Bounds(minimum=0.0), Mean(value=1.0)], setting)
    made = project(torch.tensor([[[0.0, 1.0, 5.0]]], dtype=torch.float64))
    assert torch.allclose(made, torch.tensor([[[0.0, 0.0, 3.0]]]).double(), rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ([Mean(value=2.0), Bounds(maximum=1.0)], "mean and bounds contradict each other: its row 0 "
         "asks for 2, and within the bounds it is -inf to 1"),
        ([Mean(channels=("w",), value=0.0)], "channels: got 'w', expected names of channels: v, u"),
        ([Mean(value=(1.0, 2.0, 3.0))], "value: got .* expected one number, or one for each of "),
        ([DivergenceFree(velocity=("u",))], "velocity: got .* expected 2 names, one along each of"),
        ([DivergenceFree(velocity=("a", "u"))], "velocity: got 'a', expected names of channels"),
        ([Dirichlet(sides=("x.low",))], "sides: got 'x.low', expected a dim with an edge; x is p"),
        ([Dirichlet(sides=("r.low",))], "sides: got 'r.low', expected one of the dims y, x"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(constraints, message):
    with pytest.raises(ConfigError, match=message):
        Projection.of(constraints, box())


def test_contradictions_between_members_are_named(tmp_path):
    setting = box(boundary="wall")
    edge = np.zeros((1, *setting.shape))
    edge[0, 0, :, 0] = 1.0
    other = file_of(tmp_path / "a.nc", setting, edge, np.array([3.0]))
    walls = Dirichlet(sides=("x.low",))
    with pytest.raises(ConfigError, match="dirichlet and linear contradict each other"):
        Projection.of([walls, other], setting)
    agreed = file_of(tmp_path / "b.nc", setting, edge, np.array([0.0]))
    project = Projection.of([walls, agreed], setting)
    assert project.off(project(states(setting))).max() < 1e-13
    flow = box()
    rows = np.zeros((1, *flow.shape))
    rows[0, 1] = np.cos(2 * np.pi * np.arange(9) / 9)[None, :]  # u along x of a wave along x
    wave = file_of(tmp_path / "c.nc", flow, rows, np.array([1.0]))
    with pytest.raises(ConfigError, match="linear is singular beside divergence_free: .* row 0 is"):
        Projection.of([DivergenceFree(), wave], flow)


def test_bounds_that_leave_nothing_are_refused_when_that_shows():
    """A flow that is nowhere negative and has no divergence may be still, or stream; not swirl."""
    setting = box((4, 4), scale=(1.0, 1.0))
    rows = [Bounds(minimum=0.5, maximum=0.6), Mean(value="given")]
    project = Projection.of(rows, setting)
    with pytest.raises(NumericsError, match="mean and the bounds are .* std from each other"):
        project(states(setting), 5 + states(setting), rounds=50)


def test_files_of_conditions_are_checked(tmp_path):
    setting = box(boundary="wall")
    rows = np.random.default_rng(0).standard_normal((2, *setting.shape))

    def refused(made, message):
        with pytest.raises(DataError, match=message):
            Projection.of([made], setting)

    refused(Linear(file=str(tmp_path / "none.nc")), "none.nc: no such file of constraints")
    (tmp_path / "text.nc").write_text("hello")
    refused(Linear(file=str(tmp_path / "text.nc")), "cannot be read as NetCDF")
    refused(file_of(tmp_path / "a.nc", setting, rows), "no variable `value` along `row`")
    same = np.concatenate([rows, rows[:1]])
    message = r"its rows are singular: some follow from the others \(rows 0 and 2"
    refused(file_of(tmp_path / "b.nc", setting, same, np.zeros(3)), message)
    nothing = np.concatenate([rows, 0 * rows[:1]])
    refused(file_of(tmp_path / "c.nc", setting, nothing, np.zeros(3)), "row 2 is zero or not fin")
    small = box((4, 4), boundary="wall")
    part = file_of(tmp_path / "d.nc", small, rows[:, :, :4, :4], np.zeros(2))
    refused(part, r"v is \(4, 4\), the grid 6 x 9")
    strange = box(boundary="wall", names=("v", "q"))
    refused(file_of(tmp_path / "e.nc", strange, rows, np.zeros(2)), "has v, q; channels: v, u")
