"""A new ensemble from a trained model: more members, another seed, another sampler."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from diffsci import config
from diffsci.data.reader import read
from diffsci.data.windows import Examples, cases_given
from diffsci.errors import StorageError
from diffsci.forecasting.conditions import Given
from diffsci.forecasting.model_folder import CONFIG
from diffsci.forecasting.surrogate import Surrogate, read_surrogate
from diffsci.locking import lock
from diffsci.run_folder import digest_of
from diffsci.runtime import Device
from diffsci.stages.calibrating import calibrated
from diffsci.stages.checks import of_sampling
from diffsci.stages.prepare import Known, require_alike
from diffsci.stages.provenance import provenance
from diffsci.stages.sampling import write_ensemble

log = logging.getLogger(__name__)


def resample(loaded: config.Loaded, run: Path, out: Path | None) -> Path:
    """Sample the test cases anew into a store of its own.

    Args:
        loaded: The model's pipeline, with what is to be different.
        run: The run folder.
        out: The store, ending in `.zarr`.

    Raises:
        ConfigError: For guidance that the model has no use for.
        StorageError: When the store exists, or its name does not end in `.zarr`.
    """
    pipeline = loaded.pipeline
    section, data = pipeline.sample, pipeline.data
    assert section is not None
    store = out or run / f"forecast-m{section.members}-s{section.seed}.zarr"
    if store.suffix != ".zarr":
        raise StorageError(f"{store}: the store's name must end in .zarr, by which readers know it")
    if store.exists():
        raise StorageError(f"{store}: exists already; choose another name with --out, or remove it")
    model = read_surrogate(run / "model", pipeline)
    for fault in of_sampling(section, pipeline.train, model.scalar_names):
        raise fault
    if section.needs_covariance and model.variance is None:
        model = _calibrated(model, loaded, run)
    model = replace(model, provenance=model.provenance | provenance(loaded.plain, section.seed))
    test = read(
        str(data.entry or data.source), data.domain, data.split.test, loaded.roots, data.variables
    )
    known = Known(
        source=f"the model in {run / 'model'}",
        channels=model.channels,
        grid=model.grid,
        scalar_names=model.scalar_names,
        step=model.step,
        time_unit=model.time_unit,
    )
    require_alike(known, test, "test", steps=data.task.has_leads)
    evaluation = cases_given(
        test,
        data.task,
        data.domain,
        model.statistics,
        leads=section.leads,
        every=section.every,
        cases=section.cases,
    )
    store.parent.mkdir(parents=True, exist_ok=True)
    with lock(store.parent, pipeline.name):
        write_ensemble(
            model,
            model.engine(),
            Given.of_tests(evaluation, section.observed),
            members=section.members,
            seed=section.seed,
            batch=pipeline.runtime.batch,
            store=store,
            digest=digest_of([loaded.plain, test.digest, model.provenance["diffsci_model"]]),
        )
    log.info("sample: wrote %s", store)
    return store


def _calibrated(model: Surrogate, loaded: config.Loaded, run: Path) -> Surrogate:
    """The model with its table, which is kept in the run's `model/` for the next time."""
    pipeline, data = loaded.pipeline, loaded.pipeline.data
    part = data.split.valid or data.split.train
    name = str(part.entry or data.entry or data.source)
    fields = read(name, data.domain, part, loaded.roots, data.variables)
    examples = Examples(fields, data.task, model.statistics)
    found = calibrated(model, examples, Device.of(pipeline.runtime))
    place = run / "model"
    with lock(run, pipeline.name):
        found.save(place, (place / CONFIG).read_text(encoding="utf-8"))
    return found
