"""What the baselines of a run may use, and their ensembles, made some cases at a time."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from diffsci.data.examples.truth import Truth
from diffsci.evaluation import blocks
from diffsci.evaluation.baselines.base import Baseline, Problem
from diffsci.evaluation.blocks import Lazy, Values
from diffsci.sections import Pipeline, Sample
from diffsci.stages.prepare import Prepared

log = logging.getLogger(__name__)

_BLOCK_BYTES = 64_000_000
_MOST_BYTES = 1_000_000_000


def problem_of(pipeline: Pipeline, prepared: Prepared) -> Problem:
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
    train_given, train_truth = _training(pipeline, prepared, windows_of(prepared))
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


def made(baseline: Baseline, problem: Problem, prepared: Prepared) -> Values:
    """A baseline's ensemble, made for some cases at a time: a case does not depend on others."""
    held: dict[tuple[int, int], np.ndarray] = {}

    def of_cases(cases: slice) -> np.ndarray:
        key = (cases.start, cases.stop)
        if key not in held:
            held.clear()
            held[key] = with_gaps(baseline(problem.part(cases)), prepared)
        return held[key]

    def reads(cases: slice, leads: slice, channel: int) -> np.ndarray:
        return of_cases(cases)[:, :, leads, channel]

    cases, leads = len(problem.cases), max(1, len(problem.cases.leads))
    shape = (cases, problem.members, leads, *problem.train.values.shape[2:])
    if 4 * int(np.prod(shape)) <= blocks.BLOCK_BYTES:
        return blocks.of(of_cases(slice(0, cases)))
    shape = (cases, *of_cases(slice(0, 1)).shape[1:])
    return Lazy(shape=shape, reads=reads)


def verifying(truth: Truth) -> Values:
    """The truth as a single member, of which a block is read once for all channels."""
    held: dict[tuple[int, ...], np.ndarray] = {}

    def reads(cases: slice, leads: slice, channel: int) -> np.ndarray:
        size = (cases.stop - cases.start) * (leads.stop - leads.start) * int(np.prod(shape[3:]))
        if 4 * size > blocks.BLOCK_BYTES:
            return truth.read(cases, leads, channel)[:, None]
        key = (cases.start, cases.stop, leads.start, leads.stop)
        if key not in held:
            held.clear()
            held[key] = truth.read(cases, leads)
        return held[key][:, None, :, channel]

    shape = (len(truth), 1, *truth.shape[1:])
    return Lazy(shape=shape, reads=reads)


def with_gaps(values: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Values with NaN at cells that never count, as the model's have it."""
    seen = prepared.statistics.seen
    return np.where(seen, values, np.float32(np.nan)) if seen.size else values


def drawn_given(
    problem: Problem, prepared: Prepared
) -> Float[np.ndarray, "case channel *space"] | None:
    """What each case was given, for maps: NaN where it was given nothing, as in a hole."""
    if problem.given is None:
        return None
    given = with_gaps(problem.given, prepared)
    kept = prepared.examples.task.kept(prepared.evaluation.given, given.shape[1])
    return given if kept is None else np.where(kept.numpy(), given, np.float32(np.nan))


def _baseline_members(members: int) -> int:
    """As many as the model has; a model of a single one is not let off with a single draw."""
    return members if members > 1 else Sample().members


def _shown(pipeline: Pipeline, prepared: Prepared, given: torch.Tensor) -> np.ndarray:
    """The newest state that is known, physical units: the last frame, or the interpolated one."""
    shown = pipeline.data.task.shown(given, prepared.train.grid)
    assert shown is not None
    return prepared.statistics.decode(shown.numpy())


def windows_of(prepared: Prepared) -> np.ndarray:
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
