"""Forecasts from a user's own files, by the model of a run or of the registry."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from diffsci import config, families
from diffsci.data.catalog import Entry, load_entry
from diffsci.errors import ConfigError, DataError, DiffsciError, StorageError
from diffsci.forecasting.calibration.calibrated import warn_of_unusual
from diffsci.forecasting.given import Given
from diffsci.forecasting.model_folder import CONFIG
from diffsci.forecasting.opening import read_surrogate
from diffsci.forecasting.requests.durations import leads_of
from diffsci.forecasting.requests.plausible import WITHIN
from diffsci.forecasting.requests.starts import given_from
from diffsci.forecasting.store.disk import require_name
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running.folder import roots_of_run
from diffsci.stages.checks import of_sampling
from diffsci.stages.ensembles import sharing
from diffsci.stages.ensembles.growing import FROM, Wanted, existing
from diffsci.stages.ensembles.provenance import provenance
from diffsci.stages.ensembles.sampling import only_writer, say_written, write_ensemble
from diffsci.stages.ensembles.trained import trained
from diffsci.stages.training import following
from diffsci.training import distributed

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a trained model.

    Args:
        source: File, store, glob or catalog entry with the initial conditions.
        starts: Times in it; empty takes the latest possible.
        lead: How far, as a duration or a number of steps; none takes what the pipeline says.
        members: Of each case; none takes what the pipeline says.
        seed: Of the noise; none takes what the pipeline says.
        overrides: `KEY=VALUE` texts for `sample.*` and `runtime.*`.
        within: Standard deviations that the mean of a field may lie from that of training.
    """

    source: str
    starts: tuple[str, ...] = ()
    lead: str | None = None
    members: int | None = None
    seed: int | None = None
    overrides: tuple[str, ...] = ()
    within: float = WITHIN

    def __post_init__(self) -> None:
        for text in self.overrides:
            if not text.startswith(("sample.", "runtime.")):
                raise ConfigError(
                    f"{text}: a trained model is sampled from a file, so only sample.* and "
                    "runtime.* can be given"
                )

    @property
    def texts(self) -> list[str]:
        """All that differs from the pipeline, as overrides."""
        texts = list(self.overrides)
        texts += [f"sample.members={self.members}"] if self.members is not None else []
        texts += [f"sample.seed={self.seed}"] if self.seed is not None else []
        return texts


def sample_from(folder: Path, request: Request, out: Path | str | None) -> Path | str:
    """The ensemble of a model for initial conditions from files, as a store that grows.

    Args:
        folder: Run folder, or a model folder such as one from the registry.
        request: What is asked for.
        out: The store; none takes a name after the file, in the run folder.

    Raises:
        ConfigError: For settings the model has no use for.
        DataError: For a file that does not fit the model, naming what.
        StorageError: When there is no whole model, or the store was made from something else.
    """
    model, given, entry = asked_of_file(folder, request)
    section = model.pipeline.sample
    assert section is not None
    name = f"forecast-{entry.name}-m{section.members}-s{section.seed}.zarr"
    store = out or (folder if (folder / "model").is_dir() else Path()) / name
    require_name(Place.of(store))
    with _together(model) as first:
        if first:
            _say(model, given, entry)
            _write(folder, request, model, given, store)
        else:
            sharing.follow(
                lambda keys: (model, model.engine(), _with(keys, folder, request, given))
            )
    return store


def starts_of(keys: Sequence[str]) -> tuple[str, ...]:
    """The starts of cases; a key is a date, or names a sample, and its time where it has one."""
    dated = [key.rpartition("time=")[2] for key in keys if "time=" in key or "=" not in key]
    return tuple(dict.fromkeys(dated))


def _with(keys: Sequence[str], folder: Path, request: Request, given: Given) -> Given:
    """What is given, and beside it the cases of a store, as far as the file has them.

    Raises:
        DataError: When the file lacks one of them.
    """
    have = given.cases.keys
    if not set(keys) - set(have) or not starts_of(have):
        return given
    # By time, not by text: `2000-01-02` and `2000-01-02T00:00:00` are one start.
    starts = starts_of([*have, *(key for key in keys if key not in have)])
    try:
        return asked_of_file(folder, replace(request, starts=starts))[1]
    except DataError as error:
        raise DataError(
            f"{error}; the store that is to grow has {', '.join(keys[:3])}: give a file that has "
            "these starts too, or choose another name with --out"
        ) from None


def asked_of_file(folder: Path, request: Request) -> tuple[Surrogate, Given, Entry]:
    """The model with what is to be different, the cases of a file, and what is known of the file.

    Raises:
        ConfigError: For settings the model has no use for.
        DataError: For a file that does not fit the model, naming what.
        StorageError: When there is no whole model.
    """
    model_folder = _model_folder(folder)
    model, loaded = opened(model_folder, request.texts)
    if request.lead is not None:
        count = leads_of(request.lead, model)
        model, loaded = opened(model_folder, [*request.texts, f"sample.leads={count}"])
    section = model.pipeline.sample
    assert section is not None
    roots = roots_of_run(loaded.origin, loaded.roots)
    entry = load_entry(request.source, roots)
    known = training_entry(model, roots)
    given = given_from(model, entry, request.starts, section.leads, known, request.within)
    warn_of_unusual(model)
    return replace(model, provenance=model.provenance | {FROM: entry.name}), given, entry


def model_of(folder: Path) -> Surrogate:
    """The model of a run folder, or of a model folder, as it is."""
    return opened(_model_folder(folder))[0]


def _model_folder(folder: Path) -> Path:
    return folder / "model" if (folder / "model").is_dir() else folder


def _together(model: Surrogate) -> AbstractContextManager[bool]:
    """The processes that were started at once, where they are several; whether this is rank 0."""
    if distributed.from_environment().world == 1:
        return nullcontext(True)
    return following.together(model.pipeline)


def _write(
    folder: Path, request: Request, model: Surrogate, given: Given, store: Path | str
) -> None:
    """The ensemble, by this process or by all that were started with it."""
    with only_writer(Place.of(store), model.pipeline.name):
        found = existing(Place.of(store))
        wrote = write_ensemble(
            model,
            model.engine(),
            _with(list(found.cases) if found else [], folder, request, given),
            Wanted.of(model.pipeline),
            store,
            hands=sharing.hands_of(model.pipeline.runtime),
        )
    say_written(store, wrote)


def opened(folder: Path, overrides: Sequence[str] = ()) -> tuple[Surrogate, config.Loaded]:
    """The model of a folder, and its pipeline with what is to be different.

    Raises:
        ConfigError: For an override that is wrong, or that the model has no use for.
        StorageError: When there is no whole model.
    """
    file = folder / CONFIG
    if not file.exists():
        raise StorageError(f"{folder}: no trained model here; let `diffsci run` finish training")
    loaded = trained(file, overrides)
    section = loaded.pipeline.sample
    assert section is not None
    model = read_surrogate(folder, loaded.pipeline)
    for fault in of_sampling(section, loaded.pipeline.train, model.scalar_names):
        raise fault
    told = model.provenance | provenance(loaded.plain, section.seed)
    return replace(model, provenance=told), loaded


def steps_of(folder: Path, lead: str) -> int:
    """How many forecast steps of a run's model a duration is.

    Raises:
        ConfigError: When it is no whole number of them.
    """
    return leads_of(lead, opened(folder / "model")[0])


def training_entry(model: Surrogate, roots: tuple[Path, ...]) -> Entry | None:
    """What the catalog says of the training data, where the catalog is at hand."""
    data = model.pipeline.data
    try:
        return load_entry(str(data.entry), roots) if data.entry else None
    except DiffsciError:
        return None


def _say(model: Surrogate, given: Given, entry: Entry) -> None:
    keys = given.cases.keys
    shown = ", ".join(keys[:3]) + (f" and {len(keys) - 3} more" if keys[3:] else "")
    task = families.name_of(model.pipeline.data.task)
    log.info("sample: %s of %s from %s", task, shown, entry.location)
