"""What a step tells the host: all of it in one read, for which the host waits once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsci.diffusion.objective import Losses
from diffsci.training.distributed import Ranks, total


@dataclass(frozen=True, kw_only=True)
class Read:
    """The numbers of a step, over all ranks.

    Args:
        loss: Mean over the batch.
        norm: Of the gradient.
        error: Of each example of the whole batch.
        log_sigma: Of the level of each.
        flags: Sums of what was told beside.
    """

    loss: float
    norm: float
    error: list[float]
    log_sigma: list[float]
    flags: list[float]

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


def read(
    found: Losses,
    gradients: list[Tensor],
    flags: Sequence[float],
    *,
    rows: slice,
    count: int,
    ranks: Ranks,
    in_parts: bool = False,
) -> Read:
    """The numbers of a step.

    Sums are not finite where one addend is not, so loss and norm tell of all that went wrong.

    Args:
        found: What came of each example of this rank.
        gradients: The same on all ranks, or `in_parts` the part of this one.
        flags: Numbers of this rank.
        rows: Which examples of the batch this rank has.
        count: Examples of the whole batch.
        ranks: Who adds up.
        in_parts: Whether each rank has another part of the gradients.
    """
    mean = found.loss.mean()
    norms = norm_of(gradients).reshape(1)
    if in_parts:  # side by side, as each row of the batch below
        mine, norms = norms, norms.new_zeros(ranks.world)
        norms[ranks.rank] = mine[0]
    pieces = [mean.reshape(1), norms, found.error, found.log_sigma]
    if ranks.world > 1:
        # Each fills its own rows, so that the sum holds those of all.
        each = mean.new_zeros(2, count)
        each[0, rows], each[1, rows] = found.error, found.log_sigma
        pieces = [*pieces[:2], each.flatten()]
    if flags:
        pieces.append(mean.new_tensor(flags))
    loss, *rest = total(torch.cat(pieces), ranks).tolist()
    several, rest = rest[: len(norms)], rest[len(norms) :]
    return Read(
        loss=loss / ranks.world,
        norm=math.hypot(*several) if in_parts else several[0] / ranks.world,
        error=rest[:count],
        log_sigma=rest[count : 2 * count],
        flags=rest[2 * count :],
    )


def norm_of(gradients: list[Tensor]) -> Tensor:
    """Euclidean norm of all of them, as `torch.nn.utils.get_total_norm` of tensors of one kind."""
    if len({(each.device, each.dtype) for each in gradients}) != 1:
        total_norm: Tensor = torch.nn.utils.get_total_norm(gradients)
        return total_norm
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm
