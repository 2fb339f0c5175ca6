"""Units: a small exact table. Spellings of one unit are equal; the rest converts by it or not.

A unit is `value * scale + offset` in the base unit of its kind. What the table does not hold is
never guessed: the caller refuses it and names both units.
"""

from __future__ import annotations

import re

_TABLE: dict[str, dict[str, tuple[float, float]]] = {
    "temperature": {"K": (1.0, 0.0), "degC": (1.0, 273.15), "degF": (5 / 9, 459.67 * 5 / 9)},
    "pressure": {"Pa": (1.0, 0.0), "hPa": (100.0, 0.0), "kPa": (1000.0, 0.0)},
    "length": {"m": (1.0, 0.0), "mm": (1e-3, 0.0), "cm": (1e-2, 0.0), "km": (1e3, 0.0)},
    "speed": {"m s-1": (1.0, 0.0), "km h-1": (1 / 3.6, 0.0), "knot": (1852 / 3600, 0.0)},
    "share": {"1": (1.0, 0.0), "%": (0.01, 0.0)},
    "mixing ratio": {"kg kg-1": (1.0, 0.0), "g kg-1": (1e-3, 0.0)},
    "water": {"kg m-2": (1.0, 0.0)},
}

_SPELLINGS = {
    "kelvin": "K", "degk": "K", "deg_k": "K", "degrees_k": "K",
    "c": "degC", "°c": "degC", "celsius": "degC", "degc": "degC", "deg_c": "degC",
    "degree_celsius": "degC", "degrees_celsius": "degC", "degree_c": "degC", "degrees_c": "degC",
    "f": "degF", "°f": "degF", "fahrenheit": "degF", "degree_fahrenheit": "degF",
    "pascal": "Pa", "pascals": "Pa", "mbar": "hPa", "mb": "hPa", "millibar": "hPa",
    "millibars": "hPa", "hectopascal": "hPa", "hectopascals": "hPa",
    "metre": "m", "meter": "m", "metres": "m", "meters": "m", "millimetre": "mm",
    "millimeter": "mm", "millimeters": "mm", "millimetres": "mm", "kilometer": "km",
    "kilometre": "km", "kt": "knot", "kts": "knot", "knots": "knot", "kmh": "km h-1",
    "": "1", "-": "1", "dimensionless": "1", "unitless": "1", "none": "1", "(0-1)": "1",
    "fraction": "1", "percent": "%",
}  # fmt: skip


def spelling(unit: str) -> str:
    """One spelling per unit: `m/s`, `m s**-1` and `m s^-1` all become `m s-1`."""
    text = unit.strip()
    if text.replace(" ", "").lower() in _SPELLINGS:
        return _SPELLINGS[text.replace(" ", "").lower()]
    text = text.replace("**", "").replace("^", "").replace("*", " ").replace(".", " ")
    numerator, *denominators = [part.strip() for part in text.split("/")]
    for part in denominators:
        for factor in part.split():
            name, power = re.fullmatch(r"(.*?)(-?\d*)", factor).groups()  # type: ignore[union-attr]
            numerator += f" {name}{-int(power or 1)}"
    return " ".join(numerator.split())


def conversion(found: str, wanted: str) -> tuple[float, float] | None:
    """Factor and offset that turn `found` into `wanted`; none where the table has no such pair."""
    have, want = spelling(found), spelling(wanted)
    if have == want:
        return 1.0, 0.0
    for kind in _TABLE.values():
        if have in kind and want in kind:
            (scale, offset), (to_scale, to_offset) = kind[have], kind[want]
            return scale / to_scale, (offset - to_offset) / to_scale
    return None
