"""Variables of any tool under the names of our stores, where name and units agree."""

from __future__ import annotations

import xarray as xr

from diffsci.data.canonical.units import conversion
from diffsci.errors import DataError
from diffsci.forecasting.store.names import renaming, row_of
from diffsci.stages.scores import lexicon, verticals


def named(ds: xr.Dataset, source: str) -> xr.Dataset:
    """The data set with the names that variables have in our stores, as far as they are known.

    Args:
        ds: With our names of dims.
        source: For messages.
    """
    upper = sorted(lexicon.without_surface(ds))
    # Stores of earth2studio say no units: the name is enough here, and `conversions` warns.
    known, _ = renaming(ds.drop_vars(upper), "wb2", unit_absent=None)
    # What a selection leaves of pressure levels is of one, and no field of the surface.
    for name, at in verticals.of(ds, source).items():
        unit = ds[name].attrs.get("units")
        row = row_of(name, None if unit is None else str(unit), levels=True)
        if "pressure" in at and row is not None and row.wb2 not in ds.data_vars:
            known[name] = row.wb2
    # Degrees Celsius of `t2m` are converted where values are read.
    for name, (word, unit) in _meant(ds).items():
        ours = str(ds[name].attrs.get("units", ""))
        free = name not in (*known, *upper) and word not in (*known.values(), *ds.data_vars)
        if free and ours and conversion(ours, unit) is not None:
            known[name] = word
    return ds.rename({old: new for old, new in known.items() if old != new})


def require_units(forecast: xr.Dataset, truth: xr.Dataset, source: str) -> None:
    """Refuse a variable whose name is the other's, and whose units are those of something else.

    It has no name of ours, and would be said to be lacking.

    Args:
        forecast: Under our names, as far as they are known.
        truth: So too.
        source: Of the forecast, for messages.

    Raises:
        DataError: Naming both units.
    """
    ours, theirs = _meant(forecast), _meant(truth)
    both = [
        (name, other)
        for name, (word, _) in ours.items()
        for other in ([word] if word in truth.data_vars else [])
        if word not in forecast.data_vars
    ] + [
        (word, other)
        for other, (word, _) in theirs.items()
        if word in forecast.data_vars and word not in truth.data_vars
    ]
    for name, other in both:
        of, to = (str(ds[n].attrs.get("units", "")) for ds, n in ((forecast, name), (truth, other)))
        if of and to and conversion(of, to) is None:
            raise DataError(
                f"{source}: {name} is in {of}, {other} of the truth in {to}, which do not convert: "
                "correct the units of one, or where they are two variables, rename one, as "
                f"`ds.rename({name}='NAME')`"
            )


def _meant(ds: xr.Dataset) -> dict[str, tuple[str, str]]:
    """Variables under names of other vocabularies -> our name and its unit, whatever theirs is."""
    found = {}
    for name in map(str, ds.data_vars):
        row = row_of(name, None, levels="level" in ds[name].dims)
        if row is not None and row.wb2 != name:
            found[name] = (row.wb2, row.unit)
    return found
