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
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from diffsci.errors import StorageError
from diffsci.sections import Tracking
from diffsci.tracking.names import code_tags, flatten, reason, redact
from diffsci.tracking.sending import MlflowTracker
from diffsci.tracking.store import Store, repair
from diffsci.tracking.tracker import NullTracker, Status, Tracker

if TYPE_CHECKING:
    from types import ModuleType

    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["NullTracker", "Status", "Tracker", "flatten", "start"]

log = logging.getLogger(__name__)

LOCAL_SECONDS = 60.0  # a new database takes one, on a busy machine ten
SERVER_SECONDS = 20.0

KEY = "diffsci.run"
"""Tag of a run: which folder it is of."""


def uri_of(section: Tracking) -> str | None:
    """The address that a pipeline means: its own, else MLflow's usual variable; none for ours."""
    return section.uri or os.environ.get("MLFLOW_TRACKING_URI")


def start(
    section: Tracking,
    *,
    run_name: str,
    experiment: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    key: str,
    run_id: str | None = None,
    datasets: Mapping[str, tuple[str, str, str]] = MappingProxyType({}),
    required: bool = False,
) -> Tracker:
    """Open a run, or go on with one; where MLflow fails, a warning and a tracker that does nothing.

    A folder has one run in a store: what was begun by a call that was killed, or that gave up
    before the store answered, is found again by its key.

    Args:
        section: The pipeline's `tracking`; its experiment, where given, is the one taken.
        run_name: Readable and unique, such as `quickstart-s0`.
        experiment: One for each question asked: data set and task.
        params: Nested or flat; what `flatten` makes of them is kept.
        tags: Such as `diffsci.pipeline` and `diffsci.lead_unit`.
        key: Of the folder whose run it is, the same in every call.
        run_id: Of the run to go on with, where it is known.
        datasets: What for, such as `training` -> name, source and digest of the data.
        required: Whether a store that fails is an error.

    Raises:
        StorageError: For such an error, naming the store.
    """
    if not section.enabled:
        return NullTracker()
    store, given_up = Store.of(uri_of(section)), threading.Event()
    all_tags = code_tags() | dict(tags) | {KEY: key}
    all_tags = {name: redact(str(value))[:8000] for name, value in all_tags.items()}

    def begin() -> Tracker:
        with store.locked():
            client, place = _experiment(store, section.experiment or experiment)
            run = _earlier(client, run_id) or _keyed(client, place, key)
            resumed = run is not None
            if run is not None:
                _reopen(client, run, all_tags)
            elif given_up.is_set():
                raise TimeoutError("nobody waits for this run any more")
            else:
                run = client.create_run(place, tags=all_tags, run_name=run_name)
            return _describe(client, run, resumed, store, params, datasets)

    try:
        store.check()
        quiet_mlflow()
        seconds = LOCAL_SECONDS if store.database is not None else SERVER_SECONDS
        return _in_time(begin, seconds, given_up)
    except Exception as error:  # mlflow's drivers and sockets raise what they like
        told = f"MLflow at {store.name}: {reason(error)}"
        if required:
            raise StorageError(told) from error
    log.warning(
        "this run is not tracked: %s; the run goes on, and `diffsci sync RUN` sends it later, with "
        "`--to URI` to another address",
        told,
    )
    return NullTracker()


def _in_time(begin: Callable[[], Tracker], seconds: float, given_up: threading.Event) -> Tracker:
    """The tracker, where there is one in time: MLflow itself waits much longer."""
    result: list[Tracker | Exception] = []

    def try_it() -> None:
        try:
            result.append(begin())
        except Exception as error:  # as above
            result.append(error)
        if given_up.is_set() and isinstance(result[0], Tracker):
            result[0].finish("KILLED")  # `diffsci sync` finds it by its key, and goes on with it

    thread = threading.Thread(target=try_it, name="diffsci-tracking-start", daemon=True)
    thread.start()
    thread.join(seconds)
    if not result:
        given_up.set()
        raise OSError(f"gave no answer within {seconds:.0f} s")
    if not isinstance(result[0], Tracker):
        raise result[0]
    return result[0]


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


def _experiment(store: Store, name: str) -> tuple[MlflowClient, str]:
    """The client, and the experiment, which is made where there is none."""
    client = quiet_mlflow().MlflowClient(store.uri)
    if store.database is not None:
        repair(store.database)
    found = client.get_experiment_by_name(name)
    if found is None:
        place = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "runs"
        where = None if store.artifacts is None else (store.artifacts / place).as_uri()
        return client, client.create_experiment(name, artifact_location=where)
    if found.lifecycle_stage == "deleted":
        raise OSError(f"the experiment {name!r} was deleted: restore it or set tracking.experiment")
    return client, found.experiment_id


def _earlier(client: MlflowClient, run_id: str | None) -> Run | None:
    """The run of this name; none where the store has none, or it was deleted."""
    from mlflow.exceptions import MlflowException

    if run_id is None:
        return None
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        # Any other error is of a store that is away, and no reason to begin a second run.
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        run = None
    if run is not None and run.info.lifecycle_stage == "active":
        return run
    log.warning("MLflow has no run %s any more; it is begun anew", run_id)
    return None


def _keyed(client: MlflowClient, experiment_id: str, key: str) -> Run | None:
    """The run that an earlier call began for the same folder, and could not tell of."""
    found = client.search_runs([experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1)
    return found[0] if found else None


def _reopen(client: MlflowClient, run: Run, tags: Mapping[str, str]) -> None:
    client.update_run(run.info.run_id, status="RUNNING")
    for name, value in tags.items():
        client.set_tag(run.info.run_id, name, value)


def _describe(
    client: MlflowClient,
    run: Run,
    resumed: bool,
    store: Store,
    params: Mapping[str, Any],
    datasets: Mapping[str, tuple[str, str, str]],
) -> Tracker:
    """The tracker of an open run that has its params and its data sets."""
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
    given = []
    for word, (name, source, digest) in datasets.items():
        where = json.dumps({"uri": redact(source)})
        entity = Dataset(name[:500], digest[:36], source_type="diffsci", source=where)
        given.append(DatasetInput(entity, [InputTag("mlflow.data.context", word)]))
    if given and not resumed:
        client.log_inputs(run.info.run_id, datasets=given)
    return MlflowTracker(client, run, store, resumed)
