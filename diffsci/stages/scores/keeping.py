"""Rows of the scores that say how far states are from the constraints: before and after.

`model` is what was sampled, with its constraints; `model_free` a part of it drawn without them. The
value is the root mean square of what would have to be changed, in standard deviations of what is
sampled of each channel: of a mean, its error.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from diffsci import families
from diffsci.constraints._projection import Projection
from diffsci.evaluation import blocks
from diffsci.evaluation.blocks import Values
from diffsci.evaluation.rows import CONSTRAINT, Row
from diffsci.evaluation.table import Scores
from diffsci.forecasting.bounds import Bounds
from diffsci.forecasting.constraining import setting_of
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.given import Given
from diffsci.forecasting.surrogate import Surrogate
from diffsci.stages.ensembles.resampling import chosen
from diffsci.stages.prepare import Prepared

log = logging.getLogger(__name__)

FREE = "model_free"
_CASES = 8
"""Cases that are drawn without constraints, one member each."""


def with_constraints(
    scores: Scores,
    prepared: Prepared,
    model: Surrogate,
    engine: Engine,
    values: Values,
) -> Scores:
    """The scores, and for each constraint how far states are from it.

    Args:
        scores: Of the run.
        prepared: Its data.
        model: Its model.
        engine: Where that computes.
        values: What was sampled, physical units; read case by case.
    """
    section = model.pipeline.sample
    assert section is not None
    given = _last_frames(prepared)
    part = chosen(prepared.evaluation, prepared.evaluation.cases.keys[:_CASES])
    # The model's own numbers come within the bounds of its section, too.
    unkept = replace(model.pipeline, sample=replace(section, constraints=()))
    free = replace(model, pipeline=unkept).values(
        replace(engine, constraints=None, bounds=Bounds()),
        Given.of_tests(part, section.observed),
        range(1),
        section.seed,
    )
    made = {"model": values, FREE: blocks.of(free)}
    rows = list(scores.rows)
    setting = setting_of(model.channels, model.grid, model.statistics)
    for constraint in section.constraints:
        word = families.name_of(constraint)
        projection = Projection.of([constraint], setting)
        told = {}
        for name, states in made.items():
            found = _rows(
                name, word, states.shape[1], distances(projection, states, given), scores.leads
            )
            told[name] = found[0].value
            rows += found
        log.info(
            "evaluate: constraint %s: off by %.2g std without, %.2g with",
            word,
            told[FREE],
            told["model"],
        )
    return replace(scores, rows=tuple(rows))


def distances(
    projection: Projection,
    states: Values,
    given: Float[np.ndarray, "case channel *space"] | None,
) -> Float[np.ndarray, "lead case"]:
    """Root mean square over members of how far states are from meeting it, in std.

    Args:
        projection: Of the constraint.
        states: Physical.
        given: The last given frame of each case, or of more.
    """
    cases, members, leads, channels = states.shape[:4]
    far = np.empty((leads, cases))
    for case in range(cases):
        here = (slice(case, case + 1), slice(0, leads))
        fields = np.stack([states.read(*here, channel)[0] for channel in range(channels)], axis=2)
        flat = torch.from_numpy(fields).flatten(0, 1)
        start = None
        if projection.needs_given:
            assert given is not None
            start = torch.from_numpy(given[case])[None].expand(len(flat), *given.shape[1:])
        off = projection.off(flat, start).numpy().reshape(members, leads)
        far[:, case] = np.sqrt((off**2).mean(axis=0))
    return far


def _last_frames(prepared: Prepared) -> Float[np.ndarray, "case channel *space"] | None:
    """The last given frame of each case, physical; none where nothing is given."""
    given, task = prepared.evaluation.given, prepared.examples.task
    if given is None or not task.has_leads:
        return None
    shown = task.shown(given, prepared.train.grid)
    assert shown is not None
    return prepared.statistics.decode(shown.numpy())


def _rows(
    forecast: str,
    word: str,
    members: int,
    far: Float[np.ndarray, "lead case"],
    leads: tuple[float, ...] | None,
) -> list[Row]:
    """Over all leads, then of each; without an interval."""
    sets: dict[float | None, np.ndarray] = {None: far}
    sets |= dict(zip(leads or (), far, strict=False))
    return [
        Row(
            forecast=forecast,
            variable=word,
            score=CONSTRAINT,
            lead=lead,
            value=float(np.sqrt((found**2).mean())),
            low=math.nan,
            high=math.nan,
            unit="1",
            members=members,
            count=far.shape[1],
        )
        for lead, found in sets.items()
    ]
