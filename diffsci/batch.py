"""Batch: everything the core trains on, for every domain and task."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Normalised tensors of some training examples.

    Args:
        target: What the model learns to sample.
        condition: Fields it is given, on the target's grid.
        scalars: Numbers it is given: physical parameters, or a class as one-hot (zeros: none).
        mask: Where a cell counts in the loss: true and false, or how much.
        later: The same trajectories at later forecast steps, where those are trained on.
        states: First channel of `condition` that is one of a state, and the one after the last; the
            others are forcings, masks, and what is the same at all times.
        parameters: How many of the first scalars are the data's own; forcings and leads follow.
    """

    target: Float[Tensor, "batch channel *space"]
    condition: Float[Tensor, "batch given *space"] | None = None
    scalars: Float[Tensor, "batch parameter"] | None = None
    mask: Shaped[Tensor, "batch channel *space"] | None = None
    later: tuple[Batch, ...] = ()
    states: tuple[int, int] = (0, 0)
    parameters: int = 0

    def __len__(self) -> int:
        return len(self.target)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device; on its own it is this one."""
        if self.target.device == torch.device(device):
            return self
        return Batch(
            target=self.target.to(device, non_blocking=True),
            condition=None
            if self.condition is None
            else self.condition.to(device, non_blocking=True),
            scalars=None if self.scalars is None else self.scalars.to(device, non_blocking=True),
            mask=None if self.mask is None else self.mask.to(device, non_blocking=True),
            later=tuple(each.to(device) for each in self.later),
            states=self.states,
            parameters=self.parameters,
        )

    def take(self, rows: slice | Int[Tensor, " row"]) -> Batch:
        """The examples at these places."""
        return Batch(
            target=self.target[rows],
            condition=None if self.condition is None else self.condition[rows],
            scalars=None if self.scalars is None else self.scalars[rows],
            mask=None if self.mask is None else self.mask[rows],
            later=tuple(each.take(rows) for each in self.later),
            states=self.states,
            parameters=self.parameters,
        )
