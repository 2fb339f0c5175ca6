"""The journal: every metric of a run is first a line of `metrics.jsonl` in its folder.

    {"time": 1764112000123, "step": 50, "values": {"train/loss": 0.41, ...}}

It is the record, and MLflow a view of it. Lines are appended whole, flushed to the disk with each
checkpoint, and cut back to the checkpoint's step when a run goes on: no point is missing, none is
there twice. A line that a kill cut off is dropped.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from diffsci.files import storage_errors, write_bytes

NAME = "metrics.jsonl"
SERIES = ("train/", "val/")
"""What training tells step after step, and tells again where it goes on from before."""

_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""JSON has no names for these numbers; here they are texts."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """Values at one step.

    Args:
        time: Milliseconds since 1970, UTC.
        step: Of the metrics.
        values: By name.
    """

    time: int
    step: int
    values: dict[str, float]

    @property
    def of_training(self) -> bool:
        """Whether training would tell it again."""
        return any(name.startswith(SERIES) for name in self.values)

    def to_json(self) -> bytes:
        """The line, with its end."""
        told = {name: _plain(value) for name, value in self.values.items()}
        text = json.dumps({"time": self.time, "step": self.step, "values": told}, allow_nan=False)
        return text.encode() + b"\n"


def read(file: Path) -> list[Line]:
    """All whole lines, in order; none where there is no journal."""
    return list(_lines(file))


def _lines(file: Path) -> Iterator[Line]:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return
    for text in content.split(b"\n")[:-1]:
        try:
            told = json.loads(text)
            values = {str(name): _number(value) for name, value in told["values"].items()}
            yield Line(time=int(told["time"]), step=int(told["step"]), values=values)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # cut by a kill, or damaged: the rest still counts


class Journal:
    """A run's journal, open for writing; under the folder's lock.

    Args:
        file: `metrics.jsonl` in the run folder.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._open: IO[bytes] | None = None

    def go_on_from(self, step: int) -> None:
        """Forget what training told after `step`, which it will tell again.

        Raises:
            StorageError: When it cannot be written.
        """
        self.close()
        lines = read(self._file)
        kept = [line for line in lines if line.step <= step or not line.of_training]
        content = b"".join(line.to_json() for line in kept)
        if self._file.exists() and self._file.read_bytes() != content:
            write_bytes(self._file, content)

    def add(self, values: Mapping[str, float], step: int) -> Line:
        """Append one line.

        Raises:
            StorageError: When it cannot be written.
        """
        told = {name: float(value) for name, value in values.items()}
        line = Line(time=int(time.time() * 1000), step=step, values=told)
        with storage_errors(self._file):
            if self._open is None:
                self._open = self._file.open("ab", buffering=0)
                if not _ends_a_line(self._file):
                    self._open.write(b"\n")
            self._open.write(line.to_json())
        return line

    def sync(self) -> None:
        """Flush to the disk.

        Raises:
            StorageError: When the disk does not take it.
        """
        if self._open is not None:
            with storage_errors(self._file):
                os.fsync(self._open.fileno())

    def close(self) -> None:
        """Flush and close; the next line opens it again."""
        self.sync()
        if self._open is not None:
            self._open.close()
            self._open = None


def _ends_a_line(file: Path) -> bool:
    """Whether the next line can follow: a kill may have cut the last one off."""
    with file.open("rb") as content:
        if content.seek(0, os.SEEK_END) == 0:
            return True
        content.seek(-1, os.SEEK_END)
        return content.read(1) == b"\n"


def _plain(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return next(word for word, number in _WORDS.items() if repr(number) == repr(value))


def _number(value: float | str) -> float:
    return _WORDS[value] if isinstance(value, str) else float(value)
