"""Augmentation: symmetries, strength, and noise on what is given, drawn anew in each step.

A mirrored or rolled example is another solution only where the equations and the boundary allow it:
mirrors change the sign of vector components and of the Coriolis force, rolls need a periodic dim.
A stronger or weaker example is another solution of linear dynamics alone; where examples are few it
is a likely one all the same, and nearer to what comes than those that were seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from diffsci.batch import Batch
from diffsci.errors import require
from diffsci.grid import Grid
from diffsci.sections import Train
from diffsci.training.order import Draws


def check(section: Train, grid: Grid) -> None:
    """Refuse mirrors and rolls that the grid has no meaning for.

    Raises:
        FieldError: Naming the key, the dims there are, and those that are periodic.
    """
    for field in ("flip", "shift"):
        for dim in getattr(section, field):
            require(dim in grid.dims, field, dim, f"dims of the data, which are {list(grid.dims)}")
    periodic = [
        dim for dim, sides in zip(grid.dims, grid.boundary, strict=True) if "periodic" in sides
    ]
    for dim in section.shift:
        require(dim in periodic, "shift", dim, f"periodic dims, which are {periodic}")


def augment(batch: Batch, section: Train, grid: Grid | None, draws: Draws) -> Batch:
    """The batch after the mirrors, rolls, strengths, noise and dropped scalars of `section`."""
    for dim in section.flip:
        axis = _axis(grid, dim)
        batch = _fields(batch, partial(mirror, chosen=draws.uniform() < 0.5, axis=axis))
    for dim in section.shift:
        axis = _axis(grid, dim)
        size = batch.target.shape[2 + axis]
        by = (draws.uniform() * size).long()
        batch = _fields(batch, partial(roll, by=by, axis=axis))
    if section.amplitude:
        logarithm = draws.normal(batch.target.flatten(1)[:, 0])
        batch = stronger(batch, (section.amplitude * logarithm).exp())
    condition, scalars = batch.condition, batch.scalars
    if section.condition_noise and condition is not None:
        condition = condition + section.condition_noise * draws.normal(condition)
    if section.scalar_noise and scalars is not None:
        own = scalars[:, : batch.parameters]
        batch = other_numbers(batch, section.scalar_noise * draws.normal(own))
        scalars = batch.scalars
    if section.drop_scalars and scalars is not None:
        kept = draws.uniform() >= section.drop_scalars
        return _kept(replace(batch, condition=condition), kept)
    return batch if condition is batch.condition else replace(batch, condition=condition)


def mirror(
    x: Shaped[Tensor, "batch channel *space"], chosen: Bool[Tensor, " batch"], axis: int
) -> Shaped[Tensor, "batch channel *space"]:
    """The chosen examples with one space axis reversed."""
    return torch.where(chosen.reshape(-1, *[1] * (x.ndim - 1)), x.flip(2 + axis), x)


def roll(
    x: Shaped[Tensor, "batch channel *space"], by: Int[Tensor, " batch"], axis: int
) -> Shaped[Tensor, "batch channel *space"]:
    """Each example rolled along one space axis by its own number of cells, as `torch.roll` does."""
    size = x.shape[2 + axis]
    source = (torch.arange(size, device=x.device) - by[:, None]) % size
    shape = [len(x), *[1] * (x.ndim - 1)]
    shape[2 + axis] = size
    return x.gather(2 + axis, source.reshape(shape).expand_as(x))


def stronger(batch: Batch, factor: Float[Tensor, " batch"]) -> Batch:
    """Each example's target and given states times its own factor, at every forecast step.

    Both are departures from their means over the training part, so that what holds linearly between
    them goes on to hold. Forcings, masks and what is the same at all times stay.
    """
    first, end = batch.states

    def times(x: Tensor) -> Tensor:
        return x * factor.reshape(-1, *[1] * (x.ndim - 1))

    condition = batch.condition
    if condition is not None and end > first:
        scaled = times(condition[:, first:end])
        condition = torch.cat([condition[:, :first], scaled, condition[:, end:]], dim=1)
    later = tuple(stronger(each, factor) for each in batch.later)
    return replace(batch, target=times(batch.target), condition=condition, later=later)


def other_numbers(batch: Batch, change: Float[Tensor, "batch parameter"]) -> Batch:
    """The data's own scalars with their change added, the same at every forecast step."""
    assert batch.scalars is not None
    later = tuple(other_numbers(each, change) for each in batch.later)
    own, others = batch.scalars.tensor_split([change.shape[1]], dim=1)
    return replace(batch, scalars=torch.cat([own + change, others], dim=1), later=later)


def _kept(batch: Batch, kept: Bool[Tensor, " batch"]) -> Batch:
    """Scalars of the chosen examples, zeros of the others, at every forecast step."""
    assert batch.scalars is not None
    scalars = torch.where(kept[:, None], batch.scalars, torch.zeros_like(batch.scalars))
    return replace(batch, scalars=scalars, later=tuple(_kept(each, kept) for each in batch.later))


def _fields(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The same change to target, condition and mask, which share their grid, at every step."""
    return replace(
        batch,
        target=change(batch.target),
        condition=None if batch.condition is None else change(batch.condition),
        mask=None if batch.mask is None else change(batch.mask),
        later=tuple(_fields(each, change) for each in batch.later),
    )


def _axis(grid: Grid | None, dim: str) -> int:
    assert grid is not None, "flip and shift need the grid"
    return grid.dims.index(dim)
