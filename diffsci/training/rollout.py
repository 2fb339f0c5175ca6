"""Rollout fine-tuning: the loss of several forecast steps, each from what the model made before.

What a model gets wrong in a step is an input of the next one, which it has never seen in training.
So later steps are trained on too: the known frames of a step are those of the data plus the errors
of the steps before, and its target is what leads from there to the truth. The loss is the mean over
the steps.

Each member goes its own way, with its own random vector in each step, and the score compares the
members of each step with the truth: it is proper for the law of each step.

It is not for diffusion models, whose loss pairs one sample with the truth. Given what came before,
the two are independent, so the next step would learn the law of the truth given a state that says
less of it: wider than it is, and wider again with each turn. Measured, it diverges.

The gradient goes back through at most `backprop` steps: after each so many, the errors count as
given. With 1, no step is blamed for what it does to the next, which learns to mend it.

Source: Brandstetter et al. (2022), arXiv:2202.03376, for going on from a state without its
gradient (the pushforward trick).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objective import Losses, mean_over_cells
from diffsci.diffusion.objectives.base import Direct
from diffsci.training.order import Draws


@runtime_checkable
class Stepper(Protocol):
    """What training asks of a task whose forecasts go on from themselves."""

    def moved(self, batch: Batch, errors: Sequence[Tensor]) -> Batch:
        """Examples whose known frames are off by the last of these errors, newest last."""
        ...

    def errors(self, off: Float[Tensor, "batch channel *space"]) -> Sequence[Tensor]:
        """Errors of the frames of a draw whose scaled target is off by so much, oldest first."""
        ...


def drawn(
    steps: Sequence[tuple[Float[Tensor, " batch"], Draws]], like: Tensor
) -> tuple[Float[Tensor, "batch *lead"], Float[Tensor, "batch ..."]]:
    """Random numbers of a loss; of several forecast steps, along an axis after that of examples.

    Args:
        steps: Of each, the numbers that choose the levels, and the source of noise.
        like: What noise is to be like.
    """
    fields = [draws.normal(like) for _, draws in steps]
    if len(steps) == 1:
        return steps[0][0], fields[0]
    return torch.stack([uniform for uniform, _ in steps], dim=1), torch.stack(fields, dim=1)


def rolled(
    denoiser: Denoiser,
    batch: Batch,
    objective: Direct,
    stepper: Stepper,
    noise: Float[Tensor, "batch lead member random"],
    backprop: int | None,
) -> Losses:
    """The mean loss of the steps of each example.

    Args:
        denoiser: The model.
        batch: With as many `later` steps as there are leads, or more.
        objective: What is trained for.
        stepper: Of the task.
        noise: As `drawn`.
        backprop: Steps that the gradient goes back through; none for all.
    """
    leads, count, found = noise.shape[1], objective.count, list[Tensor]()
    rows = torch.arange(len(batch), device=batch.target.device).repeat_interleave(count)
    members, errors = batch.take(rows), list[Tensor]()
    for lead, true in enumerate((members, *members.later[: leads - 1])):
        given = stepper.moved(true, errors) if errors else true
        random = noise[:, lead].flatten(0, 1) if objective.random else None
        made = denoiser.direct(given.target, given.condition, given.scalars, random)
        off = made - given.target
        # A score knows no place: of members and truth alike, their own way here is taken off.
        side_by_side = off.reshape(len(batch), count, *off.shape[1:]).transpose(0, 1)
        score = objective.loss(side_by_side, torch.zeros_like(batch.target))
        found.append(mean_over_cells(score, batch.mask))
        errors = _further(errors, stepper.errors(off), _cut(lead, backprop))
    loss = torch.stack(found).mean(dim=0)
    return Losses(loss, loss.detach(), torch.zeros_like(loss))


def _cut(lead: int, backprop: int | None) -> bool:
    return backprop is not None and (lead + 1) % backprop == 0


def _further(errors: list[Tensor], more: Sequence[Tensor], cut: bool) -> list[Tensor]:
    """All errors so far, as given numbers where the gradient ends."""
    every = [*errors, *more]
    return [each.detach() for each in every] if cut else every
