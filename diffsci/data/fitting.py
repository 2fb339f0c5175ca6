"""Fitting the statistics of a training part, in float64, a block of windows at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from diffsci.data.examples.around import Around
from diffsci.data.examples.inputs import Inputs, condition_channels
from diffsci.data.fields import Fields
from diffsci.data.moments import Moments
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.base import Task
from diffsci.data.transforms import learnt, logarithms
from diffsci.errors import DataError


def fit_statistics(fields: Fields, task: Task, forcings: tuple[str, ...] = ()) -> Statistics:
    """Statistics of the training part.

    Args:
        fields: The training part.
        task: What is given and what is to be sampled.
        forcings: As the domain has them.

    Raises:
        DataError: For a channel that is constant, or whose targets are.
    """
    signed = _signed(fields)
    # What was measured when a store was prepared is of the values as they are.
    measured = None if any(_transforms(fields)) else fields.measured
    mean, std = measured or _of_states(fields)
    _require_spread(fields, mean, std)
    mean, std = np.where(signed, 0.0, mean), np.where(signed, np.hypot(std, mean), std)
    around = Around(forcings=forcings, grid=fields.grid)
    space = len(fields.grid.dims)
    names = tuple(channel.name for channel in fields.channels)
    scalars = np.zeros((1, 0)) if fields.scalars is None else fields.scalars
    plain = np.array([not name.startswith("label=") for name in fields.scalar_names], dtype=bool)
    scalars = logarithms(scalars, fields.scalar_names, fields.scalar_logs)
    scalar_mean = np.where(plain, scalars.mean(axis=0), 0.0)
    scalar_std = np.where(plain, scalars.std(axis=0), 1.0)
    neutral = np.ones((len(names), *[1] * space))
    first = Statistics(
        state_mean=mean,
        state_std=std,
        target_mean=0.0 * neutral,
        target_std=neutral,
        condition_mean=np.zeros((0, *[1] * space)),
        condition_std=np.ones((0, *[1] * space)),
        scalar_mean=scalar_mean,
        # A constant scalar carries nothing; 1 keeps it at 0 after centring.
        scalar_std=np.where(scalar_std > 0, scalar_std, 1.0),
        channels=names,
        units=tuple(channel.unit for channel in fields.channels),
        scalar_names=fields.scalar_names,
        scalar_logs=fields.scalar_logs,
        data_digest=fields.digest,
        transforms=_transforms(fields),
        statics=_statics(fields, around),
        **_gaps(fields),
    )
    if task.climate:
        first = replace(first, climate=_climate(fields, first))
    inputs = Inputs(task=task, around=around, statistics=first)
    if task.regressed:
        fitted = _autoregression if task.anchored else _regression
        first = replace(first, **fitted(fields, inputs))
    return replace(first, **_scales(fields, Inputs(task=task, around=around, statistics=first)))


def _gaps(fields: Fields) -> dict[str, Any]:
    """What is missing by declaration; nothing where nothing may be."""
    if not fields.gappy:
        return {}
    return {"seen": fields.seen, "missing": tuple(c.missing for c in fields.channels)}


def _scales(fields: Fields, inputs: Inputs) -> dict[str, Any]:
    """Mean and standard deviation of targets and of conditions."""
    task, first = inputs.task, inputs.statistics
    odd = _odd(fields, inputs)
    count = len(fields.channels) * task.emits
    targets = [Moments(odd[:count]) for _ in task.parts]
    conditions = Moments(odd[count:])
    for part, pair in inputs.pairs(fields):
        target = pair.target
        if task.regressed:
            target = first.anomaly(target, pair.condition, pair.forced, part)
        counts = None if pair.mask is None else pair.mask.numpy()
        targets[part].add(target.numpy().astype(np.float64), counts)
        if pair.condition is not None:
            conditions.add(pair.condition.numpy().astype(np.float64))
    scales = [found.scale(cell_by_cell=task.per_cell) for found in targets]
    mean, std = (np.concatenate(both) for both in zip(*scales, strict=True))
    _require_varied(fields, std)
    changed: dict[str, Any] = {"target_mean": mean, "target_std": std}
    if conditions.count:
        mean, std = conditions.scale(cell_by_cell=task.per_cell)
        # One number per channel: what lies in how far neighbours differ is kept.
        typical = np.sqrt((std**2).mean(axis=tuple(range(1, std.ndim)), keepdims=True))
        std = np.where(typical > 0, typical, 1.0)
        # Statics are scaled already; about its own mean in each cell there is nothing of them.
        first_static = task.condition_channels(len(fields.channels))
        first_static += len(inputs.around.field_names) * task.emits
        alike = slice(first_static, first_static + inputs.around.static_count)
        mean[alike], std[alike] = 0.0, 1.0
        changed |= {"condition_mean": mean, "condition_std": std}
    return changed


def _of_states(fields: Fields) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel, in two passes over one trajectory at a time."""
    axes = (0, *range(2, fields.values.ndim - 1))
    count: Any = fields.values.size / fields.values.shape[2]
    add = np.sum
    if fields.gappy:
        add = np.nansum
        count = sum(np.isfinite(block).sum(axis=axes) for block in fields.blocks())
        _require_some(fields, count)
    words, space = _transforms(fields), len(fields.grid.dims)
    total = sum(
        add(learnt(block, words, space), axis=axes, dtype=np.float64) for block in fields.blocks()
    )
    mean = np.asarray(total) / count
    wide = mean.reshape(-1, *[1] * space)
    square = sum(
        add((learnt(block, words, space) - wide) ** 2, axis=axes) for block in fields.blocks()
    )
    return mean, np.sqrt(np.asarray(square) / count)


def _require_spread(fields: Fields, mean: np.ndarray, std: np.ndarray) -> None:
    """Refuse a constant channel."""
    for channel, centre, spread in zip(fields.channels, mean, std, strict=True):
        # float32 values of size |mean| cannot vary by less than 1e-7 of it.
        if not spread > 1e-7 * abs(centre):
            raise DataError(
                f"{fields.source}: variable {channel.name} is constant ({centre:g} "
                f"{channel.unit}) over the training part, so there is nothing to learn; "
                "leave it out by `variables:`"
            )


def _statics(fields: Fields, around: Around) -> np.ndarray:
    """What is given at all times alike, of mean 0 and variance 1; what is constant is 0."""
    found = around.statics(fields.layers)
    axes = tuple(range(1, found.ndim))
    mean, std = found.mean(axis=axes, keepdims=True), found.std(axis=axes, keepdims=True)
    return np.asarray((found - mean) / np.where(std > 1e-9 * np.abs(mean), std, 1.0))


def _transforms(fields: Fields) -> tuple[str, ...]:
    """What is learnt in place of each channel's values; empty where all are as they are."""
    words = tuple(channel.transform for channel in fields.channels)
    return words if any(words) else ()


def _require_some(fields: Fields, count: np.ndarray) -> None:
    """Refuse a channel without a single value."""
    for channel, number in zip(fields.channels, count, strict=True):
        if not number:
            raise DataError(
                f"{fields.source}: variable {channel.name} is missing throughout the training "
                "part; leave it out by `variables:`"
            )


def _signed(fields: Fields) -> np.ndarray:
    """Which channels of a state change their sign at a pole."""
    poles = any("pole" in sides for sides in fields.grid.boundary)
    return np.array([poles and channel.vector for channel in fields.channels], dtype=bool)


def _odd(fields: Fields, inputs: Inputs) -> np.ndarray:
    """Which input channels of the network, the target's first, change their sign at a pole."""
    task, count = inputs.task, len(fields.channels)
    given = condition_channels(task, inputs.around, count)
    odd = np.zeros(count * task.emits + given, dtype=bool)
    if _signed(fields).any():
        odd[list(task.vectors(fields.channels))] = True
    return odd


def _climate(fields: Fields, statistics: Statistics) -> np.ndarray:
    """Mean and standard deviation of each cell, of normalised states: `[2 x channel, *space]`."""
    moments = Moments(np.zeros(len(fields.channels), dtype=bool))
    for block in fields.blocks():
        moments.add(statistics.encode(block).astype(np.float64))
    return np.concatenate(moments.scale(cell_by_cell=True))


def _regression(fields: Fields, inputs: Inputs) -> dict[str, Any]:
    """Least squares of targets on the given frames, for all parts, one after the other.

    Slopes on frames are the same for all cells; mean, and slopes on forcings, are each cell's own.
    What depends on the cell is eliminated first (Frisch-Waugh), so that one pass is enough.
    """
    parts: dict[int, _Sums] = {}
    frames = inputs.task.condition_channels(len(fields.channels))
    for number, pair in inputs.pairs(fields):
        assert pair.condition is not None
        ones = np.ones((len(pair.forced), 1))
        parts.setdefault(number, _Sums()).add(
            np.concatenate([ones, pair.forced.numpy().astype(np.float64)], axis=1),
            pair.condition[:, :frames].flatten(2).numpy().astype(np.float64),
            pair.target.flatten(2).numpy().astype(np.float64),
        )
    solved = [parts[number].solve() for number in range(len(parts))]
    slope, cycle = (np.concatenate(both) for both in zip(*solved, strict=True))
    return {"slope": slope, "cycle": cycle.reshape(*cycle.shape[:2], *fields.grid.sizes)}


def _autoregression(fields: Fields, inputs: Inputs) -> dict[str, Any]:
    """Least squares of the change from the last frame on how the others differ from it.

    Slopes on the frames themselves sum to 1 over those of the target's own channel, and to 0 over
    those of each other one, so that a constant that is added to all frames is added to what is
    expected.
    """
    task, count = inputs.task, len(fields.channels)
    frames, last = task.condition_channels(count), task.last_given(count)
    sums: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for number, pair in inputs.pairs(fields):
        assert pair.condition is not None
        known = pair.condition[:, :frames].flatten(2).numpy().astype(np.float64)
        anchor = known[:, last]
        x = known - np.tile(anchor, (1, frames // count, 1))
        y = pair.target.flatten(2).numpy().astype(np.float64)
        y = y - np.tile(anchor, (1, y.shape[1] // count, 1))
        # Of each target where it is there; one product serves all where nothing is missing.
        there = np.ones((1, 1, 1)) if pair.mask is None else pair.mask.flatten(2).numpy()
        both = ((0, 2), (0, 2))
        xx = np.stack([np.tensordot(x * w[:, None], x, axes=both) for w in there.swapaxes(0, 1)])
        xy = np.tensordot(y * there, x, axes=both)
        before = sums.get(number, (np.zeros(()), np.zeros(())))
        sums[number] = before[0] + xx, before[1] + xy
    slopes = []
    for number in range(len(sums)):
        xx, xy = sums[number]
        slope = (np.linalg.pinv(xx, hermitian=True) @ xy[..., None])[..., 0]
        own = np.tile(np.eye(count), (len(slope) // count, 1))
        slope[:, last] = own - slope.reshape(len(slope), -1, count).sum(axis=1)
        slopes.append(slope)
    slope, forced = np.concatenate(slopes), 1 + len(inputs.around.scalar_names)
    return {"slope": slope, "cycle": np.zeros((len(slope), forced, *[1] * len(fields.grid.dims)))}


class _Sums:
    """Products of forcings z, frames x and targets y, summed over examples."""

    def __init__(self) -> None:
        self.zz, self.zx, self.zy = np.zeros(()), np.zeros(()), np.zeros(())
        self.xx, self.xy = np.zeros(()), np.zeros(())

    def add(
        self,
        z: Float[np.ndarray, "n forcing"],
        x: Float[np.ndarray, "n frame cell"],
        y: Float[np.ndarray, "n channel cell"],
    ) -> None:
        """Take in a block."""
        self.zz = self.zz + z.T @ z
        self.zx = self.zx + np.tensordot(z, x, axes=(0, 0))
        self.zy = self.zy + np.tensordot(z, y, axes=(0, 0))
        self.xx = self.xx + np.tensordot(x, x, axes=((0, 2), (0, 2)))
        self.xy = self.xy + np.tensordot(x, y, axes=((0, 2), (0, 2)))

    def solve(
        self,
    ) -> tuple[Float[np.ndarray, "channel frame"], Float[np.ndarray, "channel forcing cell"]]:
        """Slopes on frames, and those on forcings of each cell."""
        # Forcings that do not vary over the training part make it singular: the least solution.
        inverse = np.linalg.pinv(self.zz, hermitian=True)
        of_x = np.einsum("kl,lfs->kfs", inverse, self.zx)
        xx = self.xx - np.einsum("kfs,kgs->fg", self.zx, of_x)
        xy = self.xy - np.einsum("kfs,kcs->fc", of_x, self.zy)
        slope = np.linalg.pinv(xx, hermitian=True) @ xy
        cycle = np.einsum("kl,lcs->cks", inverse, self.zy) - np.einsum("kfs,fc->cks", of_x, slope)
        return slope.T, cycle


def _require_varied(fields: Fields, target_std: np.ndarray) -> None:
    """Refuse channels whose targets are all the same, by all their names."""
    count, still = len(fields.channels), set()
    for number, spread in enumerate(target_std):
        if not (spread > 1e-9).all():
            still.add(number % count)
    if still:
        names = [channel.name for number, channel in enumerate(fields.channels) if number in still]
        told = (
            f"variable {names[0]} has" if len(names) == 1 else f"variables {', '.join(names)} have"
        )
        raise DataError(
            f"{fields.source}: {told} nothing to sample: what is to be learnt is the same in every "
            "training window; leave it out by `variables:`"
        )
