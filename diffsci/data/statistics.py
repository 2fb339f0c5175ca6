"""Statistics: means and standard deviations of the training part alone, in float64.

States are normalised per channel. Targets (a tendency, a residual) are scaled once more, so that
the core always sees mean 0 and variance 1: per channel, or cell by cell where the task says so.
Scalars are normalised by column; one-hot columns stay as they are. A component of a vector on a
grid with a pole has its scale alone taken out, not its mean: its sign changes across the pole.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors.numpy import load_file, save
from torch import Tensor

from diffsci.data.fields import Fields
from diffsci.data.moments import Moments
from diffsci.data.tasks.base import Task, windows
from diffsci.errors import DataError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = 256
"""Windows taken at once while target statistics are summed."""

_ARRAYS = (
    "state_mean",
    "state_std",
    "target_mean",
    "target_std",
    "condition_mean",
    "condition_std",
    "scalar_mean",
    "scalar_std",
)


_NAMES = ("channels", "units", "scalar_names")


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """What turns physical values into what the network sees, and back.

    Args:
        state_mean: Per channel, physical units.
        state_std: Per channel, physical units, positive.
        target_mean: Of normalised targets; space axes are 1 where it is the same for all cells.
        target_std: Of normalised targets, positive.
        condition_mean: Of conditions, cell by cell where targets are; empty where nothing is given.
        condition_std: Of conditions about that mean, one number for each channel, positive.
        scalar_mean: Per scalar; 0 for a one-hot column.
        scalar_std: Per scalar; 1 for a one-hot column and for a constant one.
        channels: Names of the channels.
        units: Units of the channels.
        scalar_names: Names of the scalars.
        data_digest: Digest of the training fields.
    """

    state_mean: Float[np.ndarray, " channel"]
    state_std: Float[np.ndarray, " channel"]
    target_mean: Float[np.ndarray, "channel ..."]
    target_std: Float[np.ndarray, "channel ..."]
    condition_mean: Float[np.ndarray, "given ..."]
    condition_std: Float[np.ndarray, "given ..."]
    scalar_mean: Float[np.ndarray, " parameter"]
    scalar_std: Float[np.ndarray, " parameter"]
    channels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    scalar_names: tuple[str, ...] = ()
    data_digest: str = ""

    def _per_channel(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, *[1] * (self.target_mean.ndim - 1))

    def encode(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Normalised states, float32, from physical ones; channels lie before the space axes."""
        mean, std = self._per_channel(self.state_mean), self._per_channel(self.state_std)
        if values.ndim <= mean.ndim:
            alone: np.ndarray = ((values - mean) / std).astype(np.float32)
            return alone
        normalised = np.empty(values.shape, dtype=np.float32)
        for index, block in enumerate(values):  # One at a time: float64 needs twice the memory.
            normalised[index] = (block - mean) / std
        return normalised

    def decode(self, normalised: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Physical states, float32, from normalised ones: the inverse of `encode`."""
        mean, std = self._per_channel(self.state_mean), self._per_channel(self.state_std)
        wide = np.asarray(normalised, dtype=np.float64) * std + mean
        physical: np.ndarray = wide.astype(np.float32)
        return physical

    def scale_target(
        self, target: Float[Tensor, "n channel *space"]
    ) -> Float[Tensor, "n channel *space"]:
        """The target with mean 0 and variance 1."""
        return (target - torch.as_tensor(self.target_mean).to(target)) / torch.as_tensor(
            self.target_std
        ).to(target)

    def unscale_target(
        self, scaled: Float[Tensor, "n channel *space"]
    ) -> Float[Tensor, "n channel *space"]:
        """The inverse of `scale_target`."""
        return scaled * torch.as_tensor(self.target_std).to(scaled) + torch.as_tensor(
            self.target_mean
        ).to(scaled)

    def scale_condition(
        self, condition: Float[Tensor, "n given *space"] | None
    ) -> Float[Tensor, "n given *space"] | None:
        """What the network sees of a condition: its anomaly, of variance 1."""
        if condition is None:
            return None
        mean = torch.as_tensor(self.condition_mean).to(condition)
        return (condition - mean) / torch.as_tensor(self.condition_std).to(condition)

    def encode_scalars(
        self, scalars: Float[np.ndarray, "n parameter"]
    ) -> Float[np.ndarray, "n parameter"]:
        """Normalised scalars, float32."""
        coded: np.ndarray = ((scalars - self.scalar_mean) / self.scalar_std).astype(np.float32)
        return coded

    def save(self, folder: Path) -> None:
        """Write `statistics.safetensors` and `statistics.json`, which holds the other's SHA-256."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = save({name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS})
        plain = {
            "channels": self.channels,
            "units": self.units,
            "scalar_names": self.scalar_names,
            "data_digest": self.data_digest,
            "sha256": hashlib.sha256(arrays).hexdigest(),
        }
        (folder / "statistics.safetensors").write_bytes(arrays)
        (folder / "statistics.json").write_text(json.dumps(plain, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Statistics:
        """What `save` wrote, bit for bit.

        Raises:
            StorageError: When a file is missing or not what was written.
        """
        path = folder / "statistics.safetensors"
        try:
            plain = json.loads((folder / "statistics.json").read_text())
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            if found != plain.pop("sha256"):
                raise StorageError(
                    f"{path}: changed since it was written; restore it, or train again"
                )
            values: dict[str, Any] = {key: tuple(plain[key]) for key in _NAMES}
            values |= load_file(path)
            return cls(**values, data_digest=str(plain["data_digest"]))
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise StorageError(
                f"{path}: cannot be read back ({type(error).__name__}: {error})"
            ) from error


def fit_statistics(fields: Fields, task: Task) -> Statistics:
    """Statistics of the training part.

    Raises:
        DataError: For a channel that is constant, or whose targets are.
    """
    odd = _odd(fields, task)
    signed = odd[: len(fields.channels)]
    mean, std = _of_states(fields)
    mean, std = np.where(signed, 0.0, mean), np.where(signed, np.hypot(std, mean), std)
    space = len(fields.grid.dims)
    names = tuple(channel.name for channel in fields.channels)
    scalars = np.zeros((1, 0)) if fields.scalars is None else fields.scalars
    plain = np.array([not name.startswith("label=") for name in fields.scalar_names], dtype=bool)
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
        data_digest=fields.digest,
    )
    targets, conditions = Moments(signed), Moments(odd[len(signed) :])
    for target, condition in _pairs(fields, task, first):
        targets.add(target)
        if condition is not None:
            conditions.add(condition)
    target_mean, target_std = targets.scale(cell_by_cell=task.per_cell)
    _require_varied(fields, target_std)
    changed: dict[str, Any] = {"target_mean": target_mean, "target_std": target_std}
    if conditions.count:
        mean, std = conditions.scale(cell_by_cell=task.per_cell)
        # One number per channel: what lies in how far neighbours differ is kept.
        typical = np.sqrt((std**2).mean(axis=tuple(range(1, std.ndim)), keepdims=True))
        changed |= {"condition_mean": mean, "condition_std": np.where(typical > 0, typical, 1.0)}
    return replace(first, **changed)


def _of_states(fields: Fields) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel, in two passes over one trajectory at a time."""
    axes = (0, *range(2, fields.values.ndim - 1))
    count = fields.values.size / fields.values.shape[2]
    total = sum(block.sum(axis=axes, dtype=np.float64) for block in fields.values)
    mean = np.asarray(total) / count
    wide = mean.reshape(-1, *[1] * len(fields.grid.dims))
    square = sum(((block - wide) ** 2).sum(axis=axes) for block in fields.values)
    std = np.sqrt(np.asarray(square) / count)
    for channel, centre, spread in zip(fields.channels, mean, std, strict=True):
        # float32 values of size |mean| cannot vary by less than 1e-7 of it.
        if not spread > 1e-7 * abs(centre):
            raise DataError(
                f"{fields.source}: variable {channel.name} is constant ({centre:g} "
                f"{channel.unit}) over the training part, so there is nothing to learn; "
                "leave it out by `variables:`"
            )
    return mean, std


def _odd(fields: Fields, task: Task) -> np.ndarray:
    """Which input channels of the network, the target's first, change their sign at a pole."""
    count = len(fields.channels)
    odd = np.zeros(count + task.condition_channels(count), dtype=bool)
    if any("pole" in sides for sides in fields.grid.boundary):
        odd[list(task.vectors(fields.channels))] = True
    return odd


def _require_varied(fields: Fields, target_std: np.ndarray) -> None:
    """Refuse a channel whose targets are all the same."""
    for channel, spread in zip(fields.channels, target_std, strict=True):
        if not (spread > 1e-9).all():
            raise DataError(
                f"{fields.source}: variable {channel.name} has nothing to sample: what is to be "
                "learnt is the same in every training window; leave it out by `variables:`"
            )


def _pairs(
    fields: Fields, task: Task, statistics: Statistics
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Normalised targets and conditions of all training windows, float64, a block at a time."""
    starts = windows(fields, task.frames)
    steps = np.arange(task.frames)
    for first in range(0, len(starts), _BLOCK):
        rows = starts[first : first + _BLOCK]
        physical = fields.values[rows[:, :1], rows[:, 1:] + steps]
        window = torch.from_numpy(statistics.encode(physical))
        given = task.observe(window, fields.grid)
        condition = task.condition(given, fields.grid)
        target = task.target(window, condition).numpy().astype(np.float64)
        yield target, None if condition is None else condition.numpy().astype(np.float64)
