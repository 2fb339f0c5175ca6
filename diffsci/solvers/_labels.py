"""What a spectral solver's numbers are called: the data set of its trajectories."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci import __version__

if TYPE_CHECKING:
    from diffsci.solvers.base import SpectralSolver


def labelled(
    solver: SpectralSolver,
    values: Float[np.ndarray, "sample time stored *space"],
    numbers: np.ndarray,
) -> xr.Dataset:
    """Trajectories with names, units, coordinates, parameters and where they come from.

    Args:
        solver: What made them.
        values: Its stored fields.
        numbers: Of the trajectories.
    """
    names = ("sample", "time", *solver.dims)
    x = solver.side * np.arange(solver.points) / solver.points
    time = solver.output_step * np.arange(solver.frames)
    since = {"units": solver.time_unit, "long_name": "time after spin-up"}
    position = {"units": "1", "long_name": "position"}
    fields = {
        name: (names, values[:, :, number], {"units": "1", "long_name": text})
        for number, (name, text) in enumerate(solver.stored_fields.items())
    }
    parameters = {
        name: (
            "sample",
            column.astype(np.float32),
            {"units": "1", "long_name": solver.parameter_names[name]},
        )
        for name, column in solver.parameters(numbers).items()
    }
    return xr.Dataset(
        {**fields, **parameters},
        coords={
            "sample": ("sample", numbers, {"long_name": "trajectory"}),
            "time": ("time", time, since),
            **{dim: (dim, x, position) for dim in solver.dims},
        },
        attrs={
            "title": solver.title,
            "equation": solver.equation,
            "boundary": json.dumps({dim: ["periodic", "periodic"] for dim in solver.dims}),
            "solver": solver.numerics,
            "source": f"diffsci {__version__}",
            **asdict(solver),
        },
    )
