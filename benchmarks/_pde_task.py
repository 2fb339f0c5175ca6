"""Forecasts and costs that benchmarks/pde_table.py puts side by side, of a problem's test cases."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

import diffsci
from diffsci import config
from diffsci.evaluation.baselines.base import Problem
from diffsci.evaluation.baselines.climatology import Climatology
from diffsci.evaluation.baselines.coarse_solver import CoarseSolver, integrated
from diffsci.evaluation.baselines.exact_solver import ExactSolver
from diffsci.evaluation.baselines.persistence import Persistence
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running.folder import roots_of_run
from diffsci.solvers.base import SpectralSolver
from diffsci.stages.prepare import Prepared, prepare
from diffsci.stages.scores.referring import problem_of

COARSE = {
    "kuramoto_sivashinsky": (48, 64, 96),
    "kolmogorov": (24, 32, 48),
    "gray_scott": (24, 32, 48),
    "shallow_water": (16, 24, 32),
}
OFF = {
    "kuramoto_sivashinsky": (0.1, 0.01, 0.001),
    "kolmogorov": (0.1, 0.01),
    "gray_scott": (0.1, 0.01),
    "shallow_water": (0.1, 0.01),
}
"""Initial errors of the exact equation, in standard deviations."""
LONG, LONG_CASES = 1280.0, 16
TOGETHER = 64


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all rows of one problem share."""

    word: str
    problem: Problem
    prepared: Prepared
    truth: np.ndarray
    leads: tuple[float, ...]

    @property
    def solver(self) -> SpectralSolver:
        assert isinstance(self.problem.solver, SpectralSolver)
        return self.problem.solver

    @property
    def given(self) -> np.ndarray:
        assert self.problem.given is not None
        return self.problem.given

    def near(self, lead: float) -> int:
        """Number of the lead that is nearest."""
        return int(np.abs(np.array(self.leads) - lead).argmin())


def task_of(folder: Path) -> Task:
    """Data and cases of a run."""
    loaded = config.load(folder / "config.yaml")
    prepared = prepare(loaded.pipeline, roots_of_run(loaded.origin, loaded.roots))
    problem = problem_of(loaded.pipeline, prepared)
    leads = prepared.leads()
    assert leads is not None
    word = prepared.solver.__class__.__module__.rpartition(".")[2]
    return Task(
        word=word,
        problem=problem,
        prepared=prepared,
        truth=prepared.evaluation.truth.read(),
        leads=tuple(leads),
    )


def members_of(folder: Path, model: Surrogate, store: str = "forecast.zarr") -> np.ndarray:
    """`[case, member, lead, channel, *space]` of a run's store."""
    with xr.open_zarr(folder / store) as stored:
        return model.pipeline.data.domain.unlabel(stored.load(), model.channels, model.grid)


def as_drawn(model: Surrogate) -> Surrogate:
    """The model without its calibration, which is of so many leads and takes more members."""
    section = replace(model.pipeline.sample, calibrated=False)
    return replace(model, pipeline=replace(model.pipeline, sample=section))


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """Median of the processor's seconds."""
    spent = []
    for _ in range(times):
        began = time.process_time()
        work()
        spent.append(time.process_time() - began)
    return float(np.median(spent))


def frames_of(task: Task, model: Surrogate, entry: str, count: int) -> xr.Dataset:
    """The first frames of trajectories, as many as the model is given."""
    ds = diffsci.open_data(entry)
    return ds.isel(time=slice(0, model.pipeline.data.task.given_frames), sample=slice(0, count))


def step_cost(task: Task, model: Surrogate) -> float:
    """Milliseconds of a step of a state, all network calls of it, of which 64 are made at once."""
    given = frames_of(task, model, model.pipeline.data.split.test.entry, TOGETHER)
    count, leads = given.sizes["sample"], 4
    model.sample(given, members=1, leads=1)  # warm
    spent = [seconds(lambda n=n: model.sample(given, members=1, leads=n)) for n in (1, 1 + leads)]
    rows = -(-count // model.pipeline.sample.compute_batch) * model.pipeline.sample.compute_batch
    return 1e3 * (spent[1] - spent[0]) / (leads * rows)


def solver_cost(task: Task, points: int) -> float:
    """Milliseconds of a forecast step of a state by the equation on so many points."""
    some = np.resize(task.given, (min(TOGETHER, len(task.given)), *task.given.shape[1:]))
    leads = task.problem.cases.leads
    count = 5
    part = task.problem.part(slice(0, len(some)))
    short = _with_leads(part, leads[:count])
    spent = seconds(
        lambda: integrated(short, task.solver, some, np.arange(len(some)), points), times=3
    )
    return 1e3 * spent / (len(some) * count)


def _with_leads(problem: Problem, leads: tuple[int, ...]) -> Problem:
    return replace(problem, cases=replace(problem.cases, leads=leads))


def references(task: Task) -> dict[str, np.ndarray]:
    """Members of each reference row."""
    problem = task.problem
    rows = {"persistence": Persistence()(problem), "climatology": Climatology()(problem)}
    steps = np.arange(1, len(task.leads)).reshape(1, -1, *[1] * (task.truth.ndim - 2))
    first = task.truth[:, :1]
    change = first - task.given[:, None]
    # The frame before is that of the case, so that it starts a step later than the other rows.
    rows["linear extrapolation"] = (first + steps * change)[:, None]
    for points in COARSE[task.word]:
        rows[f"equation on {points} points"] = CoarseSolver(points=points)(problem)
    for size in OFF[task.word]:
        some = _with_members(problem, 2)
        rows[f"exact equation, off by {size:g}"] = ExactSolver(amplitude=size)(some)
    return rows


def _with_members(problem: Problem, members: int) -> Problem:
    return replace(problem, members=members)


def residuals_of(task: Task, model: Surrogate) -> np.ndarray:
    """Truth minus forecast of the first start of each validation trajectory."""
    entry = model.pipeline.data.split.valid.entry
    ds = diffsci.open_data(entry)
    own = model.pipeline.data.task
    last, leads = own.given_frames - 1, len(task.leads)
    made = model.sample(ds.isel(time=slice(0, last + 1)), members=1, leads=leads)
    found = model.pipeline.data.domain.unlabel(made, model.channels, model.grid)[:, 0]
    names = [channel.name for channel in model.channels]
    values = np.stack([ds[name].values for name in names], axis=2)
    frames = [last + own.stride * (lead + 1) for lead in range(leads)]
    return values[:, frames] - found


def stable_share(task: Task, model: Surrogate) -> float:
    """Share of long rollouts whose RMS in space stays within 0.5 to 2 of the climate's."""
    given = frames_of(task, model, model.pipeline.data.split.test.entry, LONG_CASES)
    leads = round(LONG / task.leads[0])
    members = 1 if model.pipeline.sample.members == 1 else 2
    made = model.sample(given, members=members, leads=leads)
    fields = model.pipeline.data.domain.unlabel(made, model.channels, model.grid)
    space = tuple(range(3, fields.ndim))
    size = np.sqrt((fields.astype(np.float64) ** 2).mean(axis=space))
    climate = np.sqrt((task.prepared.train.values.astype(np.float64) ** 2).mean())
    inside = ((size > climate / 2) & (size < 2 * climate)).all(axis=2)
    return float(inside.mean())


def freed(task: Task, model: Surrogate) -> np.ndarray | None:
    """Members of the same cases without the model's constraints; none where it has none."""
    section = model.pipeline.sample
    count = len(task.prepared.test.trajectories)
    if not section.constraints or len(task.truth) != count:
        return None
    free = replace(model.pipeline, sample=replace(section, constraints=()))
    given = frames_of(task, model, model.pipeline.data.split.test.entry, count)
    made = replace(model, pipeline=free).sample(given, leads=len(task.leads))
    return model.pipeline.data.domain.unlabel(made, model.channels, model.grid)
