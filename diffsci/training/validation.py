"""Validation: the loss at fixed examples, levels and noise: only the weights change it."""

from __future__ import annotations

import numpy as np
import torch

from diffsci.training.distributed import Ranks, total
from diffsci.training.examples import Examples
from diffsci.training.losses import Loss
from diffsci.training.order import Draws, open_interval, permutation

BATCHES = 32
"""At most so many batches: with the default 500 steps between validations, 2 % of the time."""


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
    levels = torch.from_numpy((permutation(seed, -1, count) + 0.5) / count)
    training = loss.training
    loss.eval()
    sums = torch.zeros(2, dtype=torch.float32, device=device)
    for first in range(0, count, batch_size):
        block = slice(first, min(first + batch_size, count))
        size = block.stop - block.start
        rows = ranks.rows(size)
        if rows.start == rows.stop:
            continue
        batch = valid.batch(chosen[block][rows]).to(device)
        draws = Draws("valid", seed, first, count=size, rows=rows, device=device)
        noise = draws.normal(loss.objective.noise_like(batch.target))
        uniform = open_interval(levels[block][rows], batch.target.dtype).to(device)
        losses = loss(batch, uniform, noise).loss
        sums += torch.stack([losses.sum(), losses.new_tensor(len(losses))]).to(sums)
    loss.train(training)
    added, number = total(sums, ranks).tolist()
    return float(added / number)
