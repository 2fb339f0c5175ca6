"""Where variables lie in the vertical: a forecast and its truth are of one level, or are refused.

A level may be a dim, or a single coordinate that a selection, cfgrib or CF leaves: `level`,
`isobaricInhPa`, `heightAboveGround`, `height`. Pressures are compared in hPa, heights and depths in
metres. Where one of the two has an axis and the other a single level, that level is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from diffsci.data.canonical import levels
from diffsci.data.canonical.names import NAMES
from diffsci.data.canonical.units import conversion
from diffsci.data.checks.problems import Report
from diffsci.errors import DataError

log = logging.getLogger(__name__)


class Height(NamedTuple):
    """A single level.

    Args:
        name: What the file calls it.
        value: In its unit.
        unit: hPa or m; of others as the file says it, or none.
    """

    name: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.name} {self.value:g} {self.unit}".rstrip()


At = dict[str, dict[str, Height]]
"""Variable -> kind, such as `pressure` -> the single level that it is on."""


def canonical(ds: xr.Dataset, name: str, source: str) -> xr.Dataset:
    """A forecast with its levels in the truth's units: pressures are in hPa.

    Args:
        ds: With a dim `level`, or without.
        name: What the file calls it.
        source: For messages.

    Raises:
        DataError: For pressures whose units nothing tells, levels that are no numbers, or twice
            there.
    """
    if "level" not in ds.dims or "level" not in ds.variables:
        return ds
    values, told = levels.labels(ds["level"], name, Report(source))
    return ds.assign_coords(level=("level", values, told))


def are_pressures(ds: xr.Dataset) -> bool:
    """Whether a data set has an axis of levels that are pressures; these are in hPa.

    Args:
        ds: Under our names.
    """
    if "level" not in ds.dims or "level" not in ds.variables:
        return False
    return _kind("level", {k: str(v) for k, v in ds["level"].attrs.items()}) == "pressure"


def of(ds: xr.Dataset, source: str) -> At:
    """The single levels of each variable, as its coordinates without a dim tell."""
    found: dict[str, tuple[str, Height]] = {}
    for name in map(str, ds.coords):
        made = _height(name, ds[name], source) if ds[name].ndim == 0 else None
        if made is not None:
            found[name] = made
    return {str(name): _apply(variable, found) for name, variable in ds.data_vars.items()}


def beside(ds: xr.Dataset, raw: xr.Dataset, source: str) -> xr.Dataset:
    """A truth under its domain's names with the single levels that its file has, as coordinates."""
    kept = {
        str(name): raw[name].variable
        for name in raw.coords
        if raw[name].ndim == 0 and name not in ds.variables and name not in ds.dims
        if _height(str(name), raw[name], source)
    }
    return ds.assign_coords(kept)


def unsaid(ours: At, theirs: At, names: list[str], forecast: xr.Dataset) -> tuple[str, ...]:
    """Variables of which one of the two says that it is of a pressure level, in words; warned of.

    Args:
        ours: Single levels of the forecast.
        theirs: Of the truth.
        names: Variables that neither has an axis of levels for.
        forecast: Under our names.
    """
    told = []
    for name in names:
        one, two = (at[name].get("pressure") for at in (ours, theirs))
        if "level" in forecast[name].dims and forecast.sizes["level"] == 1:
            unit = str(forecast["level"].attrs.get("units", ""))
            one = Height("level", float(forecast["level"].values[0]), unit)
        if (one is None) == (two is None):
            continue
        who, other = ("the forecast", "the truth") if one else ("the truth", "the forecast")
        told.append(
            f"{name} of {who} lies at {one or two}, {other} does not say where its own does"
        )
        log.warning("%s", told[-1])
    return tuple(told)


def without(ds: xr.Dataset) -> xr.Dataset:
    """The data set without coordinates that are no axes and no places."""
    return ds.drop_vars([name for name in ds.coords if ds[name].ndim == 0 and name != "crs"])


def _apply(variable: xr.DataArray, found: Mapping[str, tuple[str, Height]]) -> dict[str, Height]:
    """Those of a variable: what a file names for it, else all; none of a kind where several are."""
    named = str(variable.encoding.get("coordinates") or variable.attrs.get("coordinates") or "")
    mine = {name: each for name, each in found.items() if name in named.split()} or found
    kinds = [kind for kind, _ in mine.values()]
    return {kind: height for kind, height in mine.values() if kinds.count(kind) == 1}


def _height(name: str, label: xr.DataArray, source: str) -> tuple[str, Height] | None:
    """Kind and level of a single coordinate; none of one that is no level."""
    if label.dtype.kind not in "fiu":
        return None
    kind = _kind(name, {key: str(value) for key, value in label.attrs.items()})
    if kind is None:
        return None
    unit = str(label.attrs.get("units", ""))
    if kind == "pressure":
        values, told = levels.labels(label, name, Report(source))
        return kind, Height(name, float(values[0]), told.get("units", unit))
    factors = conversion(unit, "m") if unit else None
    value = float(label.values)
    if factors is not None:
        value, unit = value * factors[0] + factors[1], "m"
    return kind, Height(name, value, unit)


def _kind(name: str, attributes: Mapping[str, str]) -> str | None:
    """What a vertical coordinate counts; none of one that is not vertical."""
    standard, word = attributes.get("standard_name", "").lower(), name.lower()
    unit = attributes.get("units", "")
    if standard == "air_pressure" or (not standard and word in _PRESSURES):
        return "pressure"
    for kind, words in (("depth", ("depth",)), ("height", ("height", "altitude"))):
        if standard.startswith(words) or (not standard and word.startswith(words)):
            return kind
    if word in NAMES["level"] and not standard:
        if unit and conversion(unit, "m") is not None:
            return "depth" if attributes.get("positive") == "down" else "height"
        return "pressure" if not unit or conversion(unit, "hPa") is not None else "level"
    return "level" if word in NAMES["level"] or "level" in standard.split("_") else None


_PRESSURES = ("plev", "pressure", "pressure_level", "isobaric", "isobaricinhpa", "isobaricinpa")


def taken(
    ds: xr.Dataset, at: At, other: xr.Dataset, other_at: At, names: tuple[str, str]
) -> tuple[xr.Dataset, At, tuple[str, ...]]:
    """A data set with the level alone of which the other is, where it has an axis of levels.

    Args:
        ds: Under our names.
        at: Its own single levels.
        other: What has single levels, of which some may be levels of `ds`.
        other_at: Those.
        names: Of both, for messages.

    Returns:
        The data set, its single levels, and what was taken in words.

    Raises:
        DataError: Where it has no such level.
    """
    made, told = {}, []
    for name in map(str, ds.data_vars):
        variable = ds[name]
        if name not in other.data_vars or "level" in other[name].dims:
            continue
        if "level" not in variable.dims or not other_at[name]:
            continue
        kind = _kind("level", {k: str(v) for k, v in ds["level"].attrs.items()}) or "level"
        wanted = other_at[name].get(kind)
        values = ds["level"].values.astype(float)
        unit = str(ds["level"].attrs.get("units", ""))
        near = np.isclose(values, wanted.value, rtol=1e-6) if wanted else np.zeros(1, bool)
        if wanted is None or not near.any():
            there = ", ".join(f"{value:g}" for value in values)
            is_at = wanted or next(iter(other_at[name].values()))
            raise DataError(
                f"{names[0]}: {name} has the levels {there} {unit}".rstrip()
                + f", and that of {names[1]} lies at {is_at}, which is none of them; give both the "
                "same level"
            )
        number = int(near.argmax())
        made[name] = variable.isel(level=number, drop=True)
        at = at | {name: at[name] | {kind: wanted._replace(value=float(values[number]))}}
        if len(values) > 1:
            text = f"{name} is scored at {wanted} alone, of {len(values)} levels of {names[0]}"
            log.info("%s", text)
            told.append(text)
    return (ds.assign(made) if made else ds), at, tuple(told)


def like(store: xr.Dataset, known: xr.Dataset, at: At, source: str) -> xr.Dataset:
    """A forecast at the levels of the truth, where that is of a single one.

    Args:
        store: Under our names.
        known: The truth of what is scored.
        at: Its single levels.
        source: For messages.

    Raises:
        DataError: Where the forecast is of another level, or has not got it.
    """
    names = [str(name) for name in known.data_vars if name in store.data_vars]
    ours = of(store, source)
    require_alike(ours, at, names, (source, "the truth"))
    require_one_kind(store, known, source)
    return taken(store, ours, known, at, (source, "the truth"))[0]


def require_alike(at: At, other: At, names: list[str], words: tuple[str, str]) -> None:
    """Refuse variables that are of two levels.

    Args:
        at: Single levels of a forecast.
        other: Of the truth.
        names: Variables that are scored.
        words: What both are called, for messages.

    Raises:
        DataError: Naming both levels.
    """
    for name in names:
        ours, theirs = at.get(name, {}), other.get(name, {})
        for kind in sorted(ours.keys() & theirs.keys()):
            one, two = ours[kind], theirs[kind]
            known = one.unit == two.unit or not one.unit or not two.unit
            if known and np.isclose(one.value, two.value, rtol=1e-4):
                continue
            raise DataError(
                f"{words[0]}: {name} lies at {one}, that of {words[1]} at {two}: these are two "
                "variables; give both the same level, or where one label is wrong, drop it, as "
                f"`ds.drop_vars('{one.name}')`"
            )


def require_one_kind(store: xr.Dataset, known: xr.Dataset, source: str) -> None:
    """Refuse levels that count something else than the truth's, such as m beside hPa.

    Raises:
        DataError: Naming both units.
    """
    if not all("level" in ds.dims and "level" in ds.variables for ds in (store, known)):
        return
    ours, theirs = (str(ds["level"].attrs.get("units", "")) for ds in (store, known))
    if ours and theirs and conversion(ours, theirs) != (1.0, 0.0):
        raise DataError(
            f"{source}: its levels are in {ours}, those of the truth in {theirs}: levels of one "
            "are none of the other; give both the same, or correct `units` of `level`"
        )
