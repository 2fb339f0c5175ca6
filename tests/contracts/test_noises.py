"""What every shape of noise must do: a linear map with unit variance in every cell, and an inverse.

Covariances are read off the map itself, by unit vectors: no Monte Carlo.
"""

import math

import numpy as np
import pytest
import torch

from diffsci.diffusion.augmentation import ends, level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.covariance import Covariance, WithCovariance
from diffsci.diffusion.exact import Gaussian, linear_output_law
from diffsci.diffusion.noise import MemberNoise, seeded
from diffsci.diffusion.noises.coloured import Coloured
from diffsci.diffusion.noises.spherical import Spherical
from diffsci.diffusion.samplers.ancestral import Ancestral
from diffsci.diffusion.samplers.heun import Heun
from diffsci.diffusion.schedules.edm import EDM
from diffsci.errors import FieldError
from diffsci.families import load, names
from diffsci.grid import Grid


def flat(sizes, sides="periodic"):
    return Grid(
        dims=("z", "y", "x")[-len(sizes) :],
        coordinates=tuple(tuple(map(float, range(size))) for size in sizes),
        units=("m",) * len(sizes),
        boundary=((sides, sides),) * len(sizes),
    )


def globe(rows, columns, *, across=False, latitudes=None, longitudes=None, poles=("pole", "pole")):
    """A global grid, with latitude first or, `across`, second."""
    if latitudes is None:
        latitudes = [(i + 0.5) * 180 / rows - 90 for i in range(rows)]
    if longitudes is None:
        longitudes = [i * 360 / columns for i in range(columns)]
    dims = [
        ("latitude", tuple(latitudes), "degrees_north", poles),
        ("longitude", tuple(longitudes), "degrees_east", ("periodic", "periodic")),
    ]
    names, coordinates, units, boundary = zip(*(dims[::-1] if across else dims), strict=True)
    return Grid(
        dims=names, coordinates=coordinates, units=units, boundary=boundary, geometry="sphere"
    )


GAUSSIAN_ROWS = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(8)[0])).tolist()
GLOBES = {
    "cells": globe(6, 10),
    "odd": globe(6, 9),
    "across": globe(5, 12, across=True),
    "gaussian rows": globe(8, 16, latitudes=GAUSSIAN_ROWS),
    "rows at the poles": globe(7, 12, latitudes=np.linspace(90, -90, 7).tolist()),
}
BOXES = {
    "circle": flat((16,)),
    "line": flat((9,), "wall"),
    "torus": flat((6, 8)),
    "box": flat((6, 5), "open"),
    "block": flat((3, 4, 5), "zero"),
}
SETTINGS = {
    "white": [{}],
    "coloured": [{}, {"slope": 0.0}, {"slope": 3.5}],
    "spherical": [{}, {"slope": 2.5, "white": 0.05}],
}
ALL = [
    pytest.param(name, fields, grid, id=f"{name}-{'-'.join(map(str, fields.values()))}-{where}")
    for name in names("noises")
    for fields in SETTINGS.get(name, [{}])
    for where, grid in (GLOBES if name == "spherical" else BOXES | GLOBES).items()
]
everywhere = pytest.mark.parametrize(("name", "fields", "grid"), ALL)


def matrix_of(shaping, grid):
    """The map as a matrix that multiplies flattened white noise from the left."""
    count = math.prod(grid.sizes)
    unit = torch.eye(count, dtype=torch.float64).reshape(count, 1, *grid.sizes)
    return shaping(unit).reshape(count, count).T


def white(grid, rows=3, channels=2, seed=0):
    like = torch.empty(rows, channels, *grid.sizes, dtype=torch.float64)
    return seeded(seed)(like, 0)


@everywhere
def test_every_cell_has_unit_variance_and_every_direction_some(name, fields, grid):
    noise = load("noises", name)(**fields)
    noise.check(grid)
    matrix = matrix_of(noise.shaping(grid), grid)
    covariance = matrix @ matrix.T
    assert torch.allclose(covariance.diagonal(), torch.ones(()).double(), rtol=0, atol=1e-13)
    # Else x_t would hold clean data in that direction. The steepest spectrum here: 9^-3.5 = 5e-4
    # of the first wave's.
    assert float(torch.linalg.eigvalsh(covariance).min()) > 1e-4


@everywhere
def test_it_is_linear_and_leaves_examples_and_channels_apart(name, fields, grid):
    shaping = load("noises", name)(**fields).shaping(grid)
    x, z = white(grid), white(grid, seed=1)
    shaped = shaping(x)
    assert shaped.shape == x.shape
    assert torch.allclose(shaping(2 * x - 3 * z), 2 * shaped - 3 * shaping(z), rtol=0, atol=1e-12)
    apart = torch.stack([shaping(x[:, i : i + 1])[:, 0] for i in range(2)], dim=1)
    assert torch.allclose(shaped, apart, rtol=0, atol=1e-13)
    assert torch.allclose(shaped[1:2], shaping(x[1:2]), rtol=0, atol=1e-13)


@everywhere
def test_float32_is_float64_to_its_own_precision(name, fields, grid):
    shaping, x = load("noises", name)(**fields).shaping(grid), white(grid)
    rough = shaping(x.float())
    assert rough.dtype == torch.float32
    assert torch.allclose(rough.double(), shaping(x), rtol=0, atol=1e-5)


@everywhere
def test_it_is_white_where_it_says_so(name, fields, grid):
    noise = load("noises", name)(**fields)
    x = white(grid)
    if noise.is_white:
        assert noise.shaping(grid)(x) is x
    elif fields.get("slope") != 0:
        assert not torch.allclose(noise.shaping(grid)(x), x, atol=0.1)


@pytest.mark.parametrize("name", names("noises"))
def test_a_member_is_the_same_in_any_batch(name):
    """Counter-based draws, shaped each by itself: bits aside, which the width of a product sets."""
    shaping = load("noises", name)().shaping(GLOBES["cells"])
    like = torch.empty(3, 2, 6, 10, dtype=torch.float64)
    three = MemberNoise(seed=1, cases=("a", "b", "a"), members=(0, 4, 2), leads=(0, 0, 0))
    alone = MemberNoise(seed=1, cases=("b",), members=(4,), leads=(0,))
    together, single = shaping(three(like, 5)), shaping(alone(like[:1], 5))
    assert torch.allclose(together[1:2], single, rtol=0, atol=1e-14)
    assert not torch.allclose(together[0], together[2], atol=0.1)


# A Gaussian law, sampled with shaped noise.


class Shaped(Covariance):
    """Of the whitened problem: draws L (floor^2 + scale^2 C)^(1/2) z from L z."""

    def __init__(self, covariance, matrix):
        self.covariance, self.matrix = covariance, matrix

    def draw(self, unit_noise, floor, scale):
        z = torch.linalg.solve(self.matrix, unit_noise.flatten(1).T).T
        return (self.covariance.draw(z, floor, scale) @ self.matrix.T).reshape(unit_noise.shape)


class Known(WithCovariance):
    """The denoiser of x_t = c x_0 + d L z for normal x_0, written without whitening."""

    def __init__(self, covariance, matrix, schedule):
        self.covariance, self.matrix, self.schedule = covariance, matrix, schedule
        inverse = torch.linalg.inv(matrix)
        whitened = inverse @ covariance @ inverse.T
        self.white = Gaussian(
            mean=torch.zeros(len(matrix)).double(), covariance=(whitened + whitened.T) / 2
        )

    def __call__(self, x_t, t):
        at = level(self.schedule, t)
        c, d = at.signal_scale, at.noise_std
        total = c**2 * self.covariance + d**2 * self.matrix @ self.matrix.T
        gain = c * self.covariance @ torch.linalg.inv(total)
        return (x_t.flatten(1) @ gain.T).reshape(x_t.shape)

    def with_covariance(self, x_t, at):
        _, covariance = self.white.posterior(torch.zeros_like(x_t.flatten(1)), at)
        return self(x_t, at.t), Shaped(covariance, self.matrix)


@pytest.mark.parametrize(
    ("name", "fields", "grid"),
    [
        ("coloured", {"slope": 1.5}, flat((8,))),
        ("coloured", {"slope": 1.5}, flat((4, 3), "wall")),
        ("spherical", {}, globe(4, 6)),
    ],
    ids=["coloured on a circle", "coloured in a box", "spherical"],
)
def test_a_gaussian_is_sampled_with_shaped_noise(name, fields, grid):
    """The law of the output, read off the samplers: that of the data plus d_0^2 L L^T.

    With the exact covariance in any number of steps, up to the start at pure noise, where the data
    are 25 times below it where noise is weakest; with Heun to second order in 1 / 100 besides.
    """
    count = math.prod(grid.sizes)
    shaping, schedule = load("noises", name)(**fields).shaping(grid), EDM()
    matrix = matrix_of(shaping, grid)
    factor = seeded(11)(torch.empty(count, count, dtype=torch.float64), 0) / math.sqrt(count)
    covariance = factor @ factor.T + 0.05 * torch.eye(count, dtype=torch.float64)
    denoise = Known(covariance, matrix, schedule)
    first, last = level(schedule, ends(schedule)).noise_std

    def shape(x):
        return shaping(x.reshape(-1, 1, *grid.sizes))

    for sampler, within in ((Ancestral(steps=4, variance="exact"), 3e-3), (Heun(steps=100), 0.01)):

        def shaped(denoise, schedule, x_1, noise, sampler=sampler):
            def field_noise(like, index):
                return shape(noise(like.flatten(1), index))

            return sampler(denoise, schedule, shape(x_1), field_noise).flatten(1)

        zero, eye = torch.zeros(count).double(), torch.eye(count).double()
        _, found = linear_output_law(shaped, denoise, schedule, zero, first**2 * eye)
        wanted = covariance + last**2 * matrix @ matrix.T
        assert float((found - wanted).abs().max() / wanted.abs().max()) < within, sampler


# Coloured.


@pytest.mark.parametrize("sizes", [(9,), (6, 8), (3, 4, 5)])
def test_coloured_waves_have_their_spectrum(sizes):
    """Power (|k| + 1)^-slope, k in cycles per longest dim; on a torus the map is diagonal."""
    basis = Basis(sizes, (True,) * len(sizes))
    matrix = matrix_of(Coloured(slope=1.7).shaping(flat(sizes)), flat(sizes))
    covariance = (matrix @ matrix.T).reshape(*sizes, *sizes)
    count = math.prod(sizes)
    waves = basis.forward(covariance).reshape(count, count).T.reshape(count, *sizes)
    found = basis.forward(waves).reshape(count, count)
    power = ((basis.wavenumber * max(sizes) + 1) ** -1.7).flatten()
    expected = torch.diag(power / power.mean())
    assert torch.allclose(found, expected, rtol=0, atol=1e-13)


def test_coloured_on_a_torus_is_stationary():
    grid = flat((6, 8))
    matrix = matrix_of(Coloured().shaping(grid), grid)
    covariance = (matrix @ matrix.T).reshape(6, 8, 6, 8)
    moved = covariance.roll((2, 3, 2, 3), (0, 1, 2, 3))
    assert torch.allclose(moved, covariance, rtol=0, atol=1e-13)
    # Neighbours are alike: it has large scales.
    assert covariance[0, 0, 0, 1] > 0.3


def test_coloured_in_a_box_is_scaled_cell_by_cell():
    """The dense form: waves with the spectrum, divided by the standard deviation of each cell."""
    grid, basis = flat((6, 5), "wall"), Basis((6, 5), (False, False))
    unit = torch.eye(30, dtype=torch.float64)
    waves = basis.forward(unit.reshape(30, 6, 5)).reshape(30, 30).T
    power = ((basis.wavenumber * 6 + 1) ** -2).flatten()
    raw = waves.T @ torch.diag(power / power.mean()) @ waves
    std = torch.sqrt(raw.diagonal())
    assert float(std.max() / std.min()) > 1.2  # so the scaling does something
    matrix = matrix_of(Coloured(slope=2.0).shaping(grid), grid)
    expected = raw / std[:, None] / std[None]
    assert torch.allclose(matrix @ matrix.T, expected, rtol=0, atol=1e-13)


# Spherical.


@pytest.mark.parametrize("slope", [0.0, 2.5])
@pytest.mark.parametrize("grid", GLOBES.values(), ids=GLOBES)
def test_spherical_depends_on_the_great_circle_distance_alone(grid, slope):
    """Against the sum over degrees of s_l P_l(cos distance), by numpy, to rounding."""
    matrix = matrix_of(Spherical(slope=slope, white=0.02).shaping(grid), grid)
    axes = [
        torch.deg2rad(torch.tensor(grid.coordinates[grid.dims.index(dim)], dtype=torch.float64))
        for dim in grid.dims
    ]
    mesh = dict(zip(grid.dims, torch.meshgrid(*axes, indexing="ij"), strict=True))
    latitude, longitude = mesh["latitude"].flatten(), mesh["longitude"].flatten()
    place = torch.stack(
        [
            torch.cos(latitude) * torch.cos(longitude),
            torch.cos(latitude) * torch.sin(longitude),
            torch.sin(latitude),
        ]
    )
    sizes = dict(zip(grid.dims, grid.sizes, strict=True))
    highest = min(sizes["latitude"] - 1, (sizes["longitude"] - 1) // 2)
    degree = np.arange(highest + 1)
    share = (2 * degree + 1) * (degree + 1.0) ** -slope
    cosine = (place.T @ place).clamp(-1, 1).numpy()
    smooth = np.polynomial.legendre.legval(cosine, share / share.sum())
    expected = 0.98 * torch.tensor(smooth) + 0.02 * torch.eye(len(cosine), dtype=torch.float64)
    assert torch.allclose(matrix @ matrix.T, expected, rtol=0, atol=1e-13)


def test_spherical_high_degrees_are_stable():
    """Unit variance at all rows is the addition theorem, over all orders, up to degree 89."""
    grid = globe(90, 180)
    matrix = Spherical(white=0.01).shaping(grid)
    rows = torch.zeros(90, 1, 90, 180, dtype=torch.float64)
    rows[torch.arange(90), 0, torch.arange(90), 0] = 1
    # The map is symmetric: the rows' squared norms are the cells' variances.
    assert torch.allclose((matrix(rows) ** 2).sum(dim=(1, 2, 3)), torch.ones(90).double())


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (flat((6, 8)), 'spherical: got "flat grid of .*expected a global grid of latitude'),
        (globe(6, 10, poles=("open", "pole")), "'open', 'pole'.*use: coloured"),
        (
            globe(4, 6, longitudes=[0.0, 60.0, 120.0, 180.0, 240.0, 250.0]),
            "uneven longitudes.*steps of 60 degrees all around",
        ),
        (globe(300, 8), "got '300 latitudes', expected 256 or fewer; .*use: coloured"),
    ],
)
def test_spherical_refuses_other_grids(grid, message):
    for ask in (Spherical().check, Spherical().shaping):
        with pytest.raises(FieldError, match=message):
            ask(grid)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("coloured", {"slope": -1.0}, "slope: got -1.0, expected 0"),
        ("coloured", {"slope": 7.0}, "slope: got 7.0"),
        ("coloured", {"slope": math.nan}, "slope: got nan"),
        ("spherical", {"slope": -1.0}, "slope: got -1.0"),
        ("spherical", {"white": 0.0}, "white: got 0.0, expected more than 0"),
        ("spherical", {"white": 1.0}, "white: got 1.0"),
    ],
)
def test_values_out_of_range_are_named(name, fields, message):
    with pytest.raises(FieldError, match=message):
        load("noises", name)(**fields)
