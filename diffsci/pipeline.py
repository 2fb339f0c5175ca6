"""A run from its pipeline file to its report: the stages, and how they hand on.

Each stage leaves its product in the run folder, recorded with a digest of what it was made from.
The same command again goes on from what is there and whole; a finished run is left as it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffsci import config, families
from diffsci.data.catalog import load_entry
from diffsci.errors import ConfigError, StorageError
from diffsci.files import sweep
from diffsci.running.changes import names
from diffsci.running.folder import STAGES, RunFolder, roots_of_run
from diffsci.running.locking import lock
from diffsci.sections import Pipeline
from diffsci.stages.owning import digests_of, of_today, owned
from diffsci.stages.training import from_point, mending

if TYPE_CHECKING:
    from diffsci.forecasting.surrogate import Surrogate

log = logging.getLogger(__name__)


def run(
    loaded: config.Loaded,
    out: Path | None = None,
    dry_run: bool = False,
    tags: Mapping[str, str] | None = None,
    allow: Sequence[str] = (),
) -> Path:
    """Run all stages of a pipeline, or those that are not done yet.

    Args:
        loaded: The pipeline.
        out: The run folder; by default `runs/<name>`.
        dry_run: Build and check everything, say what would be done, and read no data.
        tags: For the tracked run, beside its own.
        allow: Keys or sections of the pipeline, `data` or `code`, that may have changed since the
            folder's products were made; what had is recorded.

    Returns:
        The run folder.

    Raises:
        ConfigError: When it cannot be built.
        RankError: Under `torchrun`, when another process of the run ended.
    """
    folder = out or Path("runs") / loaded.pipeline.name
    loaded = replace(loaded, roots=roots_of_run(loaded.origin, loaded.roots))
    loaded = from_point.alone(loaded)
    try:
        if not _several():
            _run(loaded, folder, dry_run, tags, allow)
            return folder
        from diffsci.stages.ensembles import sharing
        from diffsci.stages.training import following

        with following.together(loaded.pipeline) as first:
            if first:
                _run(loaded, folder, dry_run, tags, allow)
            else:
                following.follow(loaded, folder)
                sharing.follow_run(loaded, folder)
    except ConfigError as error:
        raise config.placed(loaded, error) from error
    return folder


def _run(
    loaded: config.Loaded,
    folder: Path,
    dry_run: bool,
    tags: Mapping[str, str] | None,
    allow: Sequence[str],
) -> None:
    pipeline = loaded.pipeline
    for name in pipeline.data.entries:
        load_entry(name, loaded.roots)
    found = owned(loaded, folder, allow)
    if dry_run:
        _check_source(loaded, folder)
        _say_plan(pipeline, folder)
        return
    digests = digests_of(loaded.plain)
    wanted = [stage for stage in STAGES if getattr(pipeline, stage) is not None]
    if (
        found is not None
        and found.record["status"] == "done"
        and not any(names(word, "data.content") for word in allow)  # which has to be read for that
        and all(found.done(stage, digests[stage]) for stage in wanted)
        and mending.is_whole(found, digests["train"])
    ):
        mending.tell_damage(folder)
        log.info("%s: all stages are done (%s); nothing to do", folder, ", ".join(wanted))
        return
    _check_source(loaded, folder)
    from diffsci.stages import sequence

    with lock(folder, pipeline.name):
        for place in (folder, folder / "checkpoints", folder / "figures"):
            for name in sweep(place):
                log.info("%s: cleared what an interrupted run left: %s", place, name)
        text = config.to_yaml(loaded.plain)
        record = of_today(RunFolder.open(folder, loaded.plain, text, allow))
        mending.make_way(record, digests["train"])
        roots = [str(root) for root in loaded.roots]
        record.record.update(status="running", roots=roots)
        record.record.pop("error", None)
        record.save()
        sequence.Sequence(loaded, record, digests, dict(tags or {}), tuple(allow)).run()


def _check_source(loaded: config.Loaded, folder: Path) -> None:
    """That the run that `train.from` names is there and whole, before any data is read."""
    train = loaded.pipeline.train
    if train is None or train.from_ is None or RunFolder(folder, {}).holds_products:
        return  # one that is under way goes on without it
    from diffsci.stages.training import starting

    try:
        starting.Start.of(train.from_, loaded.roots)
    except ConfigError as error:
        raise from_point.refusal(loaded, error) from error


def _several() -> bool:
    """Whether this is one of several processes that were started at once, as by `torchrun`."""
    return os.environ.get("WORLD_SIZE", "1").strip() not in ("", "1")


def load(run: Path | str) -> Surrogate:
    """The trained model of a run, ready to sample.

    Args:
        run: A run folder, or its `model/` folder.

    Raises:
        StorageError: When there is no whole model.
    """
    from diffsci.forecasting.model_folder import CONFIG, check_manifest
    from diffsci.forecasting.opening import read_surrogate

    given = Path(run)
    folder = given / "model" if (given / "model").is_dir() else given
    if not given.exists():
        raise StorageError(f"{given}: no such folder; expected a run such as runs/quickstart")
    check_manifest(folder)
    return read_surrogate(folder, _trained(folder / CONFIG).pipeline)


def sample(
    run: Path,
    members: int | None = None,
    seed: int | None = None,
    out: Path | str | None = None,
    overrides: tuple[str, ...] = (),
) -> Path | str:
    """An ensemble for the test cases of a run in a store of its own, which grows by what it lacks.

    Args:
        run: The run folder.
        members: Members of each case; by default those of the run.
        seed: Of the noise; by default that of the run.
        out: The store; by default `forecast-m<members>-s<seed>.zarr` in the run folder.
        overrides: `KEY=VALUE` texts for `sample.*`, `runtime.*` and `data.split.test.*`.

    Returns:
        The store.

    Raises:
        ConfigError: For an override that would make another model.
        NumericsError: When members failed; the store has the others.
        StorageError: When there is no trained model, or the store was made from something else.
    """
    from diffsci.stages.ensembles import resampling

    texts = list(overrides)
    texts += [f"sample.members={members}"] if members is not None else []
    texts += [f"sample.seed={seed}"] if seed is not None else []
    loaded = _of_run(run, texts)
    if not _several():
        return resampling.resample(loaded, run, out)
    from diffsci.stages.training import following

    with following.together(loaded.pipeline) as first:
        if first:
            return resampling.resample(loaded, run, out)
        resampling.assist(loaded, run)
        return out or run


def verify(
    run: Path,
    store: Path | str | None = None,
    members: Sequence[int] = (),
    cases: Sequence[str] = (),
    overrides: tuple[str, ...] = (),
) -> str:
    """Check a store of a run: its chunks by their checksums, and members by computing them again.

    Args:
        run: The run folder.
        store: The store; by default the run's own.
        members: Numbers of those to compute again; by default the first.
        cases: Keys of the cases to do that for, such as `2020-01-01T00:00:00`; by default the
            first.
        overrides: `KEY=VALUE` texts that the store was made with.

    Returns:
        What was checked.

    Raises:
        ConfigError: For a member or case that is not there.
        NumericsError: When a member comes out otherwise.
        StorageError: When chunks are damaged, or the store is of something else.
    """
    from diffsci.stages.ensembles import verifying

    # The run's own store is made as its pipeline says, whatever was chosen afterwards.
    loaded = _of_run(run, list(overrides), tuned=store is not None)
    return verifying.verify(loaded, run, store, members, cases)


def _of_run(run: Path, texts: list[str], tuned: bool = True) -> config.Loaded:
    """The pipeline of a run's trained model, with what may be different in sampling."""
    for text in texts:
        if not text.startswith(("sample.", "runtime.", "data.split.test")):
            raise ConfigError(
                f"{text}: a trained model is sampled, so only sample.*, runtime.* and "
                "data.split.test.* can be given"
            )
    if not (run / "model" / "config.yaml").exists():
        raise StorageError(f"{run}: no trained model here; let `diffsci run` finish training first")
    if (run / "run.json").exists():
        stage = RunFolder.read(run).record["stages"].get("train", {})
        if stage.get("status", "done") != "done":
            raise StorageError(
                f"{run}: training goes on with what was allowed and is not done, so its model is "
                "that of before: let `diffsci run` finish it first"
            )
    loaded = _trained(run / "model" / "config.yaml", texts, tuned)
    return replace(loaded, roots=roots_of_run(loaded.origin, loaded.roots))


def _trained(file: Path, overrides: Sequence[str] = (), tuned: bool = True) -> config.Loaded:
    """The pipeline of a trained model, with the sampler that was chosen for it."""
    from diffsci.stages.ensembles.trained import trained

    return trained(file, overrides, tuned=tuned)


def _say_plan(pipeline: Pipeline, folder: Path) -> None:
    log.info("%s would be written by:", folder)
    log.info("  data: %s", ", ".join(pipeline.data.entries))
    task, domain = pipeline.data.task, pipeline.data.domain
    log.info("  domain %s, task %s", families.name_of(domain), families.name_of(task))
    if pipeline.train:
        log.info("  train: %d steps of %d", pipeline.train.steps, pipeline.train.batch_size)
    if pipeline.sample:
        sampler, calls = pipeline.sample.sampler, pipeline.sample.calls
        log.info(
            "  sample: %d members by %s, %d network calls each",
            pipeline.sample.members,
            "one call of the network" if sampler is None else families.name_of(sampler),
            calls,
        )
    if (section := pipeline.calibrate) is not None:
        most = "all" if section.cases is None else f"at most {section.cases}"
        log.info("  calibrate: %d members of %s validation cases", section.members, most)
    if pipeline.evaluate:
        log.info("  evaluate: scores, baselines, figures, report")
    log.info("nothing was read or written (--dry-run)")
