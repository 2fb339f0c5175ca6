"""An open run in MLflow: metrics, files and notes, sent by a thread while the run goes on."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from diffsci.running.journal import Line
from diffsci.tracking.names import metric_name, reason, redact
from diffsci.tracking.outbox import Outbox
from diffsci.tracking.store import Store
from diffsci.tracking.tracker import Status, Tracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

log = logging.getLogger(__name__)

FINISH_SECONDS = 15.0

_SERIES = ("train/", "val/")


class MlflowTracker(Tracker):
    """A run in an MLflow store; made by `start`."""

    def __init__(self, client: MlflowClient, run: Run, store: Store, resumed: bool) -> None:
        self.run_id: str = run.info.run_id
        self.address, self.first = store.page(run.info.experiment_id), store.first
        self._client, self._store = client, store.name
        self._files = _repository(store, run.info.artifact_uri, client, self.run_id)
        self._history: dict[str, dict[int, float]] | None = {} if resumed else None
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
        self._later(partial(self._client.set_terminated, self.run_id, status))
        lost = self._outbox.close(FINISH_SECONDS)
        if lost:
            log.warning(
                "MLflow: %d items could not be sent; the run folder has everything, and "
                "`diffsci sync RUN` sends it",
                lost,
            )

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
            log.warning(
                "MLflow at %s: %s; the run goes on, and what is not sent by its end is sent by "
                "`diffsci sync RUN`",
                self._store,
                reason(error),
            )


class _Uploads:
    """Artifacts of a run whose store is a server."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.log_artifact = partial(client.log_artifact, run_id)


def _repository(
    store: Store, artifact_uri: str, client: MlflowClient, run_id: str
) -> _Uploads | LocalArtifactRepository:
    """Where files go: an experiment made through a server names no place that is a path."""
    parts = urlsplit(artifact_uri)
    if store.artifacts is None or parts.scheme != "mlflow-artifacts":
        return _Uploads(client, run_id)
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    return LocalArtifactRepository(str(store.artifacts / unquote(parts.path).lstrip("/")))


def _lasting(error: Exception) -> bool:
    """Whether trying again cannot help: a refused value, or a file that is not there."""
    asked = getattr(error, "get_http_status_code", None)
    # Uploads of files fail by the errors of the library below, which hold the answer.
    status = asked() if asked else getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return int(status) == 501 or (400 <= int(status) < 500 and int(status) not in (408, 429))
    return isinstance(error, FileNotFoundError | PermissionError | ValueError | TypeError)
