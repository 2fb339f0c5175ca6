"""The tracked run of a run folder: what MLflow is told of it, and the journal that comes first."""

from __future__ import annotations

from collections.abc import Mapping

import diffsci
from diffsci import config, families, journal, tracking
from diffsci.journal import Journal
from diffsci.run_folder import STAGES, RunFolder
from diffsci.stages.journalled import Journalled
from diffsci.stages.prepare import Prepared
from diffsci.stages.scores import telling
from diffsci.stages.syncing import PARAMS
from diffsci.tracker import Tracker


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
    allowed = folder.record.get("allowed", ())
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
    folder.record["tracked"] = {"run_name": name, "experiment": experiment, "tags": tags}
    sent = tracking.start(
        pipeline.tracking,
        run_name=name,
        experiment=experiment,
        params={key: plain[key] for key in PARAMS},
        tags=tags,
        run_id=folder.record.get("mlflow", {}).get("run_id"),
        dataset=(prepared.name, prepared.name, prepared.train.digest),
    )
    folder.save()
    tracker = Journalled(Journal(folder.path / journal.NAME), sent)
    if tracker.run_id:
        folder.record["mlflow"] = {"run_id": tracker.run_id, "address": tracker.address}
        folder.save()
    tracker.artifact(folder.path / "config.yaml")
    return tracker
