"""Two runs on the same cases: is one better, or is it chance.

The difference of a score is resampled with the same cases for both, in blocks where the differences
of neighbouring cases are alike; what both runs find hard then cancels. Interval and p come from one
law, Student's about the difference, with the scatter of the resamples (see `resampling.py`).

Ensembles of unlike numbers of members are judged by scores whose expectation does not depend on
that, and by the RMSE that the larger one has on average with as few; see `members.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats  # type: ignore[import-untyped]

from diffsci import families
from diffsci.evaluation import members, resampling
from diffsci.evaluation.page import table
from diffsci.evaluation.scores.base import Score

WORDS = ("crps", "rmse", "threshold_crps", "brier", "energy", "variogram", "vrmse")
"""Scores that are compared: less is better, and a mean over cases says all."""

_RESAMPLES = 1000
_ROUNDING = 1e-6
"""Of the first run's score: members are stored in float32, and no model is better by less."""

_FEWEST = 8
"""With fewer cases no verdict is given."""


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

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def differences(
    first: xr.Dataset, second: xr.Dataset, score: str, confidence: float = 0.95, seed: int = 0
) -> list[Difference]:
    """Of the models of two runs, over all leads and at each; empty where nothing can be compared.

    Args:
        first: As `cases.nc` of a run has it.
        second: That of another.
        score: One of `WORDS`.
        confidence: Of the interval.
        seed: Of the resamples.
    """
    made = members.alike(first, second, score)
    if made is None:
        return []
    one, two = made
    one, two = xr.align(one, two, join="inner", exclude=[f"{score}_statistic"])
    if one.sizes["case"] < _FEWEST or not one.sizes["lead"] or not one.sizes["variable"]:
        return []
    measure: Score = families.load("scores", score)()
    found = []
    for variable in one["variable"].values:
        both = [ds.sel(variable=variable).values for ds in (one, two)]
        leads: list[float | None] = [None]
        leads += [float(lead) for lead in one["lead"].values] if one.sizes["lead"] > 1 else []
        for number, lead in enumerate(leads):
            a, b = (s.mean(axis=0) if lead is None else s[number - 1] for s in both)
            told = _difference(measure, a, b, confidence, seed)
            found.append(replace(told, variable=str(variable), score=score, lead=lead))
    return found


def judged(
    runs: Mapping[str, xr.Dataset | None],
    unit: str,
    units: Mapping[tuple[str, str], str] | None = None,
) -> Iterator[str]:
    """A table in HTML: each run against the first; where there is no verdict, a sentence why.

    Args:
        runs: Name -> what `cases.nc` holds.
        unit: Of the leads.
        units: Variable and score -> unit of the score, for those that have one.
    """
    (first, ours), *others = runs.items()
    lines, reasons = [], []
    for label, theirs in others:
        lacking = [name for name, held in ((first, ours), (label, theirs)) if held is None]
        if ours is None or theirs is None:
            reasons.append(
                f"No verdict on {label} against {first}: cases.nc of {' and '.join(lacking)} is "
                "not there; `diffsci run` on the pipeline file makes it again."
            )
            continue
        found = [differences(ours, theirs, word) for word in WORDS]
        if not any(found):
            reasons.append(f"{label} against {first}: {_why(ours, theirs)}.")
        elif unfit := members.unfit(ours, theirs, WORDS):
            reasons.append(f"{label} against {first}: {unfit}")
        for word, told in zip(WORDS, found, strict=True):
            as_of = members.told(ours, theirs, word)
            for variable in dict.fromkeys(one.variable for one in told):
                of = [one for one in told if one.variable == variable]
                numbers = f"{of[0].value:+.3g} ({of[0].low:+.3g} to {of[0].high:+.3g})"
                numbers = f"{numbers} {(units or {}).get((variable, word), '')}".rstrip()
                cells = (label, variable, word + as_of, verdict(of, first, label, unit), numbers)
                lines.append([escape(cell) for cell in cells])
    yield "<h2>Which is better</h2>"
    yield from (f"<p>{escape(reason)}</p>" for reason in reasons)
    if not lines:
        return
    yield (
        f'<p class="soft">Each run minus {escape(first)}, below 0 is better; shares are of the '
        "score of the worse of the two; 95 % intervals of the "
        "difference (95 % whatever evaluate.confidence says), paired case by case and drawn in "
        "blocks where neighbouring cases are alike. "
        "Leads are judged one by one: of twenty, one may be taken for better by chance.</p>"
    )
    yield table(["run", "variable", "score", "verdict", "difference over all leads"], lines)


def _why(first: xr.Dataset, second: xr.Dataset) -> str:
    """Why nothing can be told of two runs."""
    for dim, what in (("case", "case"), ("variable", "variable"), ("lead", "lead")):
        shared = np.intersect1d(first[dim].values, second[dim].values)
        if len(shared) == 0:
            return f"no verdict, the runs share no {what}"
        if dim == "case" and len(shared) < _FEWEST:
            return (
                f"not distinguishable, only {len(shared)} cases are in both, and at least "
                f"{_FEWEST} are needed"
            )
    if unfit := members.unfit(first, second, WORDS):
        return unfit.rstrip(".")
    return f"no verdict, none of the scores {', '.join(WORDS)} is in both"


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


def verdict(found: Sequence[Difference], first: str, second: str, unit: str) -> str:
    """In words: who is better, by how much, at which leads, and where nothing can be told.

    Args:
        found: Differences of one variable and score.
        first: Name of the first run.
        second: Name of the second.
        unit: Of the leads.
    """
    whole = next(one for one in found if one.lead is None)
    by_lead = [one for one in found if one.lead is not None]
    if not by_lead:
        if not whole.decided:
            return f"not distinguishable ({whole.cases} cases)"
        better = second if whole.value < 0 else first
        return f"{better} better by {abs(whole.share):.1%} (p {_p(whole.p)}, {whole.cases} cases)"
    parts = []
    for better, sign in ((first, 1), (second, -1)):
        leads = [one for one in by_lead if one.decided and one.value * sign > 0]
        if leads:
            at = _ranges([one.lead for one in leads], [one.lead for one in by_lead])
            worst = max(one.p for one in leads)
            parts.append(f"{better} better at {at} {unit}".rstrip() + f" (p {_p(worst)})")
    if not parts:
        return f"not distinguishable at any lead ({whole.cases} cases)"
    rest = "" if all(one.decided for one in by_lead) else "; else not distinguishable"
    return "; ".join(parts) + rest


def _p(value: float) -> str:
    return f"< {max(value, 0.002):.3f}" if value <= 0.002 else f"= {value:.3f}"


def _ranges(chosen: Sequence[float | None], every: Sequence[float | None]) -> str:
    """Leads in words, neighbours joined: `1-6, 12`."""
    places = [every.index(lead) for lead in chosen]
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    words = [
        f"{every[run[0]]:g}" if len(run) == 1 else f"{every[run[0]]:g}-{every[run[-1]]:g}"
        for run in runs
    ]
    return ", ".join(words)
