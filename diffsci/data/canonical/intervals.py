"""Intervals: durations that a catalog entry names, such as `1h`, `30min` or `1d`."""

from __future__ import annotations

import re

RUNNING = "running"
"""What stands in place of an interval where a sum goes on since the start of a run."""

_SECONDS = {"min": 60, "h": 3600, "d": 86_400}
_WORDS = {"min": "minute", "h": "hour", "d": "day"}


def seconds(text: str) -> int | None:
    """Of a duration; none for text that is none."""
    match = re.fullmatch(r"(\d+) ?(min|h|d)", text.strip())
    return None if match is None else int(match[1]) * _SECONDS[match[2]] or None


def in_words(length: int) -> str:
    """So many seconds as CF has them: `6 hour`, `30 minute`, `90 second`."""
    for unit in ("d", "h", "min"):
        if length % _SECONDS[unit] == 0:
            return f"{length // _SECONDS[unit]} {_WORDS[unit]}"
    return f"{length} second"
