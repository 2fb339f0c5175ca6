"""Where tracking is kept: the address of the store, its lock, and the addresses shown to people.

By default a store is `mlflow.db` in the working directory, with the artifacts in `mlartifacts/`
beside it. MLflow writes the artifacts' place as an absolute path into the database, so a folder
that was moved shows runs without pictures; `repair` puts such paths right.
"""

from __future__ import annotations

import re
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from diffsci.tracking.names import reason, redact

DEFAULT_NAME = "mlflow.db"
DEFAULT_URI = f"sqlite:///{DEFAULT_NAME}"
ARTIFACTS = "mlartifacts"
PORT = 5000


@dataclass(frozen=True, kw_only=True)
class Store:
    """A tracking store.

    Args:
        uri: What MLflow is told.
        database: The file, where the store is a local SQLite database.
    """

    uri: str
    database: Path | None = None

    @classmethod
    def of(cls, uri: str | None) -> Store:
        """The store of a `tracking.uri`; a relative path counts from the folder we are in now."""
        uri = uri or DEFAULT_URI
        match = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", uri)
        if match is None:
            return cls(uri=uri)
        database = Path(match[1]).resolve()
        # A path with these characters would not survive its way through an address.
        plain = not re.search(r"[%?#]", str(database))
        return cls(uri=f"sqlite:///{database}{match[2] or ''}" if plain else uri, database=database)

    @property
    def artifacts(self) -> Path | None:
        """The folder of the artifacts beside a local database."""
        return None if self.database is None else self.database.parent / ARTIFACTS

    @property
    def is_server(self) -> bool:
        """Whether it is a server with pages of its own."""
        return self.uri.startswith(("http://", "https://"))

    @property
    def name(self) -> str:
        """As people are told of it, without a password."""
        return redact(self.uri) if self.database is None else str(self.database)

    def page(self, experiment_id: str) -> str:
        """The page with an experiment's charts, where it is known which; see `first`."""
        if self.is_server:
            base = re.sub(r"(?<=://)[^/@\s]+@", "", self.uri).rstrip("/")
        elif self.first:
            base = f"http://127.0.0.1:{PORT}"
        else:
            return ""
        return f"{base}/#/experiments/{experiment_id}/{CHARTS}"

    @property
    def first(self) -> str:
        """What serves that page, as a clause with its comma; empty for what has its own."""
        if self.database is None and not re.match(r"(postgresql|mysql|mssql|sqlite)\b", self.uri):
            return ""
        if self.database is None or self.database.name != DEFAULT_NAME:
            return f"run `mlflow server --backend-store-uri {redact(self.uri)}`, then "
        where = self.database.parent
        return f"run `diffsci ui`{'' if where == Path.cwd() else f' in {where}'}, then "

    def check(self) -> None:
        """Find within some seconds whether the store answers.

        Raises:
            OSError: Naming what is wrong.
        """
        if self.database is not None:
            _check_database(self.database)
        elif self.uri.startswith(("http://", "https://")):
            _check_server(self.uri)
        elif "://" not in self.uri or self.uri.startswith(("file:", "sqlite:")):
            raise OSError(
                "is no tracking store that MLflow takes; give sqlite:///FILE.db or the http(s) "
                "address of a server"
            )

    @contextmanager
    def locked(self, seconds: float = 60.0) -> Iterator[None]:
        """Alone with a local database: two processes that make a new one at once would break it."""
        if self.artifacts is None:
            yield
            return
        try:
            import fcntl
        except ImportError:  # Windows has no flock; there a first start must be left to one process
            yield
            return
        self.artifacts.mkdir(parents=True, exist_ok=True)
        end = time.monotonic() + seconds
        with (self.artifacts / ".lock").open("a") as handle:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise OSError("is being set up by another process") from None
                    time.sleep(0.05)
            yield


# In any other order than by date the page lays the points of a sweep side by side; by date it folds
# them under their sweep, which has no metrics itself, and shows no chart at all.
CHARTS = (
    "runs?compareRunsMode=CHART&workflowType=machine_learning"
    "&orderByKey=metrics.%60test%2Fcrps%60&orderByAsc=true"
)


def _check_database(database: Path) -> None:
    if not database.parent.is_dir():
        raise OSError("its folder does not exist")
    try:
        with closing(sqlite3.connect(database, timeout=2.0)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE diffsci_can_write (x)")
            connection.rollback()
    except sqlite3.Error as error:
        raise OSError(f"cannot be written: {error}") from None


def _check_server(uri: str) -> None:
    address = re.sub(r"(?<=://)[^/@\s]+@", "", uri).rstrip("/")
    try:
        urllib.request.urlopen(f"{address}/health", timeout=2.0).close()
    except (
        urllib.error.HTTPError
    ) as error:  # it answers: whether it takes our runs MLflow will tell
        error.close()
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", error)
        raise OSError(f"does not answer ({reason(OSError(str(why)))})") from None


def repair(database: Path) -> int:
    """Point the paths of a moved or copied store at the folder beside it; returns how many."""
    here = database.parent / ARTIFACTS
    changed = 0
    with closing(sqlite3.connect(database, timeout=5.0)) as connection:
        known = "SELECT name FROM sqlite_master WHERE type = 'table'"
        tables = connection.execute(known).fetchall()
        for table, column, key in (
            ("experiments", "artifact_location", "experiment_id"),
            ("runs", "artifact_uri", "run_uuid"),
            ("logged_models", "artifact_location", "model_id"),
        ):
            if (table,) not in tables:
                continue  # a store of an older MLflow
            found = connection.execute(
                f"SELECT {key}, {column} FROM {table} WHERE {column} LIKE ?", (f"%/{ARTIFACTS}/%",)
            ).fetchall()
            for row, place in found:
                if place.startswith("mlflow-artifacts:"):
                    continue
                rest = place.rsplit(f"/{ARTIFACTS}/", 1)[1]
                wanted = here / rest
                if place not in (str(wanted), wanted.as_uri()) and wanted.is_dir():
                    connection.execute(
                        f"UPDATE {table} SET {column} = ? WHERE {key} = ?", (str(wanted), row)
                    )
                    changed += 1
        connection.commit()
    return changed


def newest_experiment(database: Path) -> str | None:
    """The experiment of the run that was started last."""
    with closing(sqlite3.connect(database, timeout=5.0)) as connection:
        row = connection.execute(
            "SELECT experiment_id FROM runs ORDER BY start_time DESC LIMIT 1"
        ).fetchone()
    return None if row is None else str(row[0])
