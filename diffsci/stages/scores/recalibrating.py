"""The calibrate stage: an ensemble of validation cases, and what it says of the model's spread."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffsci import config
from diffsci.data.examples.cases import Evaluation, cases_given
from diffsci.data.examples.parts import read_part
from diffsci.forecasting.calibration.calibrated import made_for, warn_of_unusual
from diffsci.forecasting.calibration.fitted_spread import Fit, require_levels
from diffsci.forecasting.calibration.recalibration import Recalibration
from diffsci.forecasting.constraining import couples, setting_of
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.given import Given
from diffsci.forecasting.store.disk import open_store
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.surrogate import Surrogate
from diffsci.sections import Sample
from diffsci.stages.ensembles.growing import Wanted, is_same
from diffsci.stages.ensembles.sampling import write_raw

log = logging.getLogger(__name__)

STORE = "validation.zarr"
_BLOCK_BYTES = 500_000_000


def recalibration_of(
    model: Surrogate, engine: Engine, loaded: config.Loaded, folder: Path
) -> Recalibration:
    """What validation cases say; their ensemble stays in the folder, and goes on after a stop.

    Args:
        model: Trained.
        engine: Where it computes.
        loaded: The pipeline, with a section `calibrate`.
        folder: The run folder.

    Raises:
        ConfigError: For a level that so few cases cannot guarantee.
        NumericsError: When members failed, or are all equal.
        StorageError: When the ensemble cannot be written.
    """
    pipeline = loaded.pipeline
    section, sample = pipeline.calibrate, pipeline.sample
    assert section is not None and sample is not None
    evaluation = _cases(model, loaded, sample)
    require_levels(section.levels, len(evaluation))
    given, store = Given.of_tests(evaluation, sample.observed), folder / STORE
    # It is read once: what is rounded for the user's disk would be an error of the model here.
    whole = replace(sample.store, precision="float32", accuracy={})
    kept = replace(sample, members=section.members, store=whole)
    model = replace(model, pipeline=replace(pipeline, sample=kept))
    if store.exists() and not is_same(model, engine, given, kept, store):
        Place.of(store).remove()
    log.info(
        "calibrate: %d members of each of %d validation cases%s, kept as %s",
        section.members,
        len(evaluation),
        f" over {sample.leads} leads" if evaluation.cases.leads else "",
        store,
    )
    wanted = replace(Wanted.of(pipeline, exact=True), members=section.members)
    write_raw(model, engine, given, wanted, store)
    fit = Fit(section=section, grid=model.grid, shared_by=_shared_by(model, sample))
    told = made_for(model, engine)
    parts = [fit(members, truth, told) for members, truth in _blocks(model, evaluation, store)]
    found = _joined(parts)
    _say(found, model)
    warn_of_unusual(replace(model, calibration=found))
    return found


def _shared_by(model: Surrogate, sample: Sample) -> np.ndarray | None:
    """Scales of the channels, where a constraint between them asks for one factor for all.

    With c + f (x - c) a member meets A x = b as c and x do; with a factor of its own for each
    channel it does not, where a row of A has several of them.
    """
    setting = setting_of(model.channels, model.grid, model.statistics)
    if not couples(sample.constraints, setting):
        return None
    return np.asarray(model.statistics.state_std, dtype=np.float64)


def _cases(model: Surrogate, loaded: config.Loaded, sample: Sample) -> Evaluation:
    """Validation cases as the test cases are made, evenly spread."""
    data, section = loaded.pipeline.data, loaded.pipeline.calibrate
    part = data.split.valid
    assert part is not None and section is not None
    fields = read_part(data, part, loaded.roots)
    return cases_given(
        fields,
        data.task,
        data.domain,
        model.statistics,
        leads=sample.leads,
        every=section.every,
        cases=section.cases,
    )


def _blocks(
    model: Surrogate, evaluation: Evaluation, store: Path
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Members and truth of all cases, so many leads at a time as memory should hold."""
    domain = model.pipeline.data.domain
    with open_store(store) as ds:
        dims = [str(dim) for dim in next(iter(ds.data_vars.values())).dims]
        leads = max(1, len(evaluation.cases.leads))
        window = max(1, min(leads, _BLOCK_BYTES * leads // max(1, ds.nbytes)))
        for low in range(0, leads, window):
            part = slice(low, min(low + window, leads))
            of = ds.isel({dims[2]: part}) if evaluation.cases.leads else ds
            yield domain.unlabel(of, model.channels, model.grid), evaluation.truth.read(leads=part)


def _joined(parts: list[Recalibration]) -> Recalibration:
    """That of all leads."""
    return replace(
        parts[0],
        shift=np.concatenate([part.shift for part in parts]),
        spread=np.concatenate([part.spread for part in parts]),
        radius=np.concatenate([part.radius for part in parts], axis=1),
    )


def _say(found: Recalibration, model: Surrogate) -> None:
    for number, channel in enumerate(model.channels):
        factor, shift = found.spread[:, number], found.shift[:, number]
        log.info(
            "calibrate: %s: spread times %s, mean %s %s",
            channel.name,
            _range(factor.ravel()),
            _range(shift, "+"),
            "" if channel.unit == "1" else channel.unit,
        )


def _range(values: np.ndarray, sign: str = "") -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:{sign}.3g}" if low == high else f"{low:{sign}.3g} to {high:{sign}.3g}"
