"""`cases.nc`: what each case adds to each score, so that runs can be compared case by case.

One variable a score, dims `forecast, variable, lead, case` and the score's own statistics, of which
those with a few are kept: from their means over cases any resample's score follows. `members` says
of how many, and `equitable` of a score whether that matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from diffsci.errors import StorageError
from diffsci.evaluation.table import Scores
from diffsci.files import write_bytes

NAME = "cases.nc"
_MOST = 4
"""Scores with more statistics a case, such as histograms and spectra, are left out."""


def write_cases(folder: Path, scores: Scores, keys: Sequence[str]) -> Path:
    """Write `cases.nc` into a folder, whole or not at all.

    Args:
        folder: Of the run.
        scores: The table, with the statistics behind it.
        keys: Name of each case.

    Raises:
        StorageError: When it cannot be written.
    """
    leads = (0.0,) if scores.leads is None else scores.leads
    members = {row.forecast: row.members for row in scores.rows}
    variables = {}
    for word in scores.scores:
        found = [
            [scores.statistics[name, channel, word] for channel in scores.variables]
            for name in scores.forecasts
        ]
        # The ranks of ensembles of several sizes could not be stacked, either.
        shapes = {values.shape for line in found for values in line}
        if len(shapes) == 1 and next(iter(shapes))[-1] <= _MOST:
            dims = ("forecast", "variable", "lead", "case", f"{word}_statistic")
            told = {"equitable": int(scores.scores[word].equitable)}
            variables[word] = (dims, np.array(found), told)
    ds = xr.Dataset(
        variables,
        {
            "forecast": list(scores.forecasts),
            "members": ("forecast", [members[name] for name in scores.forecasts]),
            "variable": list(scores.variables),
            "lead": np.array(leads, dtype=np.float64),
            "case": list(keys),
        },
        {"title": "statistics of scores, case by case", "has_leads": int(scores.leads is not None)},
    )
    # NetCDF-3: the same bytes for the same scores, which HDF5 does not promise.
    write_bytes(folder / NAME, bytes(ds.to_netcdf(engine="scipy")))
    return folder / NAME


def read_cases(folder: Path) -> xr.Dataset | None:
    """What `write_cases` wrote, in memory; none where a run has none, as those before had not.

    Raises:
        StorageError: For a file that cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        with xr.open_dataset(path, engine="scipy") as opened:
            return opened.load()
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{path}: cannot be read ({error}); delete it, and run `diffsci run` again"
        ) from None
