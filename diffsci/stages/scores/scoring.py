"""The evaluation stage: the model and the baselines in one table, the figures, the report."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diffsci import families
from diffsci.data.catalog import load_entry
from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.evaluation import blocks, conformal
from diffsci.evaluation.baselines.base import Baseline
from diffsci.evaluation.blocks import Values
from diffsci.evaluation.canvas import Results
from diffsci.evaluation.cases_file import write_cases
from diffsci.evaluation.pictured import pictured
from diffsci.evaluation.plots import figures
from diffsci.evaluation.report import write_report
from diffsci.evaluation.scores.base import USUAL, Score
from diffsci.evaluation.table import Scores, evaluate
from diffsci.sections import Evaluate, Pipeline
from diffsci.stages.prepare import Prepared
from diffsci.stages.scores.referring import (
    drawn_given,
    made,
    problem_of,
    verifying,
    windows_of,
)
from diffsci.stages.scores.telling import cost, summary

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Before:
    """What a calibrated ensemble was made of, and what else was made of it.

    Args:
        raw: As many members as they were drawn.
        ends: Of the intervals of each level: lower and upper in place of members.
        levels: Of the intervals.
    """

    raw: Values
    ends: Sequence[Values]
    levels: tuple[float, ...]


def score(
    pipeline: Pipeline,
    prepared: Prepared,
    model: Float[np.ndarray, "case member lead channel *space"] | Values,
    folder: Path,
    before: Before | None = None,
    device: str | None = None,
) -> tuple[Scores, dict[str, Path]]:
    """Score the model and its baselines; write `scores.csv`, `scores.json` and the figures.

    The model's members are read, and the baselines' made, block by block.

    Args:
        pipeline: What to compute.
        prepared: The data.
        model: Members of the model, physical units.
        folder: The run folder.
        before: What the members were before they were calibrated.
        device: Of torch, for scores that can be computed there; none takes numpy alone.

    Returns:
        The scores, and file name -> path of the figures.
    """
    section = pipeline.evaluate
    assert section is not None and pipeline.sample is not None
    forecasts = {"model": blocks.of(model)}
    if before is not None:
        forecasts["raw"] = before.raw
    problem = problem_of(pipeline, prepared)
    for name, baseline in _baselines(section, pipeline):
        unfit = baseline.fits(problem)
        if unfit is not None and section.baselines:
            raise DataError(f"evaluate.baselines: {name}: {unfit}; take it out")
        if unfit is not None:
            log.info("evaluate: no baseline %s: %s", name, unfit)
            continue
        log.info("evaluate: baseline %s", name)
        forecasts[name] = made(baseline, problem, prepared)
    log.info("evaluate: scores of %s", ", ".join(forecasts))
    truth = verifying(prepared.evaluation.truth)
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
        labels=prepared.labels(),
        train=problem.train_truth,
        train_labels=prepared.train_labels(windows_of(prepared)),
        keys=cases.keys,
        lead_unit=prepared.lead_unit,
        device=device,
    )
    if before is not None:
        found = conformal.rows(
            before.ends,
            before.levels,
            truth,
            scores,
            prepared.train.channels,
            prepared.train.grid,
        )
        scores = replace(scores, rows=(*scores.rows, *found))
    scores.write(folder)
    write_cases(folder, scores, cases.keys)
    log.info("evaluate: figures")
    results = Results(
        forecasts={},
        truth=np.empty((len(cases), 0, *truth.shape[3:]), np.float32),  # of no lead, so nothing
        given=drawn_given(problem, prepared),
        channels=prepared.train.channels,
        grid=prepared.train.grid,
        leads=None if prepared.leads() is None else tuple(prepared.leads() or ()),
        lead_unit=prepared.lead_unit,
        parameters=_parameters(prepared),
        keys=cases.keys,
        labels=prepared.labels(),
    )
    drawn = pictured(forecasts, truth, results)
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
    held = {head: record.get(head) for head in ("device", "versions")}
    told = {head: dict(part) if isinstance(part, dict) else {} for head, part in held.items()}
    seconds = {stage: entry["seconds"] for stage, entry in stages.items()}
    provenance |= {head.capitalize(): part for head, part in told.items()}
    return write_report(
        folder / "report.html",
        title=pipeline.name,
        summary=summary(pipeline, prepared),
        scores=scores,
        figures=drawn,
        config=config,
        provenance=provenance,
        lead_unit=prepared.lead_unit,
        cost=cost(pipeline, scores, seconds, told["device"]),
    )


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
    names = list(USUAL)
    if not prepared.ports.condition:
        names.append("memorisation")
    if (
        prepared.labels() is not None
        and prepared.train_labels(prepared.examples.windows) is not None
    ):
        names.append("class_accuracy")
    return tuple(families.load("scores", name)() for name in names)


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
