import dataclasses

import numpy as np
import pytest

from diffsci import families
from diffsci.solvers.base import Solver


@pytest.fixture(params=families.names("solvers"))
def solver(request):
    """A small set of each member: its own resolution, two short trajectories."""
    member = families.load("solvers", request.param)
    spin_up = {f.name: 1.0 for f in dataclasses.fields(member) if f.name == "spin_up"}
    return member(trajectories=2, frames=2, **spin_up)


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
        assert not np.array_equal(variable, other[name])
