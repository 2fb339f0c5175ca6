import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci import families
from diffsci.errors import ConfigError, FieldError
from diffsci.solvers.base import Solver, SpectralSolver


@pytest.fixture(params=families.names("solvers"))
def solver(request):
    """A small set of each member: two short trajectories, in two dims of few points."""
    member = families.load("solvers", request.param)
    # A short spin-up in place of a long one, none where there is none.
    long = [f for f in dataclasses.fields(member) if f.name == "spin_up" and f.default]
    spin_up = {f.name: 1.0 for f in long}
    flat = issubclass(member, SpectralSolver) and len(member.dims) == 2
    size = {"points": 24, "solver_points": 24} if flat else {}
    return member(trajectories=2, frames=2, **spin_up, **size)


def test_a_frozen_dataclass_with_a_size_and_a_seed(solver):
    assert isinstance(solver, Solver)
    with pytest.raises(dataclasses.FrozenInstanceError):
        solver.seed = 1
    assert {"seed", "trajectories", "frames"} <= {f.name for f in dataclasses.fields(solver)}
    assert families.summary("solvers", families.name_of(solver))


def test_labelled_finite_float32_and_repeatable(solver):
    dataset = solver()
    assert dataset.data_vars
    for variable in dataset.data_vars.values():
        # A parameter has one number for each trajectory, a field also frames.
        assert variable.shape[:2] == (2, 2)[: variable.ndim]
        assert variable.dims[:2] == ("sample", "time")[: variable.ndim]
        assert variable.dtype == np.float32 and np.isfinite(variable).all()
        assert "units" in variable.attrs
    assert dataset.identical(solver())


def test_one_more_trajectory_changes_none_of_the_others(solver):
    more = dataclasses.replace(solver, trajectories=3)()
    assert more.isel(sample=slice(0, 2)).drop_attrs().identical(solver().drop_attrs())


def test_another_seed_is_another_set(solver):
    other = dataclasses.replace(solver, seed=7)()
    for name, variable in solver().data_vars.items():
        # Parameters may be told instead of drawn.
        assert variable.ndim == 1 or not np.array_equal(variable, other[name])


def test_parts_are_the_whole(solver):
    """Put together they are what a call gives; those before a trajectory may be left out."""
    several = dataclasses.replace(solver, trajectories=getattr(solver, "together", 1) + 1)
    parts, whole = list(several.parts()), several()
    assert xr.concat(parts, "sample").drop_attrs().identical(whole.drop_attrs())
    assert all(part.attrs == whole.attrs for part in parts)
    done = parts[0].sizes["sample"]
    left = list(several.parts(done))
    assert [part.sizes["sample"] for part in left] == [p.sizes["sample"] for p in parts[1:]]
    assert all(a.identical(b) for a, b in zip(left, parts[1:], strict=True))


def test_a_spectral_solver_goes_on_from_what_it_stored(solver):
    """From stored fields to a state and back, on the solver's own points and on fewer."""
    if not isinstance(solver, SpectralSolver):
        pytest.skip("solves no equation")
    numbers = np.arange(2)
    u = solver.initial(numbers)
    for points in (solver.grid_points, 16):
        small = solver.stored(solver.resumed(solver.stored(u), points))
        again = solver.stored(solver.resumed(small, points))
        # A first passage may cut waves off, a second one not; values are of order one.
        assert (again - small).abs().max() < 1e-12
    assert set(solver.parameters(numbers)) == set(solver.parameter_names)
    assert u.dtype == torch.float64


def test_a_spectral_solver_says_what_it_cannot_compute(solver, caplog):
    if not isinstance(solver, SpectralSolver):
        pytest.skip("solves no equation")
    with pytest.raises(FieldError, match=r"device: got 'tpu', expected cpu or cuda"):
        dataclasses.replace(solver, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"device: got 'cuda', expected cpu: torch finds no"):
            dataclasses.replace(solver, device="cuda")()
