"""Rollouts that are paused between leads: many rows, a few leads at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.failing import Failures
from diffsci.forecasting.rows import Rows


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Rows that go through the network together.

    Args:
        leads: Their states, lead after lead.
        count: Of those that are not copies which fill the batch up.
    """

    leads: Iterator[Tensor]
    count: int


class Rollout:
    """Some rows on their way from lead to lead; between calls nothing but their states is held.

    Args:
        engine: Where it computes.
        rows: Members of cases, in any order.
        leads: Forecast steps.
        seed: Of the noise.
    """

    def __init__(self, engine: Engine, rows: Rows, leads: int, seed: int) -> None:
        self._engine = engine
        self.failures = Failures()
        size = engine.compute_batch
        # Another engine of the same model may have laid it out elsewhere or otherwise.
        engine.device.laid_out(engine.denoiser)
        self._batches = []
        for start in range(0, len(rows), size):
            index = list(range(start, min(start + size, len(rows))))
            filled = rows.take(index + [index[-1]] * (size - len(index)))
            made = engine.rollout(filled, leads, seed, self.failures)
            self._batches.append(_Batch(leads=made, count=len(index)))

    def next(self, leads: int) -> Float[np.ndarray, "row lead channel *space"]:
        """Normalised states of all rows at the next leads, on the CPU."""
        parts = []
        for batch in self._batches:
            found = []
            for _ in range(leads):
                with self._engine.computing():
                    found.append(next(batch.leads)[: batch.count].cpu())
            parts.append(torch.stack(found, dim=1))
        return torch.cat(parts).numpy()
