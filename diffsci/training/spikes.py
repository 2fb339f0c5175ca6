"""Loss spikes: a loss far above the last hundred, in units of their own robust spread.

Median and quartiles do not move with the few values that are looked for, as mean and standard
deviation would. The spread is (q75 - q25) / 1.349: the standard deviation, where the losses are
normal.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable

import numpy as np
from torch import Tensor

KEPT = 100
FEWEST = 20
"""Losses before which there is nothing to compare with."""


class Recent:
    """The last losses, in their order and sorted.

    Args:
        losses: Those that a run goes on with.
    """

    def __init__(self, losses: Iterable[float] = ()) -> None:
        self.losses = deque(losses)
        self._sorted = sorted(self.losses)

    def deviations(self, loss: float) -> float:
        """How many robust deviations a loss lies above the median; 0 after too few losses."""
        count = len(self._sorted)
        if count < FEWEST:
            return 0.0
        spread = (self._sorted[3 * count // 4] - self._sorted[count // 4]) / 1.349
        # Losses that are all equal have no spread; their rounding is no spike.
        return (loss - self.median) / max(spread, 1e-6 * abs(self.median), 1e-300)

    @property
    def median(self) -> float:
        """Of the losses kept."""
        return self._sorted[len(self._sorted) // 2]

    def add(self, loss: float) -> None:
        """Keep one more, and forget the oldest."""
        self.losses.append(loss)
        insort(self._sorted, loss)
        if len(self.losses) > KEPT:
            del self._sorted[bisect_left(self._sorted, self.losses.popleft())]

    def note(
        self, step: int, loss: float, limit: float | None, index: np.ndarray, losses: Tensor
    ) -> str | None:
        """What to say of a loss that stands out; none where it does not.

        Args:
            step: Counted from 1.
            loss: Of its batch; not added yet.
            limit: Robust deviations beyond which it is told; none for never.
            index: Numbers of the batch's examples.
            losses: Of each of them.
        """
        if limit is None or (by := self.deviations(loss)) <= limit:
            return None
        each = losses.float().cpu().numpy()
        rows = ", ".join(f"{index[k]} ({each[k]:.4g})" for k in np.argsort(-each)[:3])
        return (
            f"training step {step}: the loss {loss:.4g} lies {by:.0f} robust deviations above "
            f"{self.median:.4g}, the median of the last {len(self.losses)}; highest in the "
            f"training examples {rows}"
        )
