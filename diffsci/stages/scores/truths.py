"""The truth that forecasts are laid beside: by valid time, or laid out as a forecast."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import xarray as xr

from diffsci.data.catalog import DATA_SUFFIXES, Entry, Source, load_entry
from diffsci.data.checks.problems import Problem, ProblemError
from diffsci.data.domains.base import Domain
from diffsci.data.opening import told as in_units
from diffsci.data.reader import open_raw
from diffsci.errors import ConfigError, DataError
from diffsci.stages.scores import (
    areas,
    axis_labels,
    forecast_files,
    foreign,
    lexicon,
    naming,
    starts,
    valid_times,
    verticals,
)
from diffsci.stages.scores.forecast_files import Given, is_held


def declared(known: xr.Dataset, missing: str) -> xr.Dataset:
    """The truth with what its NaN mean, where it does not say."""
    if missing == "forbidden":
        return known
    return known.assign(
        {
            name: values.assign_attrs(missing=values.attrs.get("missing", missing))
            for name, values in known.data_vars.items()
        }
    )


class Known(NamedTuple):
    """A truth that is there.

    Args:
        ds: Under our names.
        told: What of its file is not scored, or not used.
    """

    ds: xr.Dataset
    told: tuple[str, ...]


def opened(truth: Given | str, domain: Domain, lead_dim: str) -> Known:
    """The truth under our names: by valid time, or laid out as a forecast.

    Args:
        truth: Path, catalog entry, or data set.
        domain: What its axes mean.
        lead_dim: Of the forecast.

    Raises:
        ConfigError: When it is not there.
        DataError: For several members, or what the domain refuses.
    """
    found = None
    listed = not is_held(truth) and Path(truth).suffix in (".yaml", ".yml")
    if not listed and (is_held(truth) or Path(truth).exists()):
        found = forecast_files.opened(truth if is_held(truth) else Path(truth), truth=True)
        stacked = lexicon.is_stacked(found)
        found = lexicon.split(found, "the truth")
        laid_out = any(name in found.dims for name in starts.LEADS)
        if laid_out or (lead_dim == "time" and "sample" in found.dims):
            return _laid_out(found, laid_out)
        if not is_held(truth) and not stacked:
            found.close()
            found = None
    elif (
        not set(":*?[") & set(str(truth))
        and ("/" in str(truth) or Path(truth).suffix in DATA_SUFFIXES)
        and not (listed and Path(truth).exists())
    ):
        raise ConfigError(f"{truth}: no such truth; give a path that is there, or a catalog entry")
    entry = _HELD if found is not None else load_entry(str(truth), (Path.cwd(),))
    raw = open_raw(entry) if found is None else found
    ahead = starts.at_valid_times(raw)
    read = _read(raw if ahead is None else ahead, domain, entry)
    read = naming.named(verticals.beside(read, raw, "truth"), "truth")
    return Known(read, areas.told(raw, "truth"))


_HELD = Entry(name="truth", source=Source(path="truth"), file=Path("a catalog entry of it"))
"""Of a truth in memory: its attributes say all."""


def _laid_out(found: xr.Dataset, dated: bool) -> Known:
    """A truth with leads, or with samples."""
    members = [str(dim) for dim in found.dims if dim in foreign.MEMBER]
    if any(found.sizes[dim] > 1 for dim in members):
        raise DataError(
            f"the truth has {found.sizes[members[0]]} members ({members[0]}); a truth is "
            "one field a time: select one of them, and save it again"
        )
    if not dated:
        axis_labels.require_once(found, {"sample": "samples", "time": "leads"}, "truth")
        return Known(found, ())
    by_start, told = valid_times.by_start(found, "truth")
    return Known(foreign.canonical(by_start, "truth"), areas.told(found, "truth") + told)


def _read(found: xr.Dataset, domain: Domain, entry: Entry) -> xr.Dataset:
    """The truth under the domain's names, in the units of its entry."""
    try:
        # What an entry says of units and fill values is done where values are read.
        return in_units(domain.canonical(found, entry))
    except ProblemError as error:
        if entry is not _HELD:
            raise
        raise refused(error.problem) from None


def refused(problem: Problem) -> DataError:
    """What to do about a truth in memory, whose attributes say what an entry would."""
    if problem.code != "units-missing":
        return ProblemError(problem)
    return DataError(
        f"truth: {problem.variable} has no units; say which, as "
        f"`truth['{problem.variable}'].attrs['units'] = 'UNIT'`"
    )
