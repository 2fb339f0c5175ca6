"""Terms: under what a row of scores stands, so that only like is laid beside like.

A score has settings of its own, such as a threshold, and a unit. Values in units that convert are
converted; where something else differs between runs, a row has no verdict and a line of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache

import xarray as xr

from diffsci import families
from diffsci.data.canonical.units import conversion
from diffsci.evaluation.compared_run import Run
from diffsci.evaluation.rows import Row
from diffsci.evaluation.scores.base import OfEvents, Score

Place = tuple[str, str]
"""Variable and score."""

Note = tuple[str, str, str]
"""What is unlike, of each run, and what follows."""

_POWERS = {"rmse": 2, "spread_skill": 2}
"""Of a factor of the values, by which the statistics of a score in `cases.nc` grow; 1 of others."""

_UNDECLARED = ("", "1")

_SET = "training set"
"""The term of scores that look at it; told only where others look at another."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Of the rows of one run.

    Args:
        run: With rows in the units of the first run that has them, as far as they convert.
        converted: Variable -> its own unit, the one shown, and the factor between them.
        unlike: Variable and score -> name -> value of each term that is not the same in all runs.
    """

    run: Run
    converted: Mapping[str, tuple[str, str, float]]
    unlike: Mapping[Place, Mapping[str, str]]

    def told(self, variable: str, score: str) -> str:
        """What is unlike of a row, in words; empty where it is the same in all runs."""
        unlike = self.unlike.get((variable, score), {})
        return ", ".join(f"{name} {value}" for name, value in unlike.items())

    def scaled(self, cases: xr.Dataset) -> xr.Dataset:
        """Its `cases.nc` as of values in the units that are shown."""
        factors = [self.converted.get(str(v), ("", "", 1.0))[2] for v in cases["variable"].values]
        made = cases.copy()
        for word in map(str, cases.data_vars):
            power = _POWERS.get(word, int(_is_of_values(word)))
            by = xr.DataArray([factor**power for factor in factors], dims="variable")
            made[word] = (cases[word] * by).assign_attrs(cases[word].attrs)
        return made


def terms(runs: Sequence[Run]) -> list[Terms]:
    """Of each run, beside the others."""
    changes = _changes(runs)
    shown = [_shown(run, change) for run, change in zip(runs, changes, strict=True)]
    sets = _training_sets(runs)
    known = [
        {
            (row.variable, row.score): _settings(run, row, change.get(row.variable), data)
            | {"unit": row.unit if row.unit not in _UNDECLARED else "none"}
            for row in run.rows
        }
        for run, change, data in zip(shown, changes, sets, strict=True)
    ]
    return [
        Terms(
            run=run,
            converted={
                name: (of.own, of.shown, of.factor) for name, of in change.items() if of.is_change
            },
            unlike={place: _unlike(place, known, ours) for place in ours},
        )
        for run, change, ours in zip(shown, changes, known, strict=True)
    ]


def refused(first: Terms, other: Terms) -> dict[Place, str]:
    """Rows of two runs that stand under unlike terms, and in words what those are."""
    found = {}
    for place, ours in first.unlike.items():
        theirs = other.unlike.get(place)
        if theirs is not None and ours != theirs:
            names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
            both = ((first.run.label, ours), (other.run.label, theirs))
            found[place] = ", ".join(
                f"{label} has {' and '.join(f'{name} {of[name]}' for name in names if name in of)}"
                for label, of in both
            )
    return found


def notes(found: Sequence[Terms]) -> Iterator[Note]:
    """What was converted, and which rows do not compare, and why."""
    changed = [
        f"{each.run.label}: {name} from {own} to {shown}"
        for each in found
        for name, (own, shown, _) in each.converted.items()
    ]
    if changed:
        yield (
            "Units were converted.",
            "; ".join(changed),
            "All numbers are in the unit of the first run; each picture is in that of its own",
        )
    reasons: dict[str, list[str]] = {}
    for place in dict.fromkeys(place for each in found for place in each.unlike):
        by: dict[str, list[str]] = {}
        for each in found:
            if place in each.unlike:
                by.setdefault(each.told(*place), []).append(each.run.label)
        if len(by) > 1:
            reason = "; ".join(f"{', '.join(labels)}: {text}" for text, labels in by.items())
            reasons.setdefault(reason, []).append(f"{place[1]} of {place[0]}")
    if reasons:
        named = ". ".join(f"{', '.join(rows)} ({why})" for why, rows in reasons.items())
        yield (
            "These scores do not compare:",
            named,
            "They have lines of their own and no verdict; give all pipeline files the same "
            "settings under evaluate.scores, and data with units, and `diffsci run` them again",
        )


@dataclass(frozen=True, kw_only=True)
class _Change:
    """How values of a variable become those in the unit that is shown."""

    own: str
    shown: str
    factor: float = 1.0
    offset: float = 0.0

    @property
    def is_change(self) -> bool:
        return (self.factor, self.offset) != (1.0, 0.0)


def _changes(runs: Sequence[Run]) -> list[dict[str, _Change]]:
    """Of each variable of each run, to the first unit that is declared."""
    wanted: dict[str, str] = {}
    found: list[dict[str, _Change]] = []
    for run in runs:
        found.append({})
        for row in run.rows:
            if row.variable in found[-1] or not _is_of_values(row.score):
                continue
            own = row.unit
            # What declares no unit has none to convert from, and may hold anything.
            shown = own if own in _UNDECLARED else wanted.setdefault(row.variable, own)
            factors = conversion(own, shown)
            found[-1][row.variable] = (
                _Change(own=own, shown=own)
                if factors is None
                else _Change(own=own, shown=shown, factor=factors[0], offset=factors[1])
            )
    return found


def _shown(run: Run, changes: Mapping[str, _Change]) -> Run:
    """The run with its rows in the units that are shown; scores are differences, without offset."""
    rows = []
    for row in run.rows:
        of = changes.get(row.variable)
        if of is not None and row.unit == of.own and of.own != of.shown:
            by = of.factor
            row = replace(row, value=row.value * by, low=row.low * by, high=row.high * by)
            row = replace(row, unit=of.shown)
        rows.append(row)
    return replace(run, rows=tuple(rows))


def _settings(run: Run, row: Row, change: _Change | None, training: str) -> dict[str, str]:
    """Of the score of a row: as its run has them, else as they usually are."""
    word = row.score
    head = f"evaluate.scores.{word}."
    own = {k.removeprefix(head): json.loads(v) for k, v in run.config.items() if k.startswith(head)}
    own.pop("use", None)
    if word not in families.names("scores"):
        return {name: _words(value) for name, value in own.items()}
    kind = families.load("scores", word)
    usual = {item.name: item.default for item in fields(kind) if item.default is not MISSING}
    assert issubclass(kind, Score)
    told = usual | own
    if not issubclass(kind, OfEvents):
        words = {name: _words(value) for name, value in told.items()}
        return words | ({_SET: training} if kind.needs_train is True else {})
    threshold, quantile = told.pop("threshold"), told.pop("quantile")
    words = {name: _words(value) for name, value in told.items()}
    if threshold is None:
        # A quantile is of the training set, so that others have another threshold.
        of = f"at quantile {_words(quantile)} of the training set"
        return words | {"threshold": of, _SET: training}
    if change is not None:
        threshold = float(threshold) * change.factor + change.offset
    unit = "" if change is None or change.shown in _UNDECLARED else f" {change.shown}"
    return words | {"threshold": f"{_words(threshold)}{unit}"}


def _words(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int | float):
        return f"{value:.9g}"
    return ", ".join(map(_words, value)) if isinstance(value, list | tuple) else str(value)


def _training_sets(runs: Sequence[Run]) -> list[str]:
    """What tells the training sets apart: digests where all runs have them, else their keys."""
    data = [run.record.get("data") for run in runs]
    if all(isinstance(each, Mapping) and "train" in each for each in data):
        return [str(each["train"])[:12] for each in data if isinstance(each, Mapping)]
    keys = ("data.entry", "data.source", "data.split.train")
    return [
        ", ".join(f"{k}={v}" for k, v in sorted(run.config.items()) if k.startswith(keys))
        for run in runs
    ]


def _unlike(
    place: Place,
    known: Sequence[Mapping[Place, Mapping[str, str]]],
    ours: Mapping[Place, Mapping[str, str]],
) -> dict[str, str]:
    """Those terms of a row that are not the same wherever it is."""
    everywhere = [of[place] for of in known if place in of]
    return {
        name: value
        for name, value in ours[place].items()
        if any(other.get(name, value if name == _SET else "") != value for other in everywhere)
    }


@cache
def _is_of_values(score: str) -> bool:
    """Whether a score is in the unit of the variable."""
    if score not in families.names("scores"):
        return False
    measure = families.load("scores", score)()
    assert isinstance(measure, Score)
    return not measure.timed and measure.unit("?") == "?"
