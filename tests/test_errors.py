"""Exit codes and the form of messages are part of the contract with shell scripts and readers."""

import pytest

from diffsci import errors


def test_exit_codes_are_those_of_the_documentation():
    codes = {
        errors.ConfigError: 2,
        errors.DataError: 3,
        errors.NumericsError: 4,
        errors.StorageError: 5,
    }
    for kind, code in codes.items():
        assert kind.exit_code == code
        assert issubclass(kind, errors.DiffsciError)
    assert issubclass(errors.DiffsciError, ValueError)
    assert errors.FieldError.exit_code == 2


def test_a_field_error_names_field_value_and_what_was_expected():
    with pytest.raises(errors.FieldError) as caught:
        errors.require(False, "steps", -3, "1 or more")
    assert str(caught.value) == "steps: got -3, expected 1 or more"
    assert (caught.value.field, caught.value.value, caught.value.expected) == (
        "steps",
        -3,
        "1 or more",
    )


def test_require_is_silent_when_met():
    errors.require(True, "steps", 1, "1 or more")
