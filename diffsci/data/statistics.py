"""Statistics: means and standard deviations of the training part alone, in float64.

States are normalised per channel. Targets (a tendency, a residual) are scaled once more, so that
the core always sees mean 0 and variance 1: per channel, or cell by cell where the task says so; and
of what a linear regression misses, where it asks for that (see `fitting.py`).
Scalars are normalised by column; one-hot columns stay as they are. A component of a vector on a
grid with a pole has its scale alone taken out, not its mean: its sign changes across the pole.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors.numpy import load_file, save
from torch import Tensor

from diffsci.data.transforms import learnt, logarithms, unlearnt
from diffsci.errors import StorageError

_ARRAYS = (
    "state_mean",
    "state_std",
    "target_mean",
    "target_std",
    "condition_mean",
    "condition_std",
    "scalar_mean",
    "scalar_std",
    "slope",
    "cycle",
    "climate",
    "statics",
    "seen",
)


_NAMES = ("channels", "units", "scalar_names", "scalar_logs", "missing", "transforms")


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
        slope: Of targets on the frames of the condition, the same for all cells; targets of all
            parts of the task lie one after the other, as they do in `target_mean`. Empty where the
            task has no regression.
        cycle: Of each cell: the target's mean, then its slopes on the forcings that are numbers.
        climate: Mean and spread of each cell, normalised; empty where the task gives none.
        statics: What the network is given at all times alike, of mean 0 and variance 1.
        seen: Cells that count at all times; empty where all of every channel do.
        channels: Names of the channels.
        units: Units of the channels.
        scalar_names: Names of the scalars.
        scalar_logs: Which of them are normalised by their logarithm.
        missing: What a NaN of each channel means; empty where it is a fault in all.
        transforms: What is learnt in place of each channel's values, `log1p` or nothing; empty
            where all are learnt as they are. Means and spreads are those of what is learnt.
        data_digest: Digest of the training fields.
    """

    state_mean: Float[np.ndarray, " channel"]
    state_std: Float[np.ndarray, " channel"]
    target_mean: Float[np.ndarray, "target ..."]
    target_std: Float[np.ndarray, "target ..."]
    condition_mean: Float[np.ndarray, "given ..."]
    condition_std: Float[np.ndarray, "given ..."]
    scalar_mean: Float[np.ndarray, " parameter"]
    scalar_std: Float[np.ndarray, " parameter"]
    slope: Float[np.ndarray, "fitted frame"] = field(default_factory=lambda: np.zeros((0, 0)))
    cycle: Float[np.ndarray, "fitted forcing ..."] = field(default_factory=lambda: np.zeros((0, 0)))
    climate: Float[np.ndarray, "both ..."] = field(default_factory=lambda: np.zeros(0))
    statics: Float[np.ndarray, "static ..."] = field(default_factory=lambda: np.zeros(0))
    channels: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    seen: Bool[np.ndarray, "..."] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    scalar_names: tuple[str, ...] = ()
    scalar_logs: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    transforms: tuple[str, ...] = ()
    data_digest: str = ""

    def _per_channel(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(-1, *[1] * (self.target_mean.ndim - 1))

    def encode(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Normalised states, float32, from physical ones; channels lie before the space axes.

        What is missing by declaration is 0, the mean.
        """
        mean, std = self._per_channel(self.state_mean), self._per_channel(self.state_std)
        if values.ndim <= mean.ndim:
            alone: np.ndarray = ((self._learnt(values) - mean) / std).astype(np.float32)
            return self._filled(alone)
        normalised = np.empty(values.shape, dtype=np.float32)
        for index, block in enumerate(values):  # One at a time: float64 needs twice the memory.
            normalised[index] = (self._learnt(block) - mean) / std
        return self._filled(normalised)

    def _learnt(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        return learnt(values, self.transforms, self.target_mean.ndim - 1)

    @property
    def centre(self) -> Float[np.ndarray, " channel"]:
        """Physical values whose normalised ones are 0."""
        mean = self.state_mean.reshape(-1, *[1] * (self.target_mean.ndim - 1))
        return unlearnt(mean, self.transforms, self.target_mean.ndim - 1).ravel()

    def normalised(self, bounds: Float[np.ndarray, " channel"]) -> Float[np.ndarray, " channel"]:
        """One number for each channel as normalised states have it; infinities stay."""
        wide = bounds.reshape(-1, *[1] * (self.target_mean.ndim - 1))
        # What lies at -1 or below has no logarithm: no state can come so low.
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.nan_to_num(
                self._learnt(wide).ravel(), nan=-np.inf, posinf=np.inf, neginf=-np.inf
            )
        return np.asarray((found - self.state_mean) / self.state_std)

    def _filled(self, normalised: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        if self.missing:
            gappy = self._per_channel(np.array([word != "forbidden" for word in self.missing]))
            np.copyto(normalised, 0, where=np.isnan(normalised) & gappy)
        return normalised

    def decode(self, normalised: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Physical states, float32, from normalised ones: the inverse of `encode`.

        NaN stands at cells that never count.
        """
        mean, std = self._per_channel(self.state_mean), self._per_channel(self.state_std)
        wide = np.asarray(normalised, dtype=np.float64) * std + mean
        wide = unlearnt(wide, self.transforms, self.target_mean.ndim - 1)
        physical: np.ndarray = wide.astype(np.float32)
        return np.where(self.seen, physical, np.float32(np.nan)) if self.seen.size else physical

    def scale_target(
        self,
        target: Float[Tensor, "n channel *space"],
        condition: Float[Tensor, "n given *space"] | None = None,
        forced: Float[Tensor, "n forcing"] | None = None,
        part: int = 0,
    ) -> Float[Tensor, "n channel *space"]:
        """The target with mean 0 and variance 1.

        Args:
            target: As the task has it.
            condition: Of normalised states, as the task has it; a regression needs it.
            forced: Forcings that are numbers; a regression needs them.
            part: Which of the task's parts.
        """
        rows = self._rows(target, part)
        target = self.anomaly(target, condition, forced, part)
        mean, std = self.target_mean[rows], self.target_std[rows]
        return (target - torch.as_tensor(mean).to(target)) / torch.as_tensor(std).to(target)

    def anomaly(
        self,
        target: Float[Tensor, "n channel *space"],
        condition: Tensor | None,
        forced: Tensor | None,
        part: int = 0,
    ) -> Float[Tensor, "n channel *space"]:
        """What the regression misses of a target; the target, where there is no regression."""
        if not len(self.slope):
            return target
        return target - self._expected(self._rows(target, part), condition, forced)

    def unscale_target(
        self,
        scaled: Float[Tensor, "n channel *space"],
        condition: Float[Tensor, "n given *space"] | None = None,
        forced: Float[Tensor, "n forcing"] | None = None,
        part: int = 0,
    ) -> Float[Tensor, "n channel *space"]:
        """The inverse of `scale_target`."""
        rows = self._rows(scaled, part)
        mean, std = self.target_mean[rows], self.target_std[rows]
        target = scaled * torch.as_tensor(std).to(scaled) + torch.as_tensor(mean).to(scaled)
        return target + self._expected(rows, condition, forced) if len(self.slope) else target

    def _rows(self, target: Tensor, part: int) -> slice:
        """Where the channels of a part lie."""
        return slice(part * target.shape[1], (part + 1) * target.shape[1])

    def _expected(
        self, rows: slice, condition: Tensor | None, forced: Tensor | None
    ) -> Float[Tensor, "n channel *space"]:
        """The regression: what the given frames and the forcings say of a target."""
        assert condition is not None and forced is not None
        slope = torch.as_tensor(self.slope[rows]).to(condition)
        cycle = torch.as_tensor(self.cycle[rows]).to(condition)
        one = torch.cat([forced.new_ones(len(forced), 1), forced], dim=1).to(condition)
        frames = condition[:, : slope.shape[1]]
        linear = torch.einsum("cf,nf...->nc...", slope, frames)
        return linear + torch.einsum("nk,ck...->nc...", one, cycle)

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
        """Normalised scalars, float32.

        Raises:
            DataError: For one that has no logarithm, where that is what the network is given.
        """
        scalars = logarithms(scalars, self.scalar_names, self.scalar_logs)
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
            "scalar_logs": self.scalar_logs,
            "missing": self.missing,
            "transforms": self.transforms,
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
            values: dict[str, Any] = {key: tuple(plain.get(key, ())) for key in _NAMES}
            values |= load_file(path)
            return cls(**values, data_digest=str(plain["data_digest"]))
        except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise StorageError(
                f"{path}: cannot be read back ({type(error).__name__}: {error})"
            ) from error
