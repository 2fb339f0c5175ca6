"""What training asks of a data set: its size, and examples by number."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from diffsci.batch import Batch


@runtime_checkable
class Examples(Protocol):
    """Training examples, by number."""

    def __len__(self) -> int: ...

    def batch(self, index: Int[np.ndarray, " batch"]) -> Batch:
        """These examples, in this order, on the CPU."""
        ...
