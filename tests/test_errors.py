"""Exit codes and the form of messages are part of the contract with shell scripts and readers."""

import pytest
import yaml

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


@pytest.mark.parametrize(
    "value",
    [None, True, 3, -1.5, "crps", [8, 16], [None, "null", "a b", "1"], {"leads": 2, "x": [True]}],
)
def test_a_value_is_shown_as_the_yaml_that_means_it(value):
    text = errors.shown(value)
    assert yaml.safe_load(text) == value
    assert str(errors.FieldError("key", value, "more")) == f"key: got {text}, expected more"


def test_a_mapping_is_shown_without_the_quotes_and_words_of_python():
    assert errors.shown({"leads": (2, 4), "backprop": None}) == "{leads: [2, 4], backprop: null}"
    assert errors.shown(slice(1, 2)) == "slice(1, 2, None)"
