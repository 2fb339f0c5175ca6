"""Averages whose length is chosen after training, by a power of the step, and their reconstruction.

    a_n = sum_k w_nk theta_k,    w_nk = (k^(g+1) - (k-1)^(g+1)) / n^(g+1),    k = 1 ... n,

which the recursion a <- b a + (1 - b) theta with b = (1 - 1/n)^(g+1) gives: its profile grows with
the run, and the random start has no weight in it. The length is the standard deviation of the
profile over n. Two of them are kept, and snapshots of both through the run. The profile of any
other length is a sum of those of the snapshots, nearly: the sum that is nearest to it by least
squares. The same sum of the snapshots' weights is then the average that was not kept.

Source: Karras et al. (2024), arXiv:2312.02696, section 3 and appendix C, there for a continuous
time; w_nk is exact for steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from diffsci.errors import StorageError, require
from diffsci.training import checkpoint
from diffsci.training.ema import Weights
from diffsci.training.sharding import own, part_of

LONGEST = 1 / math.sqrt(12)
"""The length of an average of all steps alike."""

TRIED = (0.02, 0.03, 0.04, 0.055, 0.075, 0.1, 0.135, 0.18, 0.24)
"""Lengths among which the validation loss chooses: far enough apart to differ."""

_PIECES = 4096

Kept = tuple[int, float]
"""Updates and length of an average."""


def power_of(length: float) -> float:
    """The power g whose profile has this length, sqrt(g + 1) / ((g + 2) sqrt(g + 3)).

    Raises:
        FieldError: For a length that no power of 0 or more has.
    """
    require(0 < length <= LONGEST, "length", length, f"a share, up to {LONGEST:.3f}")
    square = length**-2
    roots = np.roots([1.0, 7.0, 16.0 - square, 12.0 - square])
    return float(max(0.0, roots.real.max()))


def profile(kept: Kept, edges: Float[np.ndarray, " edge"]) -> Float[np.ndarray, " piece"]:
    """Weight of the steps between two edges each in an average; step k lies between k - 1 and k."""
    updates, length = kept
    below = np.minimum(edges / updates, 1.0) ** (power_of(length) + 1)
    weights: np.ndarray = np.diff(below)
    return weights


def coefficients(kept: Sequence[Kept], wanted: Kept) -> Float[np.ndarray, " kept"]:
    """How much of each average makes up one that was not kept, by least squares of the profiles.

    Args:
        kept: Of the averages there are.
        wanted: Of the one that is not.
    """
    if wanted in kept:
        return np.array([float(each == wanted) for each in kept])
    last = max(updates for updates, _ in (*kept, wanted))
    edges = np.linspace(0, last, min(last, _PIECES) + 1)
    columns = np.stack([profile(each, edges) for each in kept], axis=1)
    found, *_ = np.linalg.lstsq(columns, profile(wanted, edges), rcond=1e-10)
    return np.asarray(found)


class Powers:
    """Averages of a module's parameters by powers of the step.

    Args:
        module: Whose parameters are followed.
        lengths: Of each average; none for no average.
    """

    def __init__(self, module: nn.Module, lengths: tuple[float, ...]) -> None:
        self._powers = tuple(map(power_of, lengths))
        self._module = module
        live = {name: own(value) for name, value in module.named_parameters()}
        self.all = tuple({name: value.clone() for name, value in live.items()} for _ in lengths)
        self._sources = list(live.values())

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """Follow the weights once.

        Args:
            updates: So far, this one included.
        """
        for power, averages in zip(self._powers, self.all, strict=True):
            kept = (1 - 1 / updates) ** (power + 1)
            torch._foreach_lerp_(list(averages.values()), self._sources, 1 - kept)

    @torch.no_grad()
    def restore(self, saved: Sequence[Weights]) -> None:
        """Go on from saved averages."""
        like = dict(self._module.named_parameters())
        for weights, values in zip(self.all, saved, strict=True):
            for name, value in weights.items():
                value.copy_(part_of(values[name], like[name]))


def snapshot_steps(steps: int, snapshots: int) -> frozenset[int]:
    """The steps after which averages are kept, evenly over the run; the last is one of them."""
    return frozenset(-(-steps * number // snapshots) for number in range(1, snapshots + 1))


@dataclass(frozen=True, kw_only=True)
class Snapshots:
    """The averages that a run kept on its way.

    Args:
        places: Folders of the snapshots, oldest first.
        kept: Updates and length of each average, in the order of the folders.
    """

    places: tuple[Path, ...]
    kept: tuple[Kept, ...]

    @classmethod
    def of(cls, folder: Path, warn: Callable[[str], None]) -> Snapshots:
        """All that are whole.

        Args:
            folder: The run's `checkpoints/`.
            warn: Told of each that is damaged; it is left out.

        Raises:
            StorageError: Where there is none.
        """
        places = tuple(checkpoint.snapshots(folder, warn))
        if not places:
            raise StorageError(
                f"{folder}: holds no whole snapshot of averages: train with `train.ema_lengths`"
            )
        found = {place: checkpoint.numbers_of(place) for place in places}
        # Before the first update, as where float16 overflowed at once, an average is of nothing.
        found = {place: each for place, each in found.items() if each["ema_updates"] > 0}
        numbers = found.values()
        if not found:
            raise StorageError(
                f"{folder}: all steps were left out, so there are no averages: look at the log for "
                "what was not finite"
            )
        return cls(
            places=tuple(found),
            kept=tuple(
                (each["ema_updates"], length)
                for each in numbers
                for length in each["settings"]["train.ema_lengths"]
            ),
        )

    def average(self, length: float) -> Weights:
        """The weights averaged with any length, as of the last snapshot; all that a model has.

        Args:
            length: Standard deviation of the profile, as a share of the run.

        Raises:
            FieldError: For a length that no average has.
        """
        shares = iter(coefficients(self.kept, (self.kept[-1][0], length)).tolist())
        sums: Weights = {}
        for place in self.places:
            state = checkpoint.read(place)
            for weights in state.powers:
                share = next(shares)
                for name, value in weights.items() if share else ():
                    term = share * value.double()
                    sums[name] = sums[name] + term if name in sums else term
        # What is not averaged, such as a buffer, is that of the last one.
        last = {name: sums[name].to(value.dtype) for name, value in state.powers[0].items()}
        return state.weights | last
