"""Units: spellings agree, conversions are exact, the rest is refused."""

import pytest

from diffsci.data.canonical.units import conversion, spelling


def test_spellings():
    for text in ("m/s", "m s**-1", "m s^-1", "m  s-1", "m.s-1"):
        assert spelling(text) == "m s-1"
    assert spelling("kg/m/s2") == spelling("kg m**-1 s**-2") == "kg m-1 s-2"
    assert spelling("mbar") == "hPa" and spelling("") == spelling("1") == "1"


@pytest.mark.parametrize(
    ("found", "wanted", "value", "exact"),
    [
        ("degC", "K", 0.0, 273.15),
        ("K", "celsius", 273.15, 0.0),
        ("degF", "degC", 212.0, 100.0),
        ("mbar", "Pa", 1013.25, 101325.0),
        ("m", "mm", 0.002, 2.0),
        ("km/h", "m/s", 36.0, 10.0),
        ("%", "1", 50.0, 0.5),
    ],
)
def test_conversions(found, wanted, value, exact):
    factor, offset = conversion(found, wanted)
    assert abs(value * factor + offset - exact) < 1e-11 * max(abs(exact), 1)


@pytest.mark.parametrize(("found", "wanted"), [("K", "Pa"), ("mm", "kg m-2"), ("foo", "bar")])
def test_what_the_table_lacks(found, wanted):
    assert conversion(found, wanted) is None
