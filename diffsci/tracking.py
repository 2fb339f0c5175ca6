"""Tracking: what a run tells MLflow, and why MLflow can never hurt it. The only importer of mlflow.

The run folder is the record; MLflow is a view of it for comparing runs. Every method returns at
once: a thread sends what was handed over, in batches, and tries again while a server is away. What
goes wrong is said in one warning, and the run goes on.

The charts page makes a section of each prefix of the metrics' names up to the last `/`; one value
is a bar, several steps are a line. Hence `train/loss` (step: optimiser step), `test/crps` (once),
and `test_by_lead/crps` (step: lead, its unit in a tag), never `crps_6h`.

Longer than 300 lines, because everything that needs mlflow is here.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from diffsci.journal import Line
from diffsci.outbox import Outbox
from diffsci.sections import Tracking
from diffsci.tracker import NullTracker, Status, Tracker
from diffsci.tracking_names import code_tags, flatten, metric_name, reason, redact
from diffsci.tracking_store import Store, repair
from diffsci.ui import serve as ui

if TYPE_CHECKING:
    from types import ModuleType

    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

__all__ = ["NullTracker", "Status", "Tracker", "flatten", "start", "ui"]

log = logging.getLogger(__name__)

LOCAL_SECONDS = 60.0  # a new database takes one, on a busy machine ten
SERVER_SECONDS = 20.0
FINISH_SECONDS = 15.0

_SERIES = ("train/", "val/")


class MlflowTracker(Tracker):
    """A run in an MLflow store; made by `start`."""

    def __init__(self, client: MlflowClient, run: Run, store: Store, resumed: bool) -> None:
        self.run_id: str = run.info.run_id
        self.address = store.page(run.info.experiment_id)
        self._client = client
        self._files = _repository(store, run.info.artifact_uri, client, self.run_id)
        self._history: dict[str, dict[int, float]] | None = {} if resumed else None
        self._monitor = _system_metrics(self.run_id, store.uri, resumed)
        self._warned = self._finished = False
        self._outbox: Outbox[Any] = Outbox(self._send, _lasting, self._say)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Values at one step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch = [Metric(metric_name(k), float(v), now, int(step)) for k, v in values.items()]
        self._outbox.put(batch)

    def artifact(self, path: Path, under: str = "") -> None:
        """A file, at the artifact root or under a folder; it must stay until `finish`."""
        self._later(partial(self._files.log_artifact, str(path), under or None))

    def note(self, text: str) -> None:
        """The run's description, in Markdown."""
        tag = partial(self._client.set_tag, self.run_id, "mlflow.note.content")
        self._later(partial(tag, redact(text)[:8000]))

    def fill(self, lines: Sequence[Line]) -> int:
        """Send points of a journal that the store lacks, at once; returns how many there were.

        Raises:
            Exception: Whatever the store says.
        """
        from mlflow.entities import Metric

        # A later line tells of the same point anew: scores that were made again.
        told = {
            (metric_name(k), each.step): (v, each) for each in lines for k, v in each.values.items()
        }
        there: dict[str, set[int]] = {}
        for key in {key for key, _ in told}:
            points = self._client.get_metric_history(self.run_id, key)
            there[key] = {point.step for point in points}
        lacks = [
            Metric(key, value, line.time, step)
            for (key, step), (value, line) in told.items()
            if step not in there[key]
        ]
        for first in range(0, len(lacks), 1000):
            self._client.log_batch(self.run_id, metrics=lacks[first : first + 1000])
        return len(lacks)

    def finish(self, status: Status = "FINISHED") -> None:
        """Send what is left, for some seconds at most, and close the run; again does nothing."""
        if self._finished:
            return
        self._finished = True
        if self._monitor is not None:
            # Not by the outbox: what waits there before it may never go.
            stop = threading.Thread(target=self._monitor.finish, daemon=True)
            stop.start()
            stop.join(3.0)
        self._later(partial(self._client.set_terminated, self.run_id, status))
        lost = self._outbox.close(FINISH_SECONDS)
        if lost:
            log.warning("MLflow: %d items could not be sent; the run folder has everything", lost)

    def _later(self, call: Callable[[], object]) -> None:
        self._outbox.put([call])

    def _send(self, messages: list[Any]) -> int:
        """Send the metrics that come first, in one call, or else the one call that comes first."""
        if callable(messages[0]):
            messages[0]()
            return 1
        metrics = list(itertools.takewhile(lambda message: not callable(message), messages))
        fresh = [metric for metric in metrics if not self._known(metric)]
        if fresh:
            self._client.log_batch(self.run_id, metrics=fresh)
        return len(metrics)

    def _known(self, metric: Metric) -> bool:
        """Whether a resumed run has this point already: sent again, its curve would run back."""
        if self._history is None:
            return False
        if metric.key not in self._history:
            points = self._client.get_metric_history(self.run_id, metric.key)
            self._history[metric.key] = {point.step: point.value for point in points}
        past = self._history[metric.key]
        if metric.key.startswith(_SERIES):
            return bool(past) and metric.step <= max(past)
        # Scores are made anew when a later stage changed: then the new value is the one to show.
        return metric.step in past and repr(past[metric.step]) == repr(
            metric.value
        )  # nan equals nan

    def _say(self, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            log.warning("MLflow: %s; the run goes on", reason(error))


class _Uploads:
    """Artifacts of a run whose store is a server."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.log_artifact = partial(client.log_artifact, run_id)


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
    log.warning("this run is not tracked by MLflow: %s; the run goes on", reason(error))
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


def _repository(
    store: Store, artifact_uri: str, client: MlflowClient, run_id: str
) -> _Uploads | LocalArtifactRepository:
    """Where files go: an experiment made through a server names no place that is a path."""
    parts = urlsplit(artifact_uri)
    if store.artifacts is None or parts.scheme != "mlflow-artifacts":
        return _Uploads(client, run_id)
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    return LocalArtifactRepository(str(store.artifacts / unquote(parts.path).lstrip("/")))


def _system_metrics(run_id: str, uri: str, resumed: bool) -> SystemMetricsMonitor | None:
    """Processor and memory use, where psutil is installed (MLflow itself does not bring it)."""
    if importlib.util.find_spec("psutil") is None:
        log.warning("system metrics are not tracked: psutil is not installed (pip install psutil)")
        return None
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=resumed, tracking_uri=uri)  # type: ignore[no-untyped-call]
    monitor.start()  # type: ignore[no-untyped-call]
    return monitor


def _lasting(error: Exception) -> bool:
    """Whether trying again cannot help: a refused value, or a file that is not there."""
    asked = getattr(error, "get_http_status_code", None)
    # Uploads of files fail by the errors of the library below, which hold the answer.
    status = asked() if asked else getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return int(status) == 501 or (400 <= int(status) < 500 and int(status) not in (408, 429))
    return isinstance(error, FileNotFoundError | PermissionError | ValueError | TypeError)
