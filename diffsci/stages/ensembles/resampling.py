"""An ensemble from a trained model: more members, another seed, another sampler."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from diffsci import config
from diffsci.data.examples.cases import Evaluation, cases_given
from diffsci.data.examples.parts import read_part
from diffsci.data.examples.windows import Examples
from diffsci.data.fields import Fields
from diffsci.errors import DataError, StorageError
from diffsci.forecasting.calibration.calibrated import warn_of_unusual
from diffsci.forecasting.given import Given
from diffsci.forecasting.model_folder import CONFIG
from diffsci.forecasting.opening import read_surrogate
from diffsci.forecasting.store.disk import require_name
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running.changes import Change
from diffsci.running.folder import RunFolder, digest_of
from diffsci.running.locking import lock
from diffsci.runtime import Device
from diffsci.stages.alike import Known, require_alike
from diffsci.stages.checks import of_sampling
from diffsci.stages.ensembles import sharing
from diffsci.stages.ensembles.growing import Wanted, existing
from diffsci.stages.ensembles.provenance import of_cases, provenance
from diffsci.stages.ensembles.reverse_variance import with_variance
from diffsci.stages.ensembles.sampling import only_writer, say_written, write_ensemble

log = logging.getLogger(__name__)


def resample(loaded: config.Loaded, run: Path, out: Path | str | None) -> Path | str:
    """Sample the test cases into a store of its own; one that is there gets what it lacks.

    Args:
        loaded: The model's pipeline, with what is to be different.
        run: The run folder.
        out: The store, ending in `.zarr`: a path, or an address of fsspec.

    Raises:
        ConfigError: For guidance that the model has no use for.
        DataError: For data that is not like that of training, or has changed since the run.
        StorageError: When the store was made from something else, or its name does not end in
            `.zarr`.
    """
    pipeline = loaded.pipeline
    section = pipeline.sample
    assert section is not None
    store = out or run / f"forecast-m{section.members}-s{section.seed}.zarr"
    place = Place.of(store)
    require_name(place)
    _require_no_product(run, place)
    model, test = opened(loaded, run)
    warn_of_unusual(model)
    with only_writer(place, pipeline.name):
        found = existing(place)
        evaluation = tests_of(model, test, found.cases if found else ())
        wrote = write_ensemble(
            model,
            model.engine(),
            Given.of_tests(evaluation, section.observed),
            Wanted.of(model.pipeline),
            store,
            hands=sharing.hands_of(pipeline.runtime),
        )
    say_written(store, wrote)
    return store


def assist(loaded: config.Loaded, run: Path) -> None:
    """Help rank 0, which samples the same."""

    def open_cases(keys: list[str]) -> sharing.Opened:
        model, test = opened(loaded, run)
        section = model.pipeline.sample
        assert section is not None
        evaluation = tests_of(model, test, keys)
        return model, model.engine(), Given.of_tests(evaluation, section.observed)

    sharing.follow(open_cases)


def opened(loaded: config.Loaded, run: Path) -> tuple[Surrogate, Fields]:
    """The model of a run as the pipeline wants it, and the test part of its data.

    Raises:
        ConfigError: For settings that the model has no use for.
        DataError: For data that is not like that of training, or has changed since the run.
        StorageError: When there is no whole model.
    """
    pipeline, data = loaded.pipeline, loaded.pipeline.data
    section = pipeline.sample
    assert section is not None
    model = read_surrogate(run / "model", pipeline)
    for fault in of_sampling(section, pipeline.train, model.scalar_names):
        raise fault
    if section.needs_covariance and model.variance is None:
        model = _calibrated(model, loaded, run)
    test = read_part(data, data.split.test, loaded.roots)
    _require_unchanged(loaded, run, "test", test)
    told = provenance(loaded.plain, section.seed) | of_cases(test.digest)
    model = replace(model, provenance=model.provenance | told)
    known = Known(
        source=f"the model in {run / 'model'}",
        channels=model.channels,
        grid=model.grid,
        scalar_names=model.scalar_names,
        step=model.step,
        time_unit=model.time_unit,
        seen=model.statistics.seen if model.statistics.seen.size else None,
    )
    require_alike(known, test, "test", steps=data.task.has_leads)
    return model, test


def tests_of(model: Surrogate, test: Fields, keys: Collection[str]) -> Evaluation:
    """The test cases that `sample` asks for, and those of these keys beside them.

    Args:
        model: With the section `sample`.
        test: The test part.
        keys: Of cases, such as those that a store has already; what is no test case is passed over.
    """
    section, task = model.pipeline.sample, model.pipeline.data.task
    assert section is not None
    domain, leads = model.pipeline.data.domain, section.leads

    def given(every: int, cases: int | None) -> Evaluation:
        return cases_given(
            test, task, domain, model.statistics, leads=leads, every=every, cases=cases
        )

    asked = given(section.every, section.cases)
    asked.tell_fewer(section.cases)
    wanted = set(asked.cases.keys) | set(keys)
    # Those that a store has may have been chosen otherwise: then both, in the order of the data.
    return asked if len(wanted) == len(asked) else chosen(given(1, None), wanted)


def chosen(evaluation: Evaluation, keys: Collection[str]) -> Evaluation:
    """Some of the cases, in their order."""
    index = [row for row, key in enumerate(evaluation.cases.keys) if key in set(keys)]
    cases = evaluation.cases
    return Evaluation(
        cases=replace(
            cases,
            rows=cases.rows[index],
            keys=tuple(cases.keys[row] for row in index),
            trajectories=cases.trajectories[index],
            times=cases.times[index] if len(cases.times) else cases.times,
            labels={name: values[index] for name, values in cases.labels.items()},
        ),
        given=None if evaluation.given is None else evaluation.given[index],
        scalars=None if evaluation.scalars is None else evaluation.scalars[index],
        truth=evaluation.truth.part(index),
        kept=None if evaluation.kept is None else evaluation.kept[index],
        edges=None if evaluation.edges is None else evaluation.edges[index],
    )


def _require_unchanged(loaded: config.Loaded, run: Path, word: str, fields: Fields) -> None:
    """Refuse a part whose contents are not those that the run had; another part may be given.

    Raises:
        DataError: With the old and new digest.
    """
    if not (run / "run.json").exists():  # a model folder alone: nothing says what it had
        return
    record = RunFolder.read(run).record
    before = record.get("data", {}).get(word)
    plains = (record.get("config", {}), loaded.plain)
    there, here = (plain.get("data", {}).get("split", {}).get(word) for plain in plains)
    if before in (None, fields.digest) or digest_of(there) != digest_of(here):
        return
    change = Change(key=f"data.content.{word}", old=before, new=fields.digest)
    raise DataError(
        f"{run}: the data has changed since this run ({change}); restore it, or have the run's own "
        f"ensemble and scores made anew from it with `diffsci run {run}/config.yaml --out {run} "
        "--allow data`, after which this command takes it"
    )


def _require_no_product(run: Path, store: Place) -> None:
    """Refuse to change what `run` made, behind the back of its record."""
    if store.is_remote or store.path.absolute().parent != run.absolute():
        return
    if store.name in ("forecast.zarr", "forecast-raw.zarr", "truth.zarr", "validation.zarr"):
        raise StorageError(
            f"{store}: is the run's own; it grows by `diffsci run {run}/config.yaml --out {run} "
            "sample.members=N --allow sample.members`; or choose another name with --out"
        )


def _calibrated(model: Surrogate, loaded: config.Loaded, run: Path) -> Surrogate:
    """The model with its table, which is kept in the run's `model/` for the next time."""
    pipeline, data = loaded.pipeline, loaded.pipeline.data
    part = data.split.valid or data.split.train
    fields = read_part(data, part, loaded.roots)
    _require_unchanged(loaded, run, "valid" if data.split.valid else "train", fields)
    examples = Examples(fields, data.task, model.statistics, data.domain.forcings)
    found = with_variance(model, examples, Device.of(pipeline.runtime))
    place = run / "model"
    with lock(run, pipeline.name):
        found.save(place, (place / CONFIG).read_text(encoding="utf-8"))
    return found
