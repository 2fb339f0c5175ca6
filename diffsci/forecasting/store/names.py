"""What weather variables are called elsewhere: one row for each, one column for each vocabulary.

A name is only translated where the units are those of the row, and levels are there or not as in
the row: `z` of pressure levels is the geopotential, `z` at the surface the orography's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import xarray as xr

from diffsci.data.canonical.units import spelling
from diffsci.errors import ConfigError

Vocabulary = Literal["own", "wb2", "earth2studio", "ecmwf"]


class Row(NamedTuple):
    """One variable.

    Args:
        wb2: Long name of WeatherBench and of the Copernicus store.
        earth2studio: In its lexicon; before the level's number where there are levels.
        ecmwf: GRIB short name.
        unit: In which all three have it.
        levels: Whether it lies on pressure levels.
        others: Further spellings that are understood.
    """

    wb2: str
    earth2studio: str
    ecmwf: str
    unit: str
    levels: bool = False
    others: tuple[str, ...] = ()


# Relative humidity is left out: a share in one vocabulary, percent in another.
TABLE = (
    Row("2m_temperature", "t2m", "2t", "K", others=("tas",)),
    Row("2m_dewpoint_temperature", "d2m", "2d", "K"),
    Row("10m_u_component_of_wind", "u10m", "10u", "m s-1", others=("u10", "uas")),
    Row("10m_v_component_of_wind", "v10m", "10v", "m s-1", others=("v10", "vas")),
    Row("100m_u_component_of_wind", "u100m", "100u", "m s-1"),
    Row("100m_v_component_of_wind", "v100m", "100v", "m s-1"),
    Row("10m_wind_speed", "ws10m", "10si", "m s-1", others=("si10",)),
    Row("mean_sea_level_pressure", "msl", "msl", "Pa", others=("psl",)),
    Row("surface_pressure", "sp", "sp", "Pa"),
    Row("sea_surface_temperature", "sst", "sst", "K"),
    Row("skin_temperature", "skt", "skt", "K"),
    Row("total_column_water_vapour", "tcwv", "tcwv", "kg m-2"),
    Row("total_precipitation", "tp", "tp", "m"),
    Row("total_precipitation_6hr", "tp06", "tp06", "m"),
    Row("total_precipitation_12hr", "tp12", "tp12", "m"),
    Row("total_precipitation_24hr", "tp24", "tp24", "m"),
    Row("land_sea_mask", "lsm", "lsm", "1"),
    Row("geopotential_at_surface", "z", "z", "m2 s-2"),
    Row("geopotential", "z", "z", "m2 s-2", levels=True),
    Row("temperature", "t", "t", "K", levels=True),
    Row("u_component_of_wind", "u", "u", "m s-1", levels=True),
    Row("v_component_of_wind", "v", "v", "m s-1", levels=True),
    Row("vertical_velocity", "w", "w", "Pa s-1", levels=True),
    Row("specific_humidity", "q", "q", "kg kg-1", levels=True),
)


def row_of(name: str, unit: str | None, levels: bool) -> Row | None:
    """The row of a variable, by any of its names; none where no row has this name and unit.

    Args:
        name: Of any vocabulary.
        unit: As the file spells it; none takes any.
        levels: Whether it lies on pressure levels.
    """
    for row in TABLE:
        known = (row.wb2, row.earth2studio, row.ecmwf, *row.others)
        alike = unit is None or spelling(unit) == row.unit
        if name.lower() in known and levels == row.levels and alike:
            return row
    return None


def renaming(
    ds: xr.Dataset, vocabulary: Vocabulary, unit_absent: str | None = "1"
) -> tuple[dict[str, str], list[str]]:
    """New names of variables, and those that no row knows, which keep theirs.

    Args:
        ds: What has them.
        vocabulary: Whose names.
        unit_absent: Unit of a variable that says none; none takes its name alone as enough.

    Raises:
        ConfigError: Where two variables would have one name.
    """
    if vocabulary == "own":
        return {}, []
    new, unknown = {}, []
    for name, variable in ds.data_vars.items():
        unit = variable.attrs.get("units", unit_absent)
        row = row_of(str(name), None if unit is None else str(unit), "level" in variable.dims)
        if row is None:
            unknown.append(str(name))
        else:
            new[str(name)] = str(getattr(row, vocabulary))
    renamed = {old: name for old, name in new.items() if old != name}
    if vocabulary != "earth2studio":  # there the level makes names differ
        _require_distinct(renamed, [str(name) for name in ds.data_vars], vocabulary)
    return renamed, unknown


def _require_distinct(new: dict[str, str], names: Iterable[str], vocabulary: str) -> None:
    taken: dict[str, str] = {}
    for old in names:
        name = new.get(old, old)
        if name in taken:
            raise ConfigError(
                f"--names {vocabulary}: {taken[name]} and {old} would both be {name}; "
                "take --names own"
            )
        taken[name] = old
