"""Addresses of data that lies elsewhere: only plain ones, of protocols on a list.

A chained address (`simplecache::file://...`) or a `reference://` one reads local files through a
remote entry, so that none is taken. What could be a secret is never repeated in a message.
"""

from __future__ import annotations

import re

from diffsci.errors import DataError

ALLOWED = ("abfs", "az", "file", "gcs", "gs", "http", "https", "memory", "s3")
"""Protocols that may be read."""

_FORM = re.compile(r"(?P<protocol>[A-Za-z][A-Za-z0-9+.-]*)(?P<sep>://|::)(?P<rest>.*)", re.DOTALL)


def is_address(text: str) -> bool:
    """Whether a text is an address rather than a local path."""
    return _FORM.match(text) is not None


def protocol(text: str) -> str:
    """What stands before `://`, in lower case."""
    found = _FORM.match(text)
    return found["protocol"].lower() if found else ""


def shown(text: str) -> str:
    """The address as messages may show it: without user, password, query or fragment."""
    found = _FORM.match(text)
    if found is None:
        return text
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", text)[0])


def require_allowed(text: str, where: str) -> None:
    """Refuse an address that is not on the list, chained, or holds a password.

    Args:
        text: The address.
        where: What to begin a message with.

    Raises:
        DataError: Naming the protocol, without repeating a secret.
    """
    found = _FORM.match(text)
    name = protocol(text)
    if found is None or found["sep"] == "::" or "::" in found["rest"]:
        raise DataError(
            f"{where}: {shown(text)!r} is a chained address; expected a plain one, such as s3://..."
        )
    if name not in ALLOWED:
        raise DataError(
            f"{where}: the protocol {name!r} of {shown(text)!r} is not allowed; "
            f"there are {', '.join(ALLOWED)}; copy the data here, or to one of these"
        )
    if "@" in found["rest"].partition("/")[0]:
        raise DataError(
            f"{where}: {shown(text)!r} came with a user or password; take them out: credentials "
            "belong in the environment, where the file system's own library looks for them"
        )
