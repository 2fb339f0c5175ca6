"""Choosing: which variables of a data set are taken, and why those that are named cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import xarray as xr

from diffsci.data.canonical.axes import unknown
from diffsci.data.catalog import Entry
from diffsci.data.checks.problems import Report
from diffsci.families import did_you_mean


def choose(
    ds: xr.Dataset,
    entry: Entry,
    dims: Sequence[str],
    report: Report,
    variables: tuple[str, ...] = (),
) -> list[str]:
    """The variables to take.

    Args:
        ds: Under its canonical names.
        entry: What it names, else every numeric one that has all of `dims`, may be taken.
        dims: What a field needs.
        report: Where faults are told.
        variables: Take only these of them; empty takes all.

    Raises:
        ConfigError: For one of `variables` that is not there.
        DataError: For a named one that is missing, is no number, or lacks a dim; or when none fits.
    """
    fit = [
        str(name)
        for name, variable in ds.data_vars.items()
        if set(dims) <= set(variable.dims) and variable.dtype.kind in "fiu"
    ]
    known = list(entry.variables) or fit
    for name in variables:
        if name not in known and (entry.variables or name not in ds.variables):
            raise unknown(name, entry, known)
    if not entry.variables and not variables:
        if not fit:
            _tell_none(ds, entry, dims, report)
        _require_some(ds, fit, entry, report)
        return fit
    wanted = variables or tuple(entry.variables)
    chosen = [name for name in wanted if _usable(ds, name, entry, dims, report)]
    if not chosen:
        report.stop(
            "no-variables",
            "none of its variables can be used",
            f"correct `variables:` in {entry.yaml}",
        )
    _require_some(ds, chosen, entry, report)
    return chosen


_AS_NUMBERS = {
    "c": "save real and imaginary parts as variables of their own",
    "b": "name it under `variables:` in {yaml} to have it as 0 and 1",
}


def _tell_none(ds: xr.Dataset, entry: Entry, dims: Sequence[str], report: Report) -> NoReturn:
    """Tell why no variable can be taken: they are no numbers, or lie along other dims.

    Raises:
        DataError: Always.
    """
    found = [
        str(name) for name, variable in ds.data_vars.items() if set(dims) <= set(variable.dims)
    ]
    for name in found:
        cure = _AS_NUMBERS.get(ds[name].dtype.kind, "write it as numbers").format(yaml=entry.yaml)
        value = f"its type is {_kind(ds[name])}, expected real numbers"
        tell = report.stop if name == found[-1] else report.add
        tell("not-numeric", value, cure, variable=name)
    report.stop(
        "no-variables",
        f"no numeric variable has the dims {', '.join(dims)}",
        f"the data has {_listing(ds)}; map its dims under `rename:` in {entry.yaml}",
    )


def _kind(variable: xr.DataArray) -> str:
    return "text" if variable.dtype.kind in "OSUT" else str(variable.dtype)


def _require_some(ds: xr.Dataset, names: list[str], entry: Entry, report: Report) -> None:
    """Refuse axes without a single item, and names that differ by case alone.

    Raises:
        DataError: Naming the axis.
    """
    for dim in dict.fromkeys(dim for name in names for dim in ds[name].dims):
        if not ds.sizes[dim]:
            report.stop(
                "empty",
                f"there is nothing along {dim}: its size is 0",
                "fetch the data anew, or widen what was cut out of it",
                coordinate=str(dim),
            )
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name and name not in entry.variables:
            report.add(
                "case",
                f"{other} and {name} differ by case alone",
                f"name those to take under `variables:` in {entry.yaml}, or `rename:` one",
                variable=name,
            )


def _usable(ds: xr.Dataset, name: str, entry: Entry, dims: Sequence[str], report: Report) -> bool:
    """Whether a variable that the entry names is there, numeric, and has all dims; else why not."""
    if name not in ds.variables:
        near = did_you_mean(name, [str(n) for n in ds.variables])
        report.add(
            "variable-missing",
            f"the data has no such variable{near}",
            f"it has {_listing(ds)}; correct `variables:` or `rename:` in {entry.yaml}",
            variable=name,
        )
    elif ds[name].dtype.kind not in "fiub":
        report.add(
            "not-numeric",
            f"its type is {ds[name].dtype}, expected numbers",
            f"leave it out of `variables:` in {entry.yaml}",
            variable=name,
        )
    elif set(dims) <= set(ds[name].dims):
        return True
    elif set(ds[name].dims) != {"sample"}:  # A number for each sample is a parameter or a class.
        report.add(
            "dims",
            f"its dims are {', '.join(map(str, ds[name].dims)) or 'none'}, "
            f"expected {', '.join(dims)}",
            f"map them under `rename:` in {entry.yaml}, or leave it out of `variables:`",
            variable=name,
        )
    return False


def _listing(ds: xr.Dataset) -> str:
    return (
        ", ".join(f"{n}({', '.join(map(str, v.dims))})" for n, v in ds.data_vars.items()) or "none"
    )
