"""What is wrong with a request: one status, the field, and the message that a run would give."""

from __future__ import annotations

import re
from pathlib import Path

from diffsci.errors import ConfigError, DataError, DiffsciError, NumericsError, StorageError
from diffsci.forecasting.requests.durations import TooManyLeads

_STATUS: tuple[tuple[type[DiffsciError], int], ...] = (
    (TooManyLeads, 413),
    (ConfigError, 400),
    (DataError, 422),
    (NumericsError, 500),
    (StorageError, 507),
)

_FIELDS = (
    (r"--(start|lead)\b", None),
    (r"^sample\.(\w+)|^(members|seed|leads)\b", None),
    (r"variable ([\w.@-]+)", None),
    (r"no class|parameters |the class of each|given nothing", "scalars"),
    (r"its grid", "grid"),
    (r"\b(time|latitude|longitude|level|x|y|z)\b(?= coordinate|:)", None),
    (r"lacks ([\w.@-]+)", None),
    (r"a forecast from", "time"),
)


_OF_HTTP = (
    (r"--within (\S+) \(`within` in Python\)", r"within=\1"),
    (r"--(start|lead)\b", r"\1"),
    (r"; leave --from out", "; send an empty body"),
    # A body has no entry in any catalog, and what is sent is corrected where it is made.
    (r"; (?:(?!; ).)*data_catalog/body\.yaml.*", "; correct it in the body"),
    (r"; (?:the file may be cut off: )?fetch it again", "; it may be cut off: send it again"),
    ("condition: got NoneType, expected a", "body: is empty, expected a"),
)
"""Advice for a shell, a file or Python, and what it is for who sends a body."""


class Refusal(Exception):
    """A request that gets no answer.

    Args:
        status: Of HTTP.
        field: Which part of the request: a parameter, a variable, `body`.
        message: What was found, what was expected.
    """

    def __init__(self, status: int, field: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.field = field

    def to_dict(self) -> dict[str, str]:
        """As the answer's body has it."""
        return {"field": self.field, "error": str(self)}


def refusal_of(error: DiffsciError, body: Path | None) -> Refusal:
    """An error of the model or its data, as the client may read it: without paths of ours."""
    text = str(error)
    if body is not None:
        text = text.replace(str(body), "body").replace(str(body.resolve()), "body")
    field = _field(text)
    for pattern, words in _OF_HTTP:
        text = re.sub(pattern, words, text)
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    return Refusal(status, field, text)


def _field(text: str) -> str:
    for pattern, word in _FIELDS:
        found = re.search(pattern, text)
        if found:
            return word or next(group for group in found.groups() if group)
    return "body"
