"""Section `data`: where the data is, what it means, and how it is split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffsci.errors import require
from diffsci.members import member

if TYPE_CHECKING:
    from diffsci.data.domains.base import Domain
    from diffsci.data.tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a split: which records of which entry.

    Args:
        entry: Catalog entry or path; none takes that of `data`.
        time: First and last time stamp, both included, as ISO dates or numbers.
        samples: First trajectory and the one after the last.
        share: Where the part begins and ends as shares of the whole, such as [0, 0.7] and [0.7, 1]:
            of the trajectories where there are several, else of the time stamps in their order.
        beside: Second data set of the task for this part; none takes that of the task.
    """

    entry: str | None = None
    time: tuple[str | float, str | float] | None = None
    samples: tuple[int, int] | None = None
    share: tuple[float, float] | None = None
    beside: str | None = None

    def __post_init__(self) -> None:
        if self.samples is not None:
            first, after = self.samples
            require(
                0 <= first < after,
                "samples",
                self.samples,
                "[first, one after the last], 0 <= first < last",
            )
        if self.share is not None:
            start, end = self.share
            require(
                0 <= start < end <= 1,
                "share",
                self.share,
                "[first, last], 0 <= first < last <= 1",
            )
            require(
                self.time is None and self.samples is None,
                "share",
                self.share,
                "none beside `time` or `samples`, which say the same",
            )


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which records train, validate and test; no test record may equal a training record."""

    train: Part
    test: Part
    valid: Part | None = None


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the data is, what it means, and what is asked of it.

    Args:
        entry: Name of a catalog entry.
        source: A file, folder or Zarr store to read without an entry; give one of the two.
        domain: What axes, units and geometry mean.
        task: What is given and what is sampled.
        split: Train, valid and test.
        variables: Take only these of the entry's variables; empty takes all.
    """

    entry: str | None = None
    source: str | None = None
    domain: Domain = member("domains")
    task: Task = member("tasks")
    split: Split
    variables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = [name for name in (self.entry, self.source) if name]
        require(
            len(given) == 1,
            "entry",
            self.entry,
            "either `entry` or `source`, and the other one null",
        )

    @property
    def parts(self) -> list[tuple[str, Part]]:
        """Each part of the split, with the name or path of the catalog entry that it reads."""
        split, default = self.split, self.entry or self.source
        parts = [part for part in (split.train, split.valid, split.test) if part is not None]
        return [(str(part.entry or default), part) for part in parts]

    @property
    def entries(self) -> list[str]:
        """Names of all catalog entries or paths that the parts read."""
        return list(dict.fromkeys(name for name, _ in self.parts))
