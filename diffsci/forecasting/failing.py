"""Members that leave the finite numbers, or go beyond all bounds: each by itself, the others live.

A row that failed is computed no further: its place in the batch is taken by a copy of a row that
lives, since a batch has one size. What is noted names case, member, step and variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True, order=True)
class Failure:
    """A member that left the finite numbers or its bounds.

    Args:
        case: Key of its case.
        member: Its number.
        step: Forecast step at which it did, from 1.
        variable: Name of the first channel that did; empty where a network call did.
        why: In words.
    """

    case: str
    member: int
    step: int
    variable: str
    why: str

    def __str__(self) -> str:
        what = f" ({self.variable})" if self.variable else ""
        return f"case {self.case} member {self.member} at forecast step {self.step}{what}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Failures:
    """Those of one rollout, the first of each member."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int], Failure] = {}

    def all(self) -> tuple[Failure, ...]:
        """All of them, sorted."""
        return tuple(sorted(self._found.values()))

    def add(self, failure: Failure) -> None:
        """Note one; only the first of a member counts."""
        self._found.setdefault((failure.case, failure.member), failure)

    def stand_ins(self, cases: Sequence[str], members: Sequence[int]) -> list[int] | None:
        """For each row, the row to compute in its place; none where no row lives any more."""
        lives = [key not in self._found for key in zip(cases, members, strict=True)]
        if not any(lives):
            return None
        first = lives.index(True)
        return [row if alive else first for row, alive in enumerate(lives)]

    def failed(self, cases: Sequence[str], members: Sequence[int]) -> list[int]:
        """The rows that failed."""
        keys = zip(cases, members, strict=True)
        return [row for row, key in enumerate(keys) if key in self._found]


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a state may not be.

    Args:
        stds: Standard deviations from the mean beyond which a state counts as exploded.
        variables: Names of the channels.
    """

    stds: float
    variables: tuple[str, ...]

    def broken(
        self, states: Float[Tensor, "row step channel *space"]
    ) -> dict[int, tuple[int, str, str]]:
        """The first step, the variable, and why, of each row that is not as it should be."""
        # One number for all: only where it is beyond the limit is there anything to look for.
        if bool(states.abs().amax() <= self.stds):
            return {}
        largest = states.abs().flatten(3).amax(dim=-1).cpu()
        found = {}
        for row, sizes in enumerate(largest):
            bad = ~(sizes <= self.stds)  # NaN is within no limit
            if bad.any():
                step, channel = (int(i) for i in torch.nonzero(bad)[0])
                size = float(sizes[step, channel])
                why = (
                    f"{size:.3g} standard deviations from the mean, more than sample.limit"
                    if size < float("inf")
                    else "not finite"
                )
                found[row] = step, self.variables[channel], why
        return found
