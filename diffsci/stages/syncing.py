"""Fill the gaps of a run's MLflow run from its journal: what was told while the store was away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffsci import config
from diffsci.errors import ConfigError, FieldError, StorageError
from diffsci.running import journal
from diffsci.running.folder import RunFolder
from diffsci.running.locking import lock
from diffsci.sections import Tracking
from diffsci.stages.tracked import PARAMS, artifacts_of
from diffsci.tracking import opening as tracking
from diffsci.tracking.names import reason
from diffsci.tracking.store import Store

_STATUS: dict[str, tracking.Status] = {"done": "FINISHED", "failed": "FAILED"}


def sync(run: Path, to: str | None = None) -> int:
    """Send every point of the journal that MLflow lacks, and the files that belong to the run.

    A folder has one run in a store: it is gone on with, and begun where there is none.

    Args:
        run: The run folder.
        to: Address of another store than the one of `tracking.uri`.

    Returns:
        How many points were sent.

    Raises:
        ConfigError: For an address that is none.
        StorageError: When the run is being written, or MLflow cannot be reached.
    """
    with lock(run, elsewhere=False):
        folder = RunFolder.read(run)
        told = folder.record.get("tracked")
        section = _section(run, to)
        if told is None:
            raise StorageError(
                f"{run}: run.json does not say how MLflow would know the run: it was made by an "
                "older version, or has not read its data yet; let `diffsci run` go on first"
            )
        plain, known = folder.record["config"], folder.record.get("mlflow", {})
        try:
            tracker = tracking.start(
                section,
                run_name=told["run_name"],
                experiment=told["experiment"],
                params={key: plain[key] for key in PARAMS},
                tags=told["tags"],
                key=told.get("key", known.get("run_id", run.resolve().name)),
                run_id=None if to else known.get("run_id"),
                datasets=_datasets(told),
                required=True,
            )
        except StorageError as error:
            # A run that is done takes no other `tracking.uri`, as its command has nothing to do.
            again = "start it and give the same command again"
            other = f"or send to the right address with `diffsci sync {run} --to URI`"
            told = f"{run}: nothing was sent. {error}; {again}; {other}"
            raise StorageError(told) from None
        if to is None:  # a store that was named once is found again by the key
            folder.record["mlflow"] = {"run_id": tracker.run_id, "address": tracker.address}
            folder.save()
        try:
            sent = tracker.fill(journal.read(run / journal.NAME))
        except Exception as error:  # mlflow's drivers and sockets raise what they like
            where = Store.of(tracking.uri_of(section)).name
            raise StorageError(
                f"{run}: MLflow at {where}: {reason(error)}; the same command sends what is left"
            ) from None
        else:
            for file, under in artifacts_of(run):
                tracker.artifact(file, under)
            if "note" in told:
                tracker.note(told["note"])
        finally:
            tracker.finish(_STATUS.get(folder.record["status"], "KILLED"))
    return sent


def _datasets(told: Mapping[str, Any]) -> dict[str, tuple[str, str, str]]:
    """What for -> name, source and digest; older records have that of training alone."""
    old = {"training": told["dataset"]} if told.get("dataset") else {}
    return {word: tuple(each) for word, each in told.get("datasets", old).items()}


def _section(run: Path, to: str | None) -> Tracking:
    """Where to send it.

    Raises:
        ConfigError: For an address that is none.
        StorageError: Where the pipeline says that it is not to be tracked, and nothing else is.
    """
    section = config.load(run / "config.yaml").pipeline.tracking
    if to is not None:
        try:
            return replace(section, enabled=True, uri=to)
        except FieldError as error:
            raise ConfigError(f"--to: got {error.value!r}, expected {error.expected}") from None
    if not section.enabled:
        raise StorageError(
            f"{run}: tracking.enabled is false in its config.yaml; `diffsci sync {run} --to URI` "
            "sends it, such as --to sqlite:///mlflow.db"
        )
    return section
