"""The stage `evaluate` of a run: the scores of its ensemble, and where they are told."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from diffsci import config
from diffsci.evaluation.table import Scores
from diffsci.forecasting.store.disk import open_store
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running.folder import RunFolder
from diffsci.runtime import Device
from diffsci.sections import Pipeline
from diffsci.stages.prepare import Prepared
from diffsci.stages.scores import recalibrated, scoring, telling
from diffsci.stages.scores.keeping import with_constraints
from diffsci.stages.scores.stored import Layout
from diffsci.stages.tracked import artifacts_of
from diffsci.tracking.tracker import Tracker

log = logging.getLogger(__name__)

FORECAST = "forecast.zarr"


@dataclass(frozen=True, kw_only=True)
class Made:
    """What the stage makes.

    Args:
        scores: The table, which is in the run folder.
        drawn: Figures by name.
    """

    scores: Scores
    drawn: dict[str, Path]


def scored(
    pipeline: Pipeline, prepared: Prepared, model: Surrogate, device: Device, folder: Path
) -> Made:
    """Score the ensemble of a run folder, and draw it."""
    store, train = folder / FORECAST, prepared.train
    calibrated = recalibrated.before(pipeline, prepared, store)
    with open_store(store) as stored, calibrated as before:
        layout = Layout.of(stored, pipeline.data.domain, train.channels, train.grid)
        values = layout.values(stored)
        place = asked(pipeline, device)
        scores, drawn = scoring.score(pipeline, prepared, values, folder, before, place)
        if pipeline.sample and pipeline.sample.constraints:
            engine = model.engine(device)
            scores = with_constraints(scores, prepared, model, engine, values)
            scores.write(folder)
    return Made(scores=scores, drawn=drawn)


def asked(pipeline: Pipeline, device: Device) -> str | None:
    """The device on which scores are computed; none where the run did not ask for one.

    What `auto` finds is for the network: scores of the same store keep their bits on every machine.
    """
    if pipeline.runtime.device == "auto" or device.name == "cpu":
        return None
    return device.name


def tell(
    loaded: config.Loaded, prepared: Prepared, made: Made, folder: RunFolder, tracker: Tracker
) -> None:
    """Write the report, and tell the tracker and the log what came out."""
    pipeline, scores = loaded.pipeline, made.scores
    text, roots = config.to_yaml(loaded.plain), loaded.roots
    given = (pipeline, prepared, scores, made.drawn, folder.path, text, folder.record, roots)
    scoring.report(*given)
    for metrics, step in telling.metrics(scores, prepared):
        tracker.metrics(metrics, step)
    for file, under in artifacts_of(folder.path):
        tracker.artifact(file, under)
    note = telling.summary(pipeline, prepared) + "\n\n" + telling.table(scores)
    folder.record["tracked"]["note"] = note  # for `diffsci sync`
    tracker.note(note)
    for line in telling.table(scores).splitlines():
        log.info("%s", line)
