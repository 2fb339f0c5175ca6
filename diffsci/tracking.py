"""Tracking: how a run in MLflow is opened, and why MLflow can never hurt the run.

The run folder is the record; MLflow is a view of it for comparing runs. Every method returns at
once: a thread sends what was handed over, in batches, and tries again while a server is away. What
goes wrong is said in one warning, and the run goes on.

The charts page makes a section of each prefix of the metrics' names up to the last `/`; one value
is a bar, several steps are a line. Hence `train/loss` (step: optimiser step), `test/crps` (once),
and `test_by_lead/crps` (step: lead, its unit in a tag), never `crps_6h`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from diffsci.sections import Tracking
from diffsci.tracker import NullTracker, Status, Tracker
from diffsci.tracking_names import code_tags, flatten, reason, redact
from diffsci.tracking_sending import MlflowTracker
from diffsci.tracking_store import Store, repair
from diffsci.ui import serve as ui

if TYPE_CHECKING:
    from types import ModuleType

    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["NullTracker", "Status", "Tracker", "flatten", "start", "ui"]

log = logging.getLogger(__name__)

LOCAL_SECONDS = 60.0  # a new database takes one, on a busy machine ten
SERVER_SECONDS = 20.0


def start(
    section: Tracking,
    *,
    run_name: str,
    experiment: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    run_id: str | None = None,
    dataset: tuple[str, str, str] | None = None,
) -> Tracker:
    """Open a run, or go on with one; where MLflow fails, a warning and a tracker that does nothing.

    Args:
        section: The pipeline's `tracking`; its experiment, where given, is the one taken.
        run_name: Readable and unique, such as `quickstart-s0`.
        experiment: One for each question asked: data set and task.
        params: Nested or flat; what `flatten` makes of them is kept.
        tags: Such as `diffsci.pipeline` and `diffsci.lead_unit`.
        run_id: Of the run to go on with.
        dataset: Name, source and digest of what is learned from.
    """
    if not section.enabled:
        return NullTracker()
    store = Store.of(section.uri or os.environ.get("MLFLOW_TRACKING_URI"))
    try:
        store.check()
        quiet_mlflow()
    except Exception as error:  # whatever it is, it must not end the run
        return _untracked(error)

    def connect() -> Tracker:
        with store.locked():
            found = _open(store, section.experiment or experiment, run_name, tags, run_id)
            return _describe(*found, store, params, dataset)

    return _in_time(connect, LOCAL_SECONDS if store.database is not None else SERVER_SECONDS)


def _in_time(connect: Callable[[], Tracker], seconds: float) -> Tracker:
    """The tracker, or a silent one where there is none in time: MLflow itself waits much longer."""
    result: list[Tracker | Exception] = []
    given_up = threading.Event()

    def try_it() -> None:
        try:
            result.append(connect())
        except Exception as error:  # mlflow's drivers and sockets raise what they like
            result.append(error)
        if given_up.is_set() and isinstance(result[0], Tracker):
            result[0].finish("FAILED")

    thread = threading.Thread(target=try_it, name="diffsci-tracking-start", daemon=True)
    thread.start()
    thread.join(seconds)
    if not result:
        given_up.set()
        return _untracked(OSError(f"no answer within {seconds:.0f} s"))
    return result[0] if isinstance(result[0], Tracker) else _untracked(result[0])


def _untracked(error: Exception) -> Tracker:
    log.warning(
        "this run is not tracked by MLflow: %s; the run goes on, and `diffsci sync` sends it later",
        reason(error),
    )
    return NullTracker()


def quiet_mlflow() -> ModuleType:
    """The module, told to be quiet, to wait briefly, to phone nobody and to run no pickled code."""
    for name, value in (
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false"),
        ("MLFLOW_HTTP_REQUEST_TIMEOUT", "5"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1"),
        ("GIT_PYTHON_REFRESH", "quiet"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
    ):
        os.environ.setdefault(name, value)
    warnings.filterwarnings("ignore", module=r"(mlflow|sqlalchemy|alembic|pydantic)\b")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return mlflow


def _open(
    store: Store, experiment: str, run_name: str, tags: Mapping[str, str], run_id: str | None
) -> tuple[MlflowClient, Run, bool]:
    """The client, the run, and whether the run was there before."""
    client = quiet_mlflow().MlflowClient(store.uri)
    if store.database is not None:
        repair(store.database)
    found = client.get_experiment_by_name(experiment)
    if found is None:
        place = re.sub(r"[^A-Za-z0-9_-]+", "-", experiment).strip("-") or "runs"
        where = None if store.artifacts is None else (store.artifacts / place).as_uri()
        experiment_id = client.create_experiment(experiment, artifact_location=where)
    elif found.lifecycle_stage == "deleted":
        raise OSError(
            f"the experiment {experiment!r} was deleted: restore it or set tracking.experiment"
        )
    else:
        experiment_id = found.experiment_id
    all_tags = {key: redact(str(value))[:8000] for key, value in (code_tags() | dict(tags)).items()}
    if run_id is not None:
        run = _earlier(client, run_id)
        if run is not None:
            client.update_run(run_id, status="RUNNING")
            for key, value in all_tags.items():
                client.set_tag(run_id, key, value)
            return client, run, True
        log.warning("MLflow has no run %s any more; a new one is begun", run_id)
    return client, client.create_run(experiment_id, tags=all_tags, run_name=run_name), False


def _earlier(client: MlflowClient, run_id: str) -> Run | None:
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException:
        return None
    return run if run.info.lifecycle_stage == "active" else None


def _describe(
    client: MlflowClient,
    run: Run,
    resumed: bool,
    store: Store,
    params: Mapping[str, Any],
    dataset: tuple[str, str, str] | None,
) -> Tracker:
    """The tracker of an open run that has its params and its data set."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    wanted, past = flatten(params), run.data.params
    changed = sorted(key for key in wanted.keys() & past.keys() if wanted[key] != past[key])
    if changed:
        log.warning(
            "MLflow keeps the first value of a param; this run now has others for %s",
            ", ".join(changed),
        )
    fresh = [Param(key, value) for key, value in wanted.items() if key not in past]
    for first in range(0, len(fresh), 100):
        client.log_batch(run.info.run_id, params=fresh[first : first + 100])
    if dataset is not None and not resumed:
        name, source, digest = dataset
        where = json.dumps({"uri": redact(source)})
        entity = Dataset(name[:500], digest[:36], source_type="diffsci", source=where)
        context = [InputTag("mlflow.data.context", "training")]
        client.log_inputs(run.info.run_id, datasets=[DatasetInput(entity, context)])
    return MlflowTracker(client, run, store, resumed)
