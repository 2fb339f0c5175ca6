"""Faults of plain files: a user's own file has no catalog entry in which a line could be written.

What is wrong is said as it is of training data; what to do about it is to be done in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches

import xarray as xr

from diffsci.data.catalog import Entry
from diffsci.data.checks.problems import Problem, ProblemError
from diffsci.errors import DataError

_FILLED = "fill them in the file: the model was trained on values without such gaps"

_FIXES = {
    "variable-missing": (
        "the file has {there}; rename it there, such as `ds.rename({near}='{variable}')`"
    ),
    "not-numeric": "store it as numbers in the file",
    "dims": "rename or select its dims in the file, as by `ds.rename(OLD='NEW')`, `ds.isel(DIM=0)`",
    "units": "convert it in the file and set `.attrs['units']`, or correct that attribute",
    "units-missing": "set `.attrs['units']` in the file, which arithmetic in xarray drops",
    "axis-missing": "rename it in the file, such as `ds.rename(OLD='{coordinate}')`",
    "axis-ambiguous": "rename the other one in the file, such as `ds.rename(OLD='NEW')`",
    "time-units": "set `.attrs['units']` of its times, such as 'hours since 2000-01-01'",
    "time": "write its times as those of training are",
    "nan": _FILLED,
    "mask-moves": _FILLED,
    "field-missing": "leave such times out of the file",
    "sentinel": "declare it as `_FillValue` in the file, or fill it",
    "transform": "correct the file",
}
"""What to do, by the code of the problem; what is not here is said as it is."""


@contextmanager
def plainly(entry: Entry, raw: xr.Dataset) -> Iterator[None]:
    """A block in which faults of a plain file are told with what to do to the file.

    Args:
        entry: With a YAML file of its own where it is of a catalog, and so no plain file.
        raw: The data, as it is.

    Raises:
        DataError: In place of what a catalog entry would be told.
    """
    try:
        yield
    except ProblemError as error:
        if entry.file is not None:
            raise
        raise DataError(str(_of_file(error.problem, raw))) from None


def _of_file(problem: Problem, raw: xr.Dataset) -> Problem:
    names = [str(name) for name in raw.data_vars]
    lower = {name.lower(): name for name in names}
    near = get_close_matches(problem.variable.lower(), list(lower), n=1)
    fix = _FIXES.get(problem.code)
    if fix is not None:
        fix = fix.format(
            there=", ".join(names) or "no variable",
            near=lower[near[0]] if near else "OLD",
            variable=problem.variable,
            coordinate=problem.coordinate,
        )
    value = problem.value.partition("; did you mean")[0].replace(
        "the entry wants", "the model takes"
    )
    return replace(problem, value=value, fix=fix or problem.fix)
