"""The ladder of samplers: which rungs there are, what each scores, and which is cheap enough.

A rung is a sampler with so many network calls. Rungs are compared case by case: the same cases, the
same noise, so that what all of them find hard cancels in the difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from diffsci import build, families
from diffsci.diffusion.samplers.base import Sampler
from diffsci.errors import ConfigError, FieldError
from diffsci.evaluation import masking
from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.crps import Crps
from diffsci.evaluation.scores.spread_skill import SpreadSkill
from diffsci.grid import Grid

DEFAULT = ("dpmpp", "unipc", "heun", "ddim")
CALLS = (4, 8, 16, 32)
RESAMPLES, CONFIDENCE = 1000, 0.9


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A sampler.

    Args:
        name: Its word.
        sampler: Itself.
    """

    name: str
    sampler: Sampler

    @property
    def calls(self) -> int:
        """Network calls of one sampling."""
        return self.sampler.calls

    @property
    def key(self) -> str:
        """For the record."""
        return f"{self.name}-{self.calls}"

    @property
    def plain(self) -> dict[str, Any]:
        """As a pipeline file has it; an infinite number is the default, and cannot be written."""
        told = build.plain_of(self.sampler)
        assert isinstance(told, dict)
        kept = {k: v for k, v in told.items() if not isinstance(v, float) or math.isfinite(v)}
        return {"use": self.name, **kept}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a rung scored.

    Args:
        rung: Which.
        crps: Fair, of each case: a mean over channels, each in standard deviations of its truth.
        spread_skill: Spread over skill, over all cases.
        seconds: On the clock.
    """

    rung: Rung
    crps: Float[np.ndarray, " case"]
    spread_skill: float
    seconds: float

    @property
    def mean(self) -> float:
        """CRPS over the cases."""
        return float(self.crps.mean())


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A rung beside the best one.

    Args:
        measured: The rung.
        excess: Its CRPS over that of the best, less 1.
        low: Lower end of the paired interval of `excess`.
        high: Upper end.
    """

    measured: Measured
    excess: float
    low: float
    high: float


def rungs(samplers: Sequence[str], calls: Sequence[int]) -> list[Rung]:
    """Each sampler with as many steps as the calls allow, each number of calls once.

    Raises:
        ConfigError: For a word that is no sampler.
    """
    known = families.names("samplers")
    found: dict[tuple[str, int], Rung] = {}
    for name in samplers:
        if name not in known:
            near = families.did_you_mean(name, known)
            raise ConfigError(f"--samplers {name}: no such sampler{near}; of {', '.join(known)}")
        kind = families.load("samplers", name)
        for most in sorted(set(calls)):
            made = _within(kind, most)
            if made is not None:
                found.setdefault((name, made.calls), Rung(name=name, sampler=made))
    if not found:
        raise ConfigError(f"--calls {','.join(map(str, calls))}: no sampler makes so few")
    return list(found.values())


def _within(kind: Callable[..., Sampler], most: int) -> Sampler | None:
    """The sampler of this kind with most steps that makes no more calls; none where there is none.

    Those that need a table of the variance are left out: it has to be estimated first.
    """
    for steps in range(most, 0, -1):
        try:
            made = kind(steps=steps)
        except FieldError:
            return None  # so few steps are none to it
        if made.calls <= most:
            return None if made.needs_covariance else made
    return None


def scored(
    rung: Rung,
    members: Float[np.ndarray, "case member lead channel *space"],
    truth: Float[np.ndarray, "case lead channel *space"],
    grid: Grid,
    seconds: float,
) -> Measured:
    """Scores of what a rung made.

    Args:
        rung: Which.
        members: Physical units.
        truth: The same.
        grid: Its cells weigh by their area.
        seconds: That it took.
    """
    crps, spread = [], []
    for lead in range(truth.shape[1]):
        for channel in range(truth.shape[2]):
            true = truth[:, lead, channel].astype(np.float64)
            scale = float(np.nanstd(true)) or 1.0
            pairs = Pairs(
                members=members[:, :, lead, channel] / scale,
                truth=true / scale,
                weights=grid.cell_weights,
            )
            crps.append(masking.statistics(Crps(), pairs)[:, 0])
            spread.append(masking.statistics(SpreadSkill(), pairs).mean(axis=0))
    ratio = SpreadSkill().value(np.mean(spread, axis=0))
    return Measured(
        rung=rung,
        crps=np.mean(crps, axis=0),
        spread_skill=float(ratio),
        seconds=seconds,
    )


def compared(found: Sequence[Measured]) -> list[Compared]:
    """Every rung beside the best, with an interval over resampled cases that both share."""
    best = min(found, key=lambda each: each.mean)
    count = len(best.crps)
    draws = np.random.default_rng(0).integers(0, count, (RESAMPLES, count))
    base = best.crps[draws].mean(axis=1)
    sides = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    made = []
    for each in found:
        low, high = np.quantile(each.crps[draws].mean(axis=1) / base - 1, sides)
        excess = each.mean / best.mean - 1
        made.append(Compared(measured=each, excess=excess, low=float(low), high=float(high)))
    return made


def cheapest(found: Sequence[Compared], tolerance: float) -> Compared:
    """The rung of fewest calls whose interval ends within the tolerance; of equal calls the better.

    Args:
        found: All rungs; the best one itself is always within.
        tolerance: Most excess of its CRPS, as a share.
    """
    within = [each for each in found if each.high <= tolerance]
    return min(within, key=lambda each: (each.measured.rung.calls, each.measured.mean))
