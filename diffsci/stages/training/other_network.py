"""A network that a changed key made another one, told by that key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from diffsci.errors import ConfigError
from diffsci.training.state import OtherNetworkError


@contextmanager
def told_by_key(allow: Sequence[str]) -> Iterator[None]:
    """An error about weights that do not fit names the changed keys that are the cause.

    Args:
        allow: Keys that were allowed to change, with those that did.

    Raises:
        ConfigError: That the change cannot be allowed, and what to do.
    """
    try:
        yield
    except OtherNetworkError as error:
        found = dict.fromkeys(key for key in allow if key.startswith(("model.", "data.")))
        # Contents of data change no shape; a section that was allowed has the key that changed.
        keys = [key for key in found if not key.startswith("data.content")]
        keys = [key for key in keys if not any(other.startswith(f"{key}.") for other in keys)]
        if not keys:
            raise
        raise ConfigError(
            f"{', '.join(keys)}: cannot be allowed: the change makes another network of the one "
            f"that was trained: {error.__cause__}; take it back, or train under another `name=` "
            "or --out, where `train.from: RUN` takes what fits from a run that is done"
        ) from error
