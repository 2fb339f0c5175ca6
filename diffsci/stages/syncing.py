"""Fill the gaps of a run's MLflow run from its journal: what was told while the store was away."""

from __future__ import annotations

import logging
from pathlib import Path

from diffsci import config, journal, tracking
from diffsci.errors import StorageError
from diffsci.locking import lock
from diffsci.run_folder import RunFolder
from diffsci.tracking_names import reason

log = logging.getLogger(__name__)

PARAMS = ("data", "model", "train", "sample", "evaluate", "seed")
"""Sections of a pipeline that are the params of its run."""

_STATUS: dict[str, tracking.Status] = {"done": "FINISHED", "failed": "FAILED"}


def sync(run: Path) -> int:
    """Send every point of the journal that MLflow lacks; a run that is not there is begun.

    Args:
        run: The run folder.

    Returns:
        How many points were sent.

    Raises:
        StorageError: When the run is being written, or MLflow cannot be reached.
    """
    with lock(run):
        folder = RunFolder.read(run)
        told = folder.record.get("tracked")
        section = config.load(run / "config.yaml").pipeline.tracking
        if told is None or not section.enabled:
            why = "tracking.enabled is false" if told else "it is of an older version"
            raise StorageError(f"{run}: the run does not say how MLflow would know it ({why})")
        plain = folder.record["config"]
        tracker = tracking.start(
            section,
            run_name=told["run_name"],
            experiment=told["experiment"],
            params={key: plain[key] for key in PARAMS},
            tags=told["tags"],
            run_id=folder.record.get("mlflow", {}).get("run_id"),
        )
        if tracker.run_id is None:
            raise StorageError(f"{run}: MLflow cannot be reached; nothing was sent")
        folder.record["mlflow"] = {"run_id": tracker.run_id, "address": tracker.address}
        folder.save()
        try:
            sent = tracker.fill(journal.read(run / journal.NAME))
        except Exception as error:  # mlflow's drivers and sockets raise what they like
            raise StorageError(
                f"{run}: MLflow: {reason(error)}; the same command goes on"
            ) from None
        finally:
            tracker.finish(_STATUS.get(folder.record["status"], "KILLED"))
    return sent
