"""Assimilation: a trained model and a table of observations make an analysis ensemble, and scores.

diffsci assimilate RUN OBSERVATIONS --out analysis.zarr --truth PATH
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffsci import families
from diffsci.data import reader
from diffsci.data.catalog import load_entry
from diffsci.data.fields import Fields
from diffsci.diffusion.guidance.posterior import Posterior
from diffsci.errors import ConfigError, DataError
from diffsci.evaluation.rows import Row
from diffsci.evaluation.scores.base import Score
from diffsci.evaluation.table import evaluate
from diffsci.forecasting.assimilation.analysis import Analyst, cases_of
from diffsci.forecasting.assimilation.observation_table import read_table
from diffsci.forecasting.assimilation.reference_analyses import climatological, interpolated
from diffsci.forecasting.assimilation.sighting import Placed, placed, steps_between
from diffsci.forecasting.requests.matching import canonical_of, fields_of
from diffsci.forecasting.store.disk import require_name, write_whole
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running.folder import roots_of_run
from diffsci.runtime import Device
from diffsci.sections import Evaluate
from diffsci.stages.ensembles import from_files
from diffsci.stages.scores import telling

log = logging.getLogger(__name__)

SCORES = ("crps", "rmse", "bias", "spread_skill", "interval", "coverage")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a trained model.

    Args:
        observations: The table.
        members: Of the analysis.
        seed: Of the noise.
        overlap: Frames that neighbouring pieces share; none takes half of a piece.
        iterations: Passes backward of each network call.
        block: Frames that arrive at once; none: all are there.
        lag: Frames before a block that are analysed with it.
        given: Physical parameters of the trajectory, by name.
        truth: File or entry to score against.
        trajectory: Which of the truth's trajectories.
        overrides: `KEY=VALUE` texts for `sample.*` and `runtime.*`.
    """

    observations: Path
    members: int = 16
    seed: int = 0
    overlap: int | None = None
    iterations: int = 8
    block: int | None = None
    lag: int = 40
    given: Mapping[str, float]
    truth: str | None = None
    trajectory: int = 0
    overrides: Sequence[str] = ()

    def __post_init__(self) -> None:
        for text in self.overrides:
            if not text.startswith(("sample.", "runtime.")):
                raise ConfigError(f"{text}: only sample.* and runtime.* can be given here")


def assimilate(folder: Path, request: Request, out: Path) -> tuple[Path, tuple[Row, ...]]:
    """The analysis ensemble as a store, and its scores where there is a truth.

    Args:
        folder: Run folder, or model folder.
        request: What is asked for.
        out: The store, ending in `.zarr`; scores go into a folder of its name beside it.

    Raises:
        ConfigError: For a model that cannot be guided.
        DataError: For observations that do not fit the model, with the row.
    """
    require_name(Place.of(out))
    model_folder = folder / "model" if (folder / "model").is_dir() else folder
    model, loaded = from_files.opened(model_folder, request.overrides)
    device = Device.of(model.pipeline.runtime)
    half = model.pipeline.data.task.block // 2
    analyst = Analyst(
        model=model,
        device=device,
        guidance=Posterior(iterations=request.iterations),
        overlap=half if request.overlap is None else request.overlap,
        scalars=_scalars(model, request.given),
    )
    table = read_table(request.observations, model.grid.dims)
    seen = placed(table, model.channels, model.grid, analyst.step)
    frames = seen.count
    log.info(
        "assimilate: %d observations of %d frames, %.2g %% of all values; %d members",
        len(seen),
        frames,
        100 * len(seen) / (frames * len(model.channels) * seen.cells),
        request.members,
    )
    began = time.process_time()
    values = _members(analyst, seen, frames, request)
    spent = (time.process_time() - began) / request.members / frames
    log.info("assimilate: %.3g ms of processor time a member and frame", 1e3 * spent)
    told = {
        "diffsci_observations": table.source,
        "diffsci_guidance": f"posterior, {request.iterations} iterations",
        "diffsci_online": "no" if request.block is None else f"{request.block} lag {request.lag}",
        "history": "made by `diffsci assimilate`",
    }
    model = replace(model, provenance=model.provenance | told)
    out.parent.mkdir(parents=True, exist_ok=True)
    cases = cases_of(seen, frames, analyst.step)

    def write(place: Path, made: np.ndarray) -> None:
        labelled = model.label(made[None], cases, np.arange(len(made)))
        write_whole(place, labelled, str(next(iter(labelled.dims))), 1)

    write(out, values)
    log.info("assimilate: wrote %s", out)
    if request.truth is None:
        return out, ()
    roots = roots_of_run(loaded.origin, loaded.roots)
    entry = load_entry(request.truth, roots)
    raw = reader.open_raw(entry)
    fields = fields_of(model, canonical_of(model, raw, entry), entry)
    truth = _truth(fields, seen, frames, analyst.step, request)
    forecasts = {
        "model": values,
        "interpolation": interpolated(seen, frames, model),
        "climatology": climatological(model, frames, request.members, request.seed),
    }
    return out, _scored(model, forecasts, truth, out.with_name(f"{out.stem}-scores"))


def _members(analyst: Analyst, seen: Placed, frames: int, request: Request) -> np.ndarray:
    if request.block is None:
        return analyst.analysis(seen, 0, frames, request.members, request.seed)
    shape = (request.members, frames, len(analyst.model.channels), *analyst.model.grid.sizes)
    # A block of which nothing is observed, with nothing before it, is not known at all.
    values = np.full(shape, np.nan, dtype=np.float32)
    for first, after, made in analyst.online(
        seen, frames, request.block, request.lag, request.members, request.seed
    ):
        values[:, first:after] = made
        log.info("assimilate: frames %d to %d of %d", first, after - 1, frames)
    return values


def _scalars(model: Surrogate, given: Mapping[str, float]) -> Tensor | None:
    """Physical parameters of the trajectory, encoded; none where the model has none."""
    names = model.scalar_names
    strange = [name for name in given if name not in names]
    if strange:
        known = ", ".join(names) or "none"
        raise ConfigError(f"--given {strange[0]}: the model's parameters are {known}")
    missing = [name for name in names if name not in given]
    if missing:
        raise ConfigError(
            f"assimilate: the model is given {', '.join(missing)}: say --given {missing[0]}=VALUE"
        )
    if not names:
        return None
    values = np.array([[given[name] for name in names]])
    return torch.from_numpy(model.statistics.encode_scalars(values))


def _truth(
    fields: Fields, seen: Placed, frames: int, step: float | np.timedelta64, request: Request
) -> np.ndarray:
    """The truth of each frame."""
    count = len(fields.trajectories)
    if not 0 <= request.trajectory < count:
        raise DataError(f"{request.truth}: no trajectory {request.trajectory}; it has {count}")
    apart = steps_between(fields.times, seen.start, step)
    found = []
    for frame in range(frames):
        nearest = int(np.abs(apart - frame).argmin())
        if not abs(apart[nearest] - frame) < 1e-3:
            raise DataError(
                f"{request.truth}: its times are {fields.times[0]} to {fields.times[-1]}; that of "
                f"frame {frame} of the analysis, which begins at {seen.start}, is not among them"
            )
        found.append(nearest)
    return np.stack([np.asarray(fields.values[request.trajectory, time]) for time in found])


def _scored(
    model: Surrogate,
    forecasts: Mapping[str, np.ndarray],
    truth: np.ndarray,
    folder: Path,
) -> tuple[Row, ...]:
    """Rows of the analysis and of what it has to beat, each frame a case; `scores.csv` of them."""
    analysed = np.isfinite(forecasts["model"]).all(axis=(0, *range(2, truth.ndim + 1)))
    section = Evaluate()
    found = evaluate(
        {name: made.swapaxes(0, 1)[analysed, :, None] for name, made in forecasts.items()},
        truth[analysed, None],
        channels=model.channels,
        grid=model.grid,
        leads=None,
        scores=tuple[Score, ...](families.load("scores", word)() for word in SCORES),
        resamples=section.resamples,
        confidence=section.confidence,
        keys=tuple(f"frame={frame}" for frame in np.flatnonzero(analysed)),
    )
    folder.mkdir(parents=True, exist_ok=True)
    found.write(folder)
    for line in telling.table(found).splitlines():
        log.info("%s", line)
    return found.rows
