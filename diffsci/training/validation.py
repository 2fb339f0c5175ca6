"""Validation: the loss at fixed examples, levels and noise: only the weights change it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from diffsci.errors import NumericsError
from diffsci.runtime import as_written
from diffsci.training.distributed import Ranks, total
from diffsci.training.ema import Ema
from diffsci.training.examples import Examples
from diffsci.training.losses import Loss
from diffsci.training.order import Draws, open_interval, permutation
from diffsci.training.rollout import drawn
from diffsci.training.sharding import is_part

BATCHES = 32
"""At most so many batches: with the default 500 steps between validations, 2 % of the time."""


@dataclass
class Validations:
    """The validations of a run so far.

    Args:
        rows: Step of each, and its loss: the lowest of the averages of the weights.
        best_step: Step of the best; 0 before the first.
        best_loss: Its loss, or its CRPS where that says which is the best.
        last: The loss of each average the last time.
        scores: Step of each, and its CRPS, where that is measured.
    """

    rows: list[tuple[int, float]] = field(default_factory=list)
    best_step: int = 0
    best_loss: float | None = None
    last: tuple[float, ...] = ()
    scores: list[tuple[int, float]] = field(default_factory=list)

    @property
    def since_best(self) -> int:
        """Validations since the best one."""
        return sum(step > self.best_step for step, _ in self.rows)

    def add(
        self,
        step: int,
        losses: tuple[float, ...],
        score: float | None = None,
        by_score: bool = False,
    ) -> float:
        """The lowest loss of one more validation.

        Args:
            step: Steps done.
            losses: Of each average.
            score: CRPS of the best of them, where that is measured.
            by_score: Whether that says which validation is the best, not the loss.

        Raises:
            NumericsError: When one is not finite.
        """
        if not all(map(math.isfinite, (*losses, score or 0.0))):
            raise NumericsError(
                f"validation after step {step}: the loss is not finite; look for such values in "
                "the valid part of the data with `diffsci check`, or lower train.lr"
            )
        loss = min(losses)
        self.rows.append((step, loss))
        if score is not None:
            self.scores.append((step, score))
        self.last = losses
        found = score if by_score and score is not None else loss
        if self.best_loss is None or found < self.best_loss:
            self.best_step, self.best_loss = step, found
        return loss


def losses_of(
    ema: Ema,
    loss: Loss,
    valid: Examples,
    batch_size: int,
    device: torch.device,
    seed: int,
    ranks: Ranks,
) -> tuple[float, ...]:
    """The validation loss of each average; the network has its own weights again after it."""
    found, given = [], (valid, batch_size, device, seed, ranks)
    for which in range(len(ema.all)):
        # Its last batch has another size, and compiling for it takes longer than it saves.
        with ema.applied(which), loss.denoiser.unchanged(), as_written(loss.denoiser):
            found.append(validation_loss(loss, *given))
    return tuple(found)


@torch.no_grad()
def validation_loss(
    loss: Loss,
    valid: Examples,
    batch_size: int,
    device: torch.device,
    seed: int,
    ranks: Ranks,
) -> float:
    """Mean loss over examples evenly spread through `valid`, at levels evenly spread as well.

    Args:
        loss: `(batch, uniform, noise) -> Losses`; used in evaluation mode.
        valid: The validation set.
        batch_size: Examples at once, over all ranks.
        device: Where to compute.
        seed: Of the noise, and of which example gets which level.
        ranks: Who computes which rows.
    """
    count = min(len(valid), BATCHES * batch_size)
    chosen = np.linspace(0, len(valid) - 1, count).round().astype(np.int64)
    leads = 1 if loss.stepper is None else 1 + len(valid.batch(chosen[:1]).later)
    orders = [permutation(seed, -1 - lead, count) for lead in range(leads)]
    levels = [torch.from_numpy((order + 0.5) / count) for order in orders]
    training, together = loss.training, any(map(is_part, loss.parameters()))
    loss.eval()
    sums = torch.zeros(2, dtype=torch.float32, device=device)
    for first in range(0, count, batch_size):
        block = slice(first, min(first + batch_size, count))
        size = block.stop - block.start
        rows = ranks.rows(size)
        if idle := rows.start == rows.stop:
            if not together:
                continue
            rows = slice(0, 1)  # whose loss is not counted
        batch = valid.batch(chosen[block][rows]).to(device)
        words = [("valid", seed, first, *(("lead", lead) if lead else ())) for lead in range(leads)]
        draws = [Draws(*each, count=size, rows=rows, device=device) for each in words]
        dtype, like = batch.target.dtype, loss.objective.noise_like(batch.target)
        uniform = [open_interval(level[block][rows], dtype).to(device) for level in levels]
        numbers = drawn(list(zip(uniform, draws, strict=True)), like)
        losses = loss(batch, *numbers).loss
        if idle:
            continue
        sums += torch.stack([losses.sum(), losses.new_tensor(len(losses))]).to(sums)
    loss.train(training)
    added, number = total(sums, ranks).tolist()
    return float(added / number)
