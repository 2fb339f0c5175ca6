"""Fields that earth2studio names by their level, such as `t850`, laid beside axes of levels.

Its lexicon has a letter and the pressure in hPa; its arrays may have their names along a dim
`variable`. Where one data set names fields so and another has them along `level`, both get the
names that our channels of levels have: `temperature@850`. Values are selected, none is changed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from diffsci.data.canonical.units import conversion
from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.forecasting.store.names import TABLE, Row
from diffsci.stages.scores import verticals

log = logging.getLogger(__name__)

VARIABLE = "variable"
_NAME = re.compile(r"([a-z]+)([1-9]\d{0,3})")
_ROWS = {row.earth2studio: row for row in TABLE if row.levels}
_AT_SURFACE = {
    name: row for row in TABLE if not row.levels for name in row.others if _NAME.fullmatch(name)
}
"""Names such as `u10`, which ECMWF has for the wind at 10 m."""


class _At(NamedTuple):
    """A field on a level: the long name of the variable, and hPa."""

    variable: str
    level: float

    @property
    def name(self) -> str:
        """That of a channel on this level."""
        return Channel(variable=self.variable, unit="", level=self.level).name


def is_stacked(given: xr.Dataset | xr.DataArray) -> bool:
    """Whether names of variables lie along an axis."""
    if VARIABLE not in given.dims or VARIABLE not in given.coords:
        return False
    return given.coords[VARIABLE].dtype.kind in "UTO"


def split(given: xr.Dataset | xr.DataArray, source: str) -> xr.Dataset:
    """A data set with a variable for each name along the axis `variable`; others as they are.

    Args:
        given: Of any tool.
        source: For messages.

    Raises:
        DataError: For a name that is there twice.
    """
    if not is_stacked(given):
        return given if isinstance(given, xr.Dataset) else given.to_dataset()
    arrays = [given] if isinstance(given, xr.DataArray) else list(given.data_vars.values())
    stacked = [each for each in arrays if VARIABLE in each.dims]
    names = [str(name) for name in given[VARIABLE].values]
    plain = [str(each.name) for each in arrays if VARIABLE not in each.dims]
    every = [*(names * len(stacked)), *plain]
    twice = sorted({name for name in every if every.count(name) > 1})
    if twice:
        raise DataError(
            f"{source}: {', '.join(twice)} of its axis {VARIABLE} is there more than once; keep "
            f"one of each, as `ds.drop_duplicates('{VARIABLE}')`, or take one array, as "
            "`ds[['NAME']]`"
        )
    made = {
        name: array.isel({VARIABLE: number}, drop=True).rename(name)
        for array in stacked
        for number, name in enumerate(names)
    }
    log.info("%s: %s are taken from its axis %s", source, ", ".join(names), VARIABLE)
    rest = given.drop_vars(VARIABLE) if isinstance(given, xr.Dataset) else xr.Dataset()
    kept = rest.drop_vars([str(each.name) for each in stacked if isinstance(given, xr.Dataset)])
    return kept.assign(made)


def without_surface(ds: xr.Dataset) -> frozenset[str]:
    """Names that are of the surface elsewhere, and of a level here: `u10` beside `u10m`."""
    return frozenset(
        name
        for name, row in _AT_SURFACE.items()
        if name in ds.data_vars and {row.earth2studio, row.wb2} & set(map(str, ds.data_vars))
    )


def beside_levels(
    stores: Mapping[str, xr.Dataset],
    known: xr.Dataset,
    raw: Mapping[str, frozenset[str]],
    sources: Mapping[str, str],
) -> tuple[dict[str, xr.Dataset], xr.Dataset]:
    """Forecasts and truth, where `t850` of one and an axis of another have one name each level.

    Args:
        stores: Name of a forecast -> its data, under our names.
        known: The truth, so too.
        raw: Name -> names of its variables in the file.
        sources: Name -> where it lies, for messages.

    Raises:
        DataError: For a name that may be of a level or of the surface, a field that is there under
            two names, and units that are not those of the name.
    """
    every = {**stores, "truth": known}
    told = {**sources, "truth": "the truth"}
    named = {who: _named(ds) for who, ds in every.items()}
    levels = {who: _levels(ds) for who, ds in every.items()}
    for who in stores:
        _require_clear(named[who], levels["truth"], raw[who], told[who])
    met = {
        at.variable
        for who, found in named.items()
        for at in found.values()
        if any(at.variable in levels[other] for other in every)
    }
    if not met:
        return dict(stores), known
    wanted = {at for found in named.values() for at in found.values() if at.variable in met}
    for who in stores:
        wanted |= {_At(name, p) for name in met & levels[who].keys() for p in levels[who][name]}
    made = {
        who: _flat(ds, {n: at for n, at in named[who].items() if at in wanted}, wanted, told[who])
        for who, ds in every.items()
    }
    true = made.pop("truth")
    return made, true


def _named(ds: xr.Dataset) -> dict[str, _At]:
    """Variables whose name says a pressure."""
    found = {}
    for name in map(str, ds.data_vars):
        parts = _NAME.fullmatch(name)
        if parts and parts[1] in _ROWS and "level" not in ds[name].dims:
            found[name] = _At(_ROWS[parts[1]].wb2, float(parts[2]))
    return found


def _levels(ds: xr.Dataset) -> dict[str, tuple[float, ...]]:
    """Pressures of the variables that lie on an axis of them."""
    if not verticals.are_pressures(ds):
        return {}
    values = tuple(float(value) for value in ds["level"].values)
    return {str(name): values for name in ds.data_vars if "level" in ds[name].dims}


def _require_clear(
    named: Mapping[str, _At],
    levels: Mapping[str, tuple[float, ...]],
    raw: frozenset[str],
    source: str,
) -> None:
    """Refuse `u10` beside `u500`, where the truth has a level of 10 hPa: it may be of either."""
    for name, row in _AT_SURFACE.items():
        parts = _NAME.fullmatch(name)
        assert parts is not None
        upper = _ROWS.get(parts[1])
        if upper is None or name not in raw or {row.earth2studio, row.wb2} & raw:
            continue
        if not set(named) - {name}:
            continue  # Nothing else is named as earth2studio does.
        if any(np.isclose(p, float(parts[2])) for p in levels.get(upper.wb2, ())):
            raise DataError(
                f"{source}: {name} may be {row.wb2}, as ECMWF has it, or {upper.wb2} at "
                f"{parts[2]} hPa, as earth2studio has it beside {_other(named, name)}, and the "
                f"truth has that level; say which, as `ds.rename({name}='{row.earth2studio}')`, or "
                f"leave it out, as `ds.drop_vars('{name}')`"
            )


def _other(named: Mapping[str, _At], name: str) -> str:
    return next(each for each in named if each != name)


def _flat(ds: xr.Dataset, named: Mapping[str, _At], wanted: set[_At], source: str) -> xr.Dataset:
    """The data set with a variable for each level that is wanted."""
    levels = {name: found for name, found in _levels(ds).items() if name in {w[0] for w in wanted}}
    made = {}
    for at in sorted(wanted):
        near = np.flatnonzero(np.isclose(levels.get(at.variable, ()), at.level, rtol=1e-6))
        if len(near):
            made[at.name] = ds[at.variable].isel(level=int(near[0]), drop=True)
    for name, at in named.items():
        if at.name in made:
            raise DataError(
                f"{source}: {at.variable} at {at.level:g} hPa is there twice, as {name} and on its "
                f"axis of levels; leave one out, as `ds.drop_vars('{name}')`"
            )
        _require_unit(ds[name], name, at, source)
        made[at.name] = ds[name]
    if named:
        told = ", ".join(f"{n} is {at.variable} at {at.level:g} hPa" for n, at in named.items())
        log.info("%s: %s, by earth2studio's names", source, told)
    return ds.drop_vars([*levels, *named]).assign(made)


def _require_unit(array: xr.DataArray, name: str, at: _At, source: str) -> None:
    row: Row = next(row for row in TABLE if row.wb2 == at.variable)
    unit = str(array.attrs.get("units", ""))
    if unit and conversion(unit, row.unit) is None:
        raise DataError(
            f"{source}: {name} is in {unit}, and {at.variable} at {at.level:g} hPa, which "
            f"earth2studio calls so, in {row.unit}; correct its units, or give it the name of what "
            f"it is, as `ds.rename({name}='NAME')`"
        )
