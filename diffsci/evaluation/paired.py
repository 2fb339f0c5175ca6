"""Two runs on the same cases: is one better, or is it chance.

The difference of a score is resampled with the same cases for both, in blocks where the differences
of neighbouring cases are alike; what both runs find hard then cancels. Interval and p come from one
law, Student's about the difference, with the scatter of the resamples (see `resampling.py`).

Ensembles of unlike numbers of members are judged by scores whose expectation does not depend on
that, and by the RMSE that the larger one has on average with as few; see `members.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats  # type: ignore[import-untyped]

from diffsci import families
from diffsci.evaluation import members, resampling
from diffsci.evaluation.scores.base import Score

WORDS = ("crps", "rmse", "threshold_crps", "brier", "energy", "variogram", "vrmse")
"""Scores that are compared: less is better, and a mean over cases says all."""

_RESAMPLES = 1000
_ROUNDING = 1e-6
"""Of the first run's score: members are stored in float32, and no model is better by less."""

FEWEST = 8
"""With fewer cases no verdict is given."""

Barred = Mapping[tuple[str, str, float | None], str]
"""Variable, score and lead -> why there is no verdict; without lead: at none."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A score of the second run minus that of the first, both on the cases that they share.

    Args:
        variable: Name of the channel.
        score: Word of the score.
        lead: None: over all leads.
        value: Below 0 the second is better.
        low: Lower end of the interval.
        high: Upper end.
        p: Probability of so large a difference by chance, two-sided.
        share: The difference as a share of the worse run's score: the same in either order.
        cases: How many.
        why: Reason where there is no verdict, and so no number; empty where there is one.
    """

    variable: str
    score: str
    lead: float | None
    value: float
    low: float
    high: float
    p: float
    share: float
    cases: int
    why: str = ""

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def differences(
    first: xr.Dataset,
    second: xr.Dataset,
    score: str,
    confidence: float = 0.95,
    seed: int = 0,
    barred: Barred = MappingProxyType({}),
) -> list[Difference]:
    """Of the models of two runs, over all leads and at each; empty where nothing can be compared.

    Args:
        first: As `cases.nc` of a run has it.
        second: That of another.
        score: One of `WORDS`.
        confidence: Of the interval.
        seed: Of the resamples.
        barred: What is not judged.
    """
    made = members.alike(first, second, score)
    if made is None:
        return []
    one, two = made
    one, two = xr.align(one, two, join="inner", exclude=[f"{score}_statistic"])
    if one.sizes["case"] < FEWEST or not one.sizes["lead"] or not one.sizes["variable"]:
        return []
    measure: Score = families.load("scores", score)()
    found = []
    for variable in one["variable"].values:
        both = [ds.sel(variable=variable).values for ds in (one, two)]
        leads: list[float | None] = [None]
        leads += [float(lead) for lead in one["lead"].values] if one.sizes["lead"] > 1 else []
        for number, lead in enumerate(leads):
            a, b = (s.mean(axis=0) if lead is None else s[number - 1] for s in both)
            why = (
                barred.get((str(variable), score, None))
                or barred.get((str(variable), score, lead))
                # What says nothing of one run, as of an event that never occurs, ranks neither.
                or measure.lacks(a)
                or measure.lacks(b)
            )
            told = _untold(len(a), why) if why else _difference(measure, a, b, confidence, seed)
            found.append(replace(told, variable=str(variable), score=score, lead=lead))
    return found


def _untold(cases: int, why: str) -> Difference:
    no = float("nan")
    return Difference(
        variable="", score="", lead=None, value=no, low=no, high=no, p=1.0, share=no, cases=cases,
        why=why,
    )  # fmt: skip


def _difference(
    measure: Score,
    one: Float[np.ndarray, "case statistic"],
    two: Float[np.ndarray, "case statistic"],
    confidence: float,
    seed: int,
) -> Difference:
    series = two[:, 0] - one[:, 0]
    length = resampling.block_length(series)
    wider, freedom = resampling.accuracy(series, length)
    drawn = resampling.weights(len(series), _RESAMPLES, length, seed)
    start = float(measure.value(one.mean(axis=0)))
    value = float(measure.value(two.mean(axis=0))) - start
    worse = max(start, start + value)  # Less is better by all that are compared.
    resampled = measure.value(drawn @ two) - measure.value(drawn @ one)
    # One law for both: the interval excludes 0 just where p is below what it leaves out.
    error = wider * float(np.std(resampled))
    reach = float(stats.t.ppf((1 + confidence) / 2, freedom)) * error
    if not np.isfinite([value, reach]).all():
        return _untold(len(series), "the score has no finite value")
    if abs(value) <= _ROUNDING * abs(start):
        reach, p = max(reach, abs(value)), 1.0
    elif error <= 1e-12 * abs(value):
        p = 0.0 if value else 1.0
    else:
        p = 2 * float(stats.t.sf(abs(value) / error, freedom))
    return Difference(
        variable="",
        score="",
        lead=None,
        value=value,
        low=value - reach,
        high=value + reach,
        p=p,
        share=value / worse if worse else float("nan"),
        cases=len(series),
    )
