"""What a store keeps of its values: errors as declared, NaN as NaN, and nothing wraps around."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from diffsci.errors import ConfigError, FieldError, NumericsError
from diffsci.forecasting.store.precision import Kept, kept_of, rounded
from diffsci.sections.storing import Storing


@given(
    values=some.lists(some.floats(width=32, allow_subnormal=False), min_size=1, max_size=20),
    bits=some.integers(1, 22),
)
def test_rounding_errs_by_half_a_unit_of_the_last_bit_kept(values, bits):
    x = np.array(values, dtype=np.float32)
    found = rounded(x, bits)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(x))
    finite = np.isfinite(x) & np.isfinite(found)
    wide = x[finite].astype(np.float64)
    assert (np.abs(found[finite] - wide) <= 2.0 ** -(bits + 1) * np.abs(wide)).all()
    np.testing.assert_array_equal(rounded(found, bits), found)
    cleared = found[finite].view(np.uint32) & np.uint32((1 << (23 - bits)) - 1)
    assert not cleared.any()


def test_rounding_by_hand():
    """With 2 bits of the significand 1.0, 1.25, 1.5, 1.75 are there; ties go to the even one."""
    x = np.array([1.1, 1.125, 1.375, 1.2, np.nan, np.inf, -1.3, 0], dtype=np.float32)
    expected = np.array([1.0, 1.0, 1.5, 1.25, np.nan, np.inf, -1.25, 0], dtype=np.float32)
    np.testing.assert_array_equal(rounded(x, 2), expected)


@given(values=some.lists(some.floats(250, 320, width=32), min_size=1, max_size=20))
def test_packing_errs_by_the_accuracy_that_was_declared(values):
    kept = Kept(dtype="int16", accuracy=0.01, offset=280.0)
    x = np.array([*values, np.nan], dtype=np.float32)
    packed = kept.encode("t", x)
    assert packed.dtype == np.int16
    assert packed[-1] == -32768
    back = packed[:-1].astype(np.float64) * 0.02 + 280.0
    # The last bit of a float32 of this size is 3e-5.
    assert np.abs(back - x[:-1]).max() <= 0.01 + 3e-5


@pytest.mark.parametrize(
    ("kept", "value", "hint"),
    [
        (Kept(dtype="float16"), 101325.0, "take bits:10"),
        (Kept(dtype="int16", accuracy=0.01, offset=280.0), 2000.0, "a larger accuracy"),
    ],
)
def test_what_does_not_fit_is_refused_not_wrapped(kept, value, hint):
    with pytest.raises(NumericsError, match=f"p reaches from 0 to .*{hint}"):
        kept.encode("p", np.array([0.0, value, np.nan], dtype=np.float32))


def test_each_variable_says_what_was_kept_of_it():
    storing = Storing(precision="bits:7", accuracy={"p": 0.5})
    kept = kept_of(storing, ["t", "p"], {"t": 280.3, "p": 101325.4})
    assert kept["p"].offset == 101325.0  # the nearest that is packed without an error
    assert "absolute error at most 0.5" in kept["p"].attributes["precision"]
    assert "7 bits" in kept["t"].attributes["precision"]
    assert "0.0039" in kept["t"].attributes["precision"]
    assert kept_of(Storing(), ["t"], {"t": 0.0})["t"].attributes == {}


def test_a_variable_that_is_not_there():
    with pytest.raises(ConfigError, match=r"accuracy\.q: no such variable; there are t"):
        kept_of(Storing(accuracy={"q": 1.0}), ["t"], {"t": 0.0})


@pytest.mark.parametrize(
    "fields",
    [
        {"precision": "bits:0"},
        {"precision": "bits:23"},
        {"precision": "half"},
        {"accuracy": {"t": 0.0}},
    ],
)
def test_settings_that_mean_nothing(fields):
    with pytest.raises(FieldError):
        Storing(**fields)
