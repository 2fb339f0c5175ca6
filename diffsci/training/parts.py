"""The gradient of a batch, whole or as the sum over parts that are computed one after the other.

The mean over a batch is the mean of the means over N equal parts, so a part's loss is divided by N
and the gradients add up where they lie. Examples, levels and noise are those of the whole batch;
only what layers draw themselves, such as dropout, is drawn anew for each part.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.batch import Batch
from diffsci.diffusion.objective import Losses


def backward(
    loss: nn.Module,
    batch: Batch,
    uniform: Float[Tensor, "batch *lead"],
    noise: Float[Tensor, "batch ..."],
    *,
    parts: int,
    scale: float,
    seed: Callable[..., None],
) -> Losses:
    """Add the gradient of the mean loss to the parameters; what came of each example, detached.

    Args:
        loss: `(batch, uniform, noise) -> Losses`; where it averages over ranks, it does so once.
        batch: All rows of this rank.
        uniform: Of the levels.
        noise: Of the targets.
        parts: How many; they divide the rows.
        scale: The gradient is that of the mean loss times this.
        seed: Called before each part, with its number where it is not the first.
    """
    size, found = len(batch) // parts, []
    for part in range(parts):
        rows = slice(part * size, (part + 1) * size)
        seed(*((part,) if part else ()))
        with nullcontext() if part == parts - 1 else _apart(loss):
            given = (batch, uniform, noise)
            if parts > 1:
                given = (batch.take(rows), uniform[rows], noise[rows])
            losses: Losses = loss(*given)
            mean = losses.loss.mean()
            # Not a product with 1: it would be one more operation in each step.
            if parts > 1 or scale != 1:
                mean = mean * (scale / parts)
            mean.backward()  # type: ignore[no-untyped-call]
        found.append(losses)
    columns = ([value.detach() for value in column] for column in zip(*found, strict=True))
    return Losses(*(column[0] if parts == 1 else torch.cat(column) for column in columns))


def _apart(loss: nn.Module) -> AbstractContextManager[object]:
    """Gradients stay with this rank inside the block."""
    if isinstance(loss, nn.parallel.DistributedDataParallel):
        context: AbstractContextManager[object] = loss.no_sync()
        return context
    return nullcontext()
