"""The tracked run of a run folder: what MLflow is told of it, and the journal that comes first."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import diffsci
from diffsci import config, families
from diffsci.evaluation.plots import NAMES
from diffsci.running import journal
from diffsci.running.folder import STAGES, RunFolder
from diffsci.running.journal import Journal
from diffsci.stages.journalled import Journalled
from diffsci.stages.prepare import Prepared
from diffsci.stages.scores import telling
from diffsci.tracking import opening as tracking
from diffsci.tracking.tracker import Tracker

PARAMS = ("data", "model", "train", "sample", "evaluate", "seed")
"""Sections of a pipeline that are the params of its run."""


_CONTEXTS = {"train": "training", "valid": "validation", "test": "testing"}
"""Part of the data -> what MLflow calls its use."""


def tracked(
    loaded: config.Loaded, folder: RunFolder, prepared: Prepared, more: Mapping[str, str]
) -> Tracker:
    """A new run of MLflow, or the one that this folder began, noted in its record.

    Args:
        loaded: The pipeline.
        folder: Of the run.
        prepared: The data, which names the experiment.
        more: Tags beside its own.
    """
    pipeline, plain = loaded.pipeline, loaded.plain
    allowed = folder.allowed
    tags = {
        "diffsci.pipeline": pipeline.name,
        "diffsci.adapter": families.name_of(pipeline.data.domain),
        "diffsci.task": families.name_of(pipeline.data.task),
        "diffsci.stage": ",".join(s for s in STAGES if getattr(pipeline, s) is not None),
        "diffsci.data_digest": prepared.digests["train"],
        "diffsci.version": diffsci.__version__,
        "diffsci.lead_unit": telling.lead_step_unit(prepared),
        **{f"diffsci.allowed.{c['key']}": f"{c['old']} -> {c['new']}" for c in allowed},
        **more,
    }
    name, task = f"{pipeline.name}-s{pipeline.seed}", families.name_of(pipeline.data.task)
    experiment = f"{prepared.name}-{task}"
    datasets = {
        word: (prepared.name, prepared.name, prepared.digests[part])
        for part, word in _CONTEXTS.items()
        if part in prepared.digests
    }
    before = folder.record.get("tracked", {})
    told = {"run_name": name, "experiment": experiment, "tags": tags, "datasets": datasets}
    key = before.get("key") or secrets.token_hex(8)
    folder.record["tracked"] = before | told | {"key": key}
    folder.save()  # before a run is begun: whatever happens next, it is found again by its key
    sent = tracking.start(
        pipeline.tracking,
        run_name=name,
        experiment=experiment,
        params={key: plain[key] for key in PARAMS},
        tags=tags,
        key=key,
        run_id=folder.record.get("mlflow", {}).get("run_id"),
        datasets=datasets,
    )
    tracker = Journalled(Journal(folder.path / journal.NAME), sent)
    if tracker.run_id:
        folder.record["mlflow"] = {"run_id": tracker.run_id, "address": tracker.address}
        folder.save()
    return tracker


def artifacts_of(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files of a run folder that belong to its run in MLflow, and under which folder there."""
    for name in ("config.yaml", "scores.csv", "scores.json", "report.html"):
        if (folder / name).exists():
            yield folder / name, ""
    for file in sorted((folder / "figures").glob("*.*")):
        # Those at the artifact root stand side by side in MLflow's comparison.
        yield file, "" if file.name in NAMES else "figures"
