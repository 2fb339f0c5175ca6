"""What every constraint must do: be met by what it projects, and name what does not fit."""

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.constraints._projection import Projection
from diffsci.constraints.base import Equations, Interval, Setting, Subspace
from diffsci.families import load, names
from diffsci.grid import Grid


def setting(boundary, sizes=(5, 6)):
    return Setting(
        grid=Grid(
            dims=("y", "x"),
            coordinates=tuple(tuple(0.5 * i for i in range(size)) for size in sizes),
            units=("1", "1"),
            boundary=((boundary, boundary),) * 2,
        ),
        channels=("v", "u"),
        scale=np.array([0.5, 2.0]),
    )


@pytest.fixture(params=names("constraints"))
def member(request, tmp_path):
    """Each member with values that fit, and states that it has a meaning for."""
    rows = np.random.default_rng(0).standard_normal((2, 5, 6))
    file = tmp_path / "rows.nc"
    xr.Dataset({"u": (("row", "y", "x"), rows), "value": ("row", [1.0, 2.0])}).to_netcdf(file)
    values = {
        "mean": {"value": 0.2},
        "divergence_free": {},
        "dirichlet": {"sides": ("x.low",), "value": 1.0},
        "bounds": {"minimum": -0.5},
        "linear": {"file": str(file)},
    }
    periodic = request.param == "divergence_free"
    made = load("constraints", request.param)(**values[request.param])
    return made, setting("periodic" if periodic else "wall")


def test_it_is_of_one_kind(member):
    made, _ = member
    assert sum(isinstance(made, kind) for kind in (Equations, Subspace, Interval)) == 1


def test_a_state_is_brought_onto_it_once_and_for_all(member):
    made, where = member
    project = Projection.of([made], where)
    x = torch.randn(4, *where.shape, generator=torch.Generator().manual_seed(0)).double()
    found = project(x)
    # Sums of at most 60 numbers of order 1.
    assert project.off(x).min() > 1e-3 and project.off(found).max() < 1e-13
    assert torch.allclose(project(found), found, rtol=0, atol=1e-13)
    assert torch.allclose(project(x[[2]]), found[[2]], rtol=0, atol=1e-14)
