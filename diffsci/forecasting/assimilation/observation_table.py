"""Tables of observations: one a row, with time, place, variable, value, error, and how it is seen.

A row is a linear operator on the fields of one time: the value at a point (linear between cells), a
mean over a box, or a mean along a line. In CSV and in NetCDF the columns have the same names:

    time, one for each dim of the grid, value, error
    variable       where the model has several
    units          of value and error, where those of the model's variable are others
    operator       point (the default), block_mean, or line_mean
    size_<dim>     of the box of a block_mean

A line_mean runs along the dims whose column is empty.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from diffsci import families
from diffsci.errors import DataError

Columns = dict[str, Sequence[object] | np.ndarray]
"""Cells of each column."""

OPERATORS = ("point", "block_mean", "line_mean")


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Observations, one a row, as the file has them.

    Args:
        source: The file.
        times: `datetime64[ns]`, or numbers in the unit of the model's time.
        places: Coordinate of each row by dim; NaN where a line runs.
        sizes: Extent of the box of each row by dim; NaN where it is none.
        values: In `units`.
        errors: Standard deviation of each value's error.
        variables: Name of what is observed; empty where the file does not say.
        units: Empty where the file does not say.
        operators: Words of `OPERATORS`.
    """

    source: str
    times: np.ndarray
    places: Mapping[str, np.ndarray]
    sizes: Mapping[str, np.ndarray]
    values: np.ndarray
    errors: np.ndarray
    variables: tuple[str, ...]
    units: tuple[str, ...]
    operators: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)


def read_table(path: Path, dims: Sequence[str]) -> Table:
    """A table of observations.

    Args:
        path: A `.csv` file, or NetCDF whose variables lie along one dim.
        dims: Of the model's grid.

    Raises:
        DataError: For a file or column that is missing or strange, and for values that are no
            numbers, with the row.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file of observations")
    columns = _of_csv(path) if path.suffix.lower() in (".csv", ".txt") else _of_netcdf(path)
    _check_columns(path, columns, dims)
    count = len(columns["value"])
    if count == 0:
        raise DataError(f"{path}: has no observations, only names of columns")

    def numbers(name: str, *, gaps: bool = False) -> np.ndarray:
        return _numbers(path, name, columns.get(name, [""] * count), gaps=gaps)

    def words(name: str, default: str = "") -> tuple[str, ...]:
        return tuple(str(word).strip() or default for word in columns.get(name, [""] * count))

    operators = words("operator", "point")
    for row, word in enumerate(operators):
        if word not in OPERATORS:
            near = families.did_you_mean(word, OPERATORS)
            raise DataError(
                f"{path}: row {row + 1}: operator {word!r}, expected one of "
                f"{', '.join(OPERATORS)}{near}"
            )
    errors = numbers("error")
    if (errors <= 0).any():
        row = int(np.flatnonzero(errors <= 0)[0])
        raise DataError(
            f"{path}: row {row + 1}: error {errors[row]:g}, expected a standard deviation above 0"
        )
    return Table(
        source=str(path),
        times=_times(path, columns["time"]),
        places={dim: numbers(dim, gaps=True) for dim in dims},
        sizes={dim: numbers(f"size_{dim}", gaps=True) for dim in dims},
        values=numbers("value"),
        errors=errors,
        variables=words("variable"),
        units=words("units"),
        operators=operators,
    )


def _of_csv(path: Path) -> Columns:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as CSV ({error})") from None
    if not lines:
        raise DataError(f"{path}: is empty")
    names = [name.strip() for name in lines[0]]
    for row, line in enumerate(lines[1:], start=1):
        if len(line) != len(names):
            raise DataError(f"{path}: row {row} has {len(line)} cells, the head {len(names)}")
    columns = zip(*lines[1:], strict=True) if lines[1:] else [()] * len(names)
    return dict(zip(names, [list(column) for column in columns], strict=True))


def _of_netcdf(path: Path) -> Columns:
    try:
        with xr.open_dataset(path) as opened:
            ds = opened.load()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as NetCDF or CSV ({error})") from None
    if "value" not in ds.variables or ds["value"].ndim != 1:
        names = ", ".join(map(str, ds.variables))
        raise DataError(f"{path}: has {names}; expected `value` along one dim, one an observation")
    dim = ds["value"].dims
    columns: Columns = {}
    for name, variable in ds.variables.items():
        if variable.dims == dim:
            columns[str(name)] = variable.values
        elif variable.ndim == 0:
            columns[str(name)] = np.repeat(variable.values, ds["value"].size)
    if "units" not in columns and "units" in ds["value"].attrs:
        columns["units"] = [str(ds["value"].attrs["units"])] * ds["value"].size
    return columns


def _check_columns(path: Path, columns: Columns, dims: Sequence[str]) -> None:
    needed = ("time", *dims, "value", "error")
    known = (*needed, "variable", "units", "operator", *(f"size_{dim}" for dim in dims))
    strange = [name for name in columns if name not in known]
    missing = [name for name in needed if name not in columns]
    if missing:
        near = families.did_you_mean(missing[0], strange)
        raise DataError(
            f"{path}: lacks the column {missing[0]}{near}; it has {', '.join(columns)}, and needs "
            f"{', '.join(needed)}"
        )
    if strange:
        near = families.did_you_mean(strange[0], known)
        raise DataError(
            f"{path}: column {strange[0]!r} means nothing here{near}; known are {', '.join(known)}"
        )


def _numbers(
    path: Path, name: str, column: Sequence[object] | np.ndarray, *, gaps: bool
) -> np.ndarray:
    """A column as float64; empty cells are NaN, and allowed where `gaps`."""
    found = np.empty(len(column))
    for row, cell in enumerate(column):
        text = cell.strip() if isinstance(cell, str) else cell
        try:
            found[row] = np.nan if isinstance(text, str) and not text else float(text)
        except (TypeError, ValueError):
            raise DataError(
                f"{path}: row {row + 1}: {name} is {cell!r}, expected a number"
            ) from None
        fits = np.isfinite(found[row]) or (gaps and np.isnan(found[row]))
        if not fits:
            raise DataError(
                f"{path}: row {row + 1}: {name} is {found[row]:g}, expected a finite number; leave "
                "out rows of what was not observed"
            )
    return found


def _times(path: Path, column: Sequence[object] | np.ndarray) -> np.ndarray:
    """Dates, or numbers."""
    values = np.asarray(column)
    if values.dtype.kind == "M":
        dates = values.astype("datetime64[ns]")
    elif values.dtype.kind in "fiu":
        return _numbers(path, "time", column, gaps=False)
    else:
        texts = [str(text).strip().removesuffix("Z") for text in column]
        if all(_is_number(text) for text in texts):
            return np.array([float(text) for text in texts])
        try:
            dates = np.array(texts, dtype="datetime64[ns]")
        except ValueError:
            bad = next((row for row, text in enumerate(texts) if not _is_date(text)), 0)
            raise DataError(
                f"{path}: row {bad + 1}: time is {texts[bad]!r}, expected a number or an ISO date"
            ) from None
    if np.isnat(dates).any():
        row = int(np.flatnonzero(np.isnat(dates))[0])
        raise DataError(f"{path}: row {row + 1}: time is missing")
    return dates


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _is_date(text: str) -> bool:
    try:
        return not np.isnat(np.datetime64(text, "ns"))
    except ValueError:
        return False
