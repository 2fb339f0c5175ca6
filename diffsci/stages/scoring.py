"""The evaluation stage: the model and the baselines in one table, the figures, the report."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from diffsci import families
from diffsci.data.catalog import load_entry
from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.evaluation import blocks, conformal
from diffsci.evaluation.baselines.base import Baseline, Problem
from diffsci.evaluation.blocks import Lazy, Values
from diffsci.evaluation.canvas import Results
from diffsci.evaluation.cases_file import write_cases
from diffsci.evaluation.pictured import pictured
from diffsci.evaluation.plots import figures
from diffsci.evaluation.report import write_report
from diffsci.evaluation.scores.base import Score
from diffsci.evaluation.table import Scores, evaluate
from diffsci.sections import Evaluate, Pipeline, Sample
from diffsci.stages.prepare import Prepared
from diffsci.stages.telling import summary

log = logging.getLogger(__name__)

_DEFAULT_SCORES = ("crps", "rmse", "bias", "spread_skill", "rank_histogram", "spectrum")
_BLOCK_BYTES = 64_000_000
_MOST_BYTES = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Before:
    """What a calibrated ensemble was made of, and what else was made of it.

    Args:
        raw: As many members as they were drawn.
        ends: Of the intervals.
        levels: Of the intervals.
    """

    raw: Float[np.ndarray, "case member lead channel *space"] | Values
    ends: Float[np.ndarray, "level bound case lead channel *space"]
    levels: tuple[float, ...]


def score(
    pipeline: Pipeline,
    prepared: Prepared,
    model: Float[np.ndarray, "case member lead channel *space"] | Values,
    folder: Path,
    before: Before | None = None,
) -> tuple[Scores, dict[str, Path]]:
    """Score the model and its baselines; write `scores.csv`, `scores.json` and the figures.

    The model's members are read, and the baselines' made, block by block.

    Args:
        pipeline: What to compute.
        prepared: The data.
        model: Members of the model, physical units.
        folder: The run folder.
        before: What the members were before they were calibrated.

    Returns:
        The scores, and file name -> path of the figures.
    """
    section = pipeline.evaluate
    assert section is not None and pipeline.sample is not None
    forecasts = {"model": blocks.of(model)}
    if before is not None:
        forecasts["raw"] = blocks.of(before.raw)
    problem = _problem(pipeline, prepared)
    for name, baseline in _baselines(section, pipeline):
        unfit = baseline.fits(problem)
        if unfit is not None and section.baselines:
            raise DataError(f"evaluate.baselines: {name}: {unfit}; take it out")
        if unfit is not None:
            log.info("evaluate: no baseline %s: %s", name, unfit)
            continue
        log.info("evaluate: baseline %s", name)
        forecasts[name] = _made(baseline, problem, prepared)
    log.info("evaluate: scores of %s", ", ".join(forecasts))
    truth = prepared.evaluation.truth
    cases = prepared.evaluation.cases
    scores = evaluate(
        forecasts,
        truth,
        channels=_channels(pipeline, prepared),
        grid=prepared.train.grid,
        leads=prepared.leads(),
        scores=_scores(section, prepared),
        resamples=section.resamples,
        confidence=section.confidence,
        seed=pipeline.seed,
        labels=prepared.labels(),
        train=problem.train_truth,
        train_labels=prepared.train_labels(_windows(prepared)),
        keys=cases.keys,
        lead_unit=prepared.lead_unit,
    )
    if before is not None:
        found = conformal.rows(
            before.ends, before.levels, truth, scores, prepared.train.channels, prepared.train.grid
        )
        scores = replace(scores, rows=(*scores.rows, *found))
    scores.write(folder)
    write_cases(folder, scores, cases.keys)
    log.info("evaluate: figures")
    results = Results(
        forecasts={},
        truth=truth,
        given=None if problem.given is None else _with_gaps(problem.given, prepared),
        channels=prepared.train.channels,
        grid=prepared.train.grid,
        leads=None if prepared.leads() is None else tuple(prepared.leads() or ()),
        lead_unit=prepared.lead_unit,
        parameters=_parameters(prepared),
        keys=cases.keys,
        labels=prepared.labels(),
    )
    drawn = pictured(forecasts, blocks.of(truth[:, None]), results)
    return scores, figures(folder / "figures", drawn, scores)


def report(
    pipeline: Pipeline,
    prepared: Prepared,
    scores: Scores,
    drawn: dict[str, Path],
    folder: Path,
    config: str,
    record: dict[str, object],
    roots: tuple[Path, ...],
) -> Path:
    """Write `report.html`.

    Args:
        pipeline: What was run.
        prepared: The data.
        scores: The table.
        drawn: The figures.
        folder: The run folder.
        config: The resolved pipeline as YAML.
        record: The run's record, for versions, digests and times.
        roots: Where catalog entries are.
    """
    provenance: dict[str, dict[str, object]] = {}
    for name in dict.fromkeys((prepared.train.source, prepared.test.source)):
        entry = load_entry(_entry_of(pipeline, name), roots)
        facts = {
            "title": entry.title,
            "licence": entry.license,
            "attribution": entry.attribution,
            "citation": entry.citation,
        }
        provenance[f"Data: {name}"] = {key: value for key, value in facts.items() if value}
    provenance["Digests"] = {f"{part} part": value for part, value in prepared.digests.items()}
    stages = record["stages"]
    assert isinstance(stages, dict)
    provenance["Seconds"] = {stage: entry["seconds"] for stage, entry in stages.items()}
    provenance["Cost"] = _cost(pipeline, scores, {k: e["seconds"] for k, e in stages.items()})
    for head in ("device", "versions"):
        found = record.get(head)
        provenance[head.capitalize()] = dict(found) if isinstance(found, dict) else {}
    return write_report(
        folder / "report.html",
        title=pipeline.name,
        summary=summary(pipeline, prepared),
        scores=scores,
        figures=drawn,
        config=config,
        provenance=provenance,
        lead_unit=prepared.lead_unit,
    )


def _cost(pipeline: Pipeline, scores: Scores, seconds: dict[str, float]) -> dict[str, object]:
    """What a member costs, and what all of them did."""
    assert pipeline.sample is not None
    row = next(row for row in scores.rows if row.forecast == "model")
    steps = max(1, len(scores.leads or ()))
    made = row.members * row.count * steps
    step = " and lead" if scores.leads else ""
    found: dict[str, object] = {
        f"network calls of a member{step}": pipeline.sample.calls,
        f"members x cases{' x leads' if scores.leads else ''}": made,
    }
    if seconds.get("sample"):
        found[f"milliseconds of a member{step}"] = 1000 * seconds["sample"] / made
    if seconds.get("train") and seconds.get("sample"):
        found["members that cost as much as training"] = round(
            made * seconds["train"] / seconds["sample"] / steps
        )
    return found


def _parameters(prepared: Prepared) -> dict[str, np.ndarray]:
    """Value of each parameter of each test case; classes are told elsewhere."""
    test = prepared.test
    if test.scalars is None:
        return {}
    rows = prepared.evaluation.cases.rows[:, 0]
    names = enumerate(test.scalar_names)
    return {name: test.scalars[rows, k] for k, name in names if not name.startswith("label=")}


def _entry_of(pipeline: Pipeline, source: str) -> str:
    """The name or path under which a part of this source was asked for."""
    split, default = pipeline.data.split, str(pipeline.data.entry or pipeline.data.source)
    asked = [part.entry or default for part in (split.train, split.test)]
    return next((name for name in asked if name == source or Path(name).stem == source), default)


def _baselines(section: Evaluate, pipeline: Pipeline) -> Iterator[tuple[str, Baseline]]:
    """Those that were asked for, else all that fit the task, each with the name of its row."""
    task = families.name_of(pipeline.data.task)
    known = [families.load("baselines", name) for name in families.names("baselines")]
    fitting = tuple(one() for one in known if task in one.tasks)  # type: ignore[attr-defined]
    for baseline in section.baselines or fitting:
        for suffix, one in baseline.each().items():
            yield families.name_of(baseline) + suffix, one


def _scores(section: Evaluate, prepared: Prepared) -> tuple[Score, ...]:
    """Those that were asked for, else the usual ones and what fits data with classes."""
    if section.scores:
        return section.scores
    names = list(_DEFAULT_SCORES)
    if not prepared.ports.condition:
        names.append("memorisation")
    if (
        prepared.labels() is not None
        and prepared.train_labels(prepared.examples.windows) is not None
    ):
        names.append("class_accuracy")
    return tuple(families.load("scores", name)() for name in names)


def _problem(pipeline: Pipeline, prepared: Prepared) -> Problem:
    """What a baseline may use."""
    assert pipeline.sample is not None
    if prepared.train.gappy:
        # Baselines fit what is there; at a gap they take the mean, as the model does.
        mean = prepared.statistics.centre
        train, test = prepared.train.filled(mean), prepared.test.filled(mean)
        prepared = replace(prepared, train=train, test=test)
    given = prepared.evaluation.given
    known = None
    if given is not None:
        known = _shown(pipeline, prepared, given)
        if prepared.train.gappy:
            mean = prepared.statistics.centre.reshape(-1, *[1] * (known.ndim - 2))
            known = np.where(np.isnan(known), mean.astype(np.float32), known)
    train_given, train_truth = _training(pipeline, prepared, _windows(prepared))
    return Problem(
        train=prepared.train,
        train_given=train_given,
        train_truth=train_truth,
        given=known,
        cases=prepared.evaluation.cases,
        seed=pipeline.seed,
        members=_baseline_members(pipeline.sample.members),
        test=prepared.test,
        solver=prepared.solver,
    )


def _made(baseline: Baseline, problem: Problem, prepared: Prepared) -> Values:
    """A baseline's ensemble, made for some cases at a time: a case does not depend on others."""
    held: dict[tuple[int, int], np.ndarray] = {}

    def of_cases(cases: slice) -> np.ndarray:
        key = (cases.start, cases.stop)
        if key not in held:
            held.clear()
            held[key] = _with_gaps(baseline(problem.part(cases)), prepared)
        return held[key]

    def reads(cases: slice, leads: slice, channel: int) -> np.ndarray:
        return of_cases(cases)[:, :, leads, channel]

    cases, leads = len(problem.cases), max(1, len(problem.cases.leads))
    shape = (cases, problem.members, leads, *problem.train.values.shape[2:])
    if 4 * int(np.prod(shape)) <= blocks.BLOCK_BYTES:
        return blocks.of(of_cases(slice(0, cases)))
    shape = (cases, *of_cases(slice(0, 1)).shape[1:])
    return Lazy(shape=shape, reads=reads)


def _with_gaps(values: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Values with NaN at cells that never count, as the model's have it."""
    seen = prepared.statistics.seen
    return np.where(seen, values, np.float32(np.nan)) if seen.size else values


def _channels(pipeline: Pipeline, prepared: Prepared) -> tuple[Channel, ...]:
    """Those of a state; what a task is given of it is missing from the truth, and so not scored."""
    task, channels = pipeline.data.task, prepared.train.channels
    if not (task.boundary or task.draws):
        return channels
    gappy = {"missing": "moving"}
    return tuple(
        replace(channel, attributes=tuple((dict(channel.attributes) | gappy).items()))
        for channel in channels
    )


def _baseline_members(members: int) -> int:
    """As many as the model has; a model of a single one is not let off with a single draw."""
    return members if members > 1 else Sample().members


def _shown(pipeline: Pipeline, prepared: Prepared, given: torch.Tensor) -> np.ndarray:
    """The newest state that is known, physical units: the last frame, or the interpolated one."""
    shown = pipeline.data.task.shown(given, prepared.train.grid)
    assert shown is not None
    return prepared.statistics.decode(shown.numpy())


def _windows(prepared: Prepared) -> np.ndarray:
    """Training windows that baselines and scores use: all, or as many as memory holds."""
    rows = prepared.examples.windows
    most = max(1, _MOST_BYTES // prepared.train.values[0, 0].nbytes)
    if len(rows) <= most:
        return rows
    log.info("evaluate: baselines use %d of %d training windows", most, len(rows))
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _training(
    pipeline: Pipeline, prepared: Prepared, rows: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """Of the training windows: what is given, on the grid, and what was to be sampled."""
    task, fields, examples = pipeline.data.task, prepared.train, prepared.examples
    bytes_per_window = fields.values[0, 0].nbytes
    after = max(task.given_frames - 1, 0) + (task.step if task.has_leads else 0)
    truth = fields.values[rows[:, 0], rows[:, 1] + after]
    if task.condition_channels(prepared.ports.target) == 0:
        return None, truth
    parts = []
    size = max(1, _BLOCK_BYTES // (bytes_per_window * task.frames))
    for first in range(0, len(rows), size):
        given = task.observe(examples.seen(rows[first : first + size]), fields.grid)
        assert given is not None
        parts.append(_shown(pipeline, prepared, given))
    return np.concatenate(parts), truth
