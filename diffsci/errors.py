"""The errors a user can cause, each with the exit code of the command line.

A message names the file, key, variable or coordinate, the value found, what was expected and the
fix.
"""

from collections.abc import Mapping


def shown(value: object) -> str:
    """A value as a pipeline file would have it: `null`, `true`, `[8, 16]`, `{leads: 2}`, `'crps'`.

    A value that no such file can hold is shown as Python does.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        pairs = (f"{key}: {_within(each)}" for key, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_within, value)) + "]"
    return repr(value)


def line_of(error: BaseException) -> str:
    """An error in one line of bounded length; one that nobody expected with its kind."""
    kind = "" if isinstance(error, DiffsciError) else f"{type(error).__name__}: "
    return shortened(kind + (" ".join(str(error).split()) or "no message"), 1000)


def shortened(text: str, most: int) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _within(value: object) -> str:
    """A part of a value: a plain word needs no quotes there."""
    word = isinstance(value, str) and value.isidentifier() and value not in _WORDS
    return str(value) if word else shown(value)


_WORDS = ("null", "true", "false", "Null", "True", "False", "NULL", "TRUE", "FALSE")
"""What is no text without quotes."""


class DiffsciError(ValueError):
    """Base of all errors a user can cause; the command line prints the message alone."""

    exit_code = 1


class ConfigError(DiffsciError):
    """A pipeline file or an argument asks for something that cannot be built."""

    exit_code = 2


class DataError(DiffsciError):
    """The data is missing, malformed, or not what the catalog entry says."""

    exit_code = 3


class NumericsError(DiffsciError):
    """A computation left the finite numbers."""

    exit_code = 4


class NotFiniteError(NumericsError):
    """An estimate of a denoiser is not finite.

    Args:
        call: Which call of the sampler, from 1.
        calls: How many there were.
        t: The level, 1 is pure noise.
        example: Row of the batch.
    """

    def __init__(self, *, call: int, calls: int, t: float, example: int) -> None:
        super().__init__(
            f"the denoiser's estimate is not finite in call {call} of {calls} (t = {t:.4g}), "
            f"example {example} of the batch"
        )
        self.call = call
        self.calls = calls
        self.t = t
        self.example = example


class StorageError(DiffsciError):
    """A file or folder cannot be written, read back, or belongs to something else."""

    exit_code = 5


class FieldError(ConfigError):
    """One field of a config dataclass is out of range; the loader adds the file and the full key.

    Args:
        field: Name of the dataclass field, dotted when nested.
        value: The value found.
        expected: What would have been accepted, as the end of the sentence "expected ...".
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{field}: got {shown(value)}, expected {expected}")
        self.field = field
        self.value = value
        self.expected = expected


def require(condition: bool, field: str, value: object, expected: str) -> None:
    """Check one field of a config dataclass in its `__post_init__`.

    Raises:
        FieldError: When `condition` is false.
    """
    if not condition:
        raise FieldError(field, value, expected)
