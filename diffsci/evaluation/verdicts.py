"""Verdicts: which of two runs is better, in words, and why where nothing can be told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

import numpy as np
import xarray as xr

from diffsci.evaluation import members
from diffsci.evaluation.page import broken, coded, table
from diffsci.evaluation.paired import FEWEST, WORDS, Barred, Difference, differences


def judged(
    runs: Mapping[str, xr.Dataset | None],
    unit: str,
    units: Mapping[tuple[str, str], str] | None = None,
    barred: Mapping[str, Barred] | None = None,
) -> Iterator[str]:
    """A table in HTML: each run against the first; where there is no verdict, a sentence why.

    Args:
        runs: Name -> what `cases.nc` holds.
        unit: Of the leads.
        units: Variable and score -> unit of the score, for those that have one.
        barred: Name of a run -> what is not judged of it against the first.
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
        no = (barred or {}).get(label, {})
        found = [differences(ours, theirs, word, barred=no) for word in WORDS]
        if not any(found):
            reasons.append(f"{label} against {first}: {_why(ours, theirs)}.")
        elif unfit := members.unfit(ours, theirs, WORDS):
            reasons.append(f"{label} against {first}: {unfit}")
        for word, told in zip(WORDS, found, strict=True):
            as_of = members.told(ours, theirs, word)
            for variable in dict.fromkeys(one.variable for one in told):
                of = [one for one in told if one.variable == variable]
                of_what = f'<span class="interval">{broken(variable)}</span>'
                name = f"<b>{escape(word + as_of)}</b> {of_what}"
                told_of = verdict(of, first, label, unit)
                lines.append(
                    [
                        escape(label),
                        name,
                        f'<td class="words">{escape(told_of)}</td>',
                        _numbers(of[0], (units or {}).get((variable, word), "")),
                    ]
                )
    yield "<h2>Which is better</h2>"
    yield from (f"<p>{coded(reason)}</p>" for reason in reasons)
    if not lines:
        return
    yield (
        f'<p class="soft">Each run minus {escape(first)}, below 0 is better; shares are of the '
        "score of the worse of the two; 95 % intervals of the "
        "difference (95 % whatever evaluate.confidence says), paired case by case and drawn in "
        "blocks where neighbouring cases are alike. "
        "Leads are judged one by one: of twenty, one may be taken for better by chance.</p>"
    )
    many = any(held is not None and held.sizes["lead"] > 1 for held in runs.values())
    where = " over all shared leads" if many else ""
    yield table(["run", "score", "verdict", f"difference{where}"], lines)


def _numbers(of: Difference, unit: str) -> str:
    """A cell with the difference and its interval, all with as many digits as the largest asks."""
    if of.why:
        return '<td class="number">–</td>'
    most = max(abs(of.value), abs(of.low), abs(of.high))
    digits = 2 - math.floor(math.log10(most)) if most > 0 else 0
    kind = f"+.{max(digits, 0)}f" if most > 0 and -3 < digits < 8 else "+.3g"
    value, low, high = (
        "0" if number == 0 else f"{number:{kind}}" for number in (of.value, of.low, of.high)
    )
    span = f'<span class="interval">({low} to {high})</span>'
    return f'<td class="number">{value} {escape(unit)} {span}</td>'


def _why(first: xr.Dataset, second: xr.Dataset) -> str:
    """Why nothing can be told of two runs."""
    for dim, what in (("case", "case"), ("variable", "variable"), ("lead", "lead")):
        shared = np.intersect1d(first[dim].values, second[dim].values)
        if len(shared) == 0:
            return f"no verdict, the runs share no {what}"
        if dim == "case" and len(shared) < FEWEST:
            return (
                f"not distinguishable, only {len(shared)} cases are in both, and at least "
                f"{FEWEST} are needed"
            )
    if unfit := members.unfit(first, second, WORDS):
        return unfit.rstrip(".")
    return f"no verdict, none of the scores {', '.join(WORDS)} is in both"


def verdict(found: Sequence[Difference], first: str, second: str, unit: str) -> str:
    """In words: who is better, by how much, at which leads, and where nothing can be told.

    Args:
        found: Differences of one variable and score.
        first: Name of the first run.
        second: Name of the second.
        unit: Of the leads.
    """
    whole = next(one for one in found if one.lead is None)
    by_lead = [one for one in found if one.lead is not None and not one.why]
    if whole.why and not by_lead:
        return f"no verdict: {whole.why}"
    if not by_lead:
        if not whole.decided:
            return f"not distinguishable ({whole.cases} cases)"
        better = second if whole.value < 0 else first
        return f"{better} better by {abs(whole.share):.1%} (p {_p(whole.p)}, {whole.cases} cases)"
    every = [one.lead for one in found if one.lead is not None]
    parts = []
    for better, sign in ((first, 1), (second, -1)):
        leads = [one for one in by_lead if one.decided and one.value * sign > 0]
        if leads:
            at = _ranges([one.lead for one in leads], every)
            worst = max(one.p for one in leads)
            where = f"{better} better at {at} {unit}".rstrip()
            parts.append(f"{where} by {_shares(leads)} (p {_p(worst)})")
    empty = [one for one in found if one.lead is not None and one.why]
    at = _ranges([one.lead for one in empty], every)
    blank = f"; no verdict at {at} {unit}".rstrip() + f": {empty[0].why}" if empty else ""
    if not parts:
        return f"not distinguishable at any lead ({whole.cases} cases){blank}"
    rest = "" if all(one.decided for one in by_lead) else "; else not distinguishable"
    return "; ".join(parts) + rest + blank


def _shares(of: Sequence[Difference]) -> str:
    """The least and the largest share, in percent."""
    shares = sorted(abs(one.share) for one in of)
    words = dict.fromkeys(f"{100 * share:.1f}" for share in (shares[0], shares[-1]))
    return f"{'-'.join(words)}%"


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
