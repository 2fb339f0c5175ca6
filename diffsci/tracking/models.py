"""The model registry of MLflow: a run's model goes in with its code, and comes out as its folder.

A model goes in as "pyfunc from code": `pyfunc.py` and the model's folder, copied. What
comes out is read by `diffsci.load` alone, never by MLflow's loaders, so that no code of a registry
runs here.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diffsci
from diffsci.errors import ConfigError, StorageError
from diffsci.families import did_you_mean
from diffsci.sections import Tracking
from diffsci.tracking.names import reason
from diffsci.tracking.opening import KEY, quiet_mlflow
from diffsci.tracking.store import Store, repair

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

_ADDRESS = re.compile(r"models:/+(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[^/@]+))?")
_MANIFEST = "manifest.json"


def register(
    section: Tracking, run_id: str, model: Path, name: str, alias: str | None = None
) -> str:
    """Log the model of a run to MLflow and register it; returns `models:/NAME/VERSION`.

    Args:
        section: The pipeline's `tracking`.
        run_id: MLflow's name of the run that trained it.
        model: The folder `model/` of the run.
        name: In the registry.
        alias: Another name of this version, such as `champion`; it is taken from the one before.

    Raises:
        ConfigError: For a name that MLflow does not take.
        StorageError: When MLflow cannot be reached, or refuses.
    """
    check_names(name, alias)
    with _told(name), _client(section.uri) as client:
        import mlflow

        before = mlflow.get_tracking_uri()
        # What looks for the logged model asks MLflow's own setting, whatever the client was told.
        mlflow.set_tracking_uri(_store(section.uri).uri)
        try:
            with mlflow.start_run(run_id=run_id, log_system_metrics=False):
                logged = mlflow.pyfunc.log_model(
                    name="model",
                    python_model=str(Path(__file__).with_name("pyfunc.py")),
                    artifacts={"model": str(model.resolve())},
                    signature=_signature(),
                    pip_requirements=[f"diffsci=={diffsci.__version__}"],
                    metadata={"diffsci": diffsci.__version__},
                )
            version = _version_of(client, name, logged, run_id)
        finally:
            mlflow.set_tracking_uri(before)
        if alias:
            client.set_registered_model_alias(name, alias, version)
    return f"models:/{name}/{version}"


def run_of(section: Tracking, key: str) -> str | None:
    """MLflow's name of the run of a folder; none where the store does not know it.

    Args:
        section: With the address of the store.
        key: Of the folder, see `tracking.start`.

    Raises:
        StorageError: When MLflow cannot be reached.
    """
    with _told(key), _client(section.uri) as client:
        places = [each.experiment_id for each in client.search_experiments()]
        found = client.search_runs(places, f"tags.`{KEY}` = '{key}'", max_results=1)
        return found[0].info.run_id if found else None


def _version_of(client: MlflowClient, name: str, logged: Any, run_id: str) -> str:  # noqa: ANN401
    """A new version of a registered model, which is made where there is none of this name."""
    try:
        client.create_registered_model(name)
    except Exception as error:
        if "already exists" not in str(error):
            raise
    made = client.create_model_version(
        name, source=logged.model_uri, run_id=run_id, model_id=logged.model_id
    )
    return str(made.version)


def check_names(name: str, alias: str | None) -> None:
    """Refuse names that an address could not hold.

    Raises:
        ConfigError: Naming the option.
    """
    for option, text in (("--name", name), ("--alias", alias)):
        if text is None:
            continue
        fits = re.fullmatch(r"[^\W_][\w .-]{0,199}", text) is not None
        # MLflow keeps these words for versions: the newest, and `v1`, `v2`, ...
        taken = option == "--alias" and re.fullmatch(r"latest|v\d+|\d+", text.lower())
        if not fits or taken:
            raise ConfigError(
                f"{option}: got {text!r}, expected letters, digits, - _ . and blanks, a letter or "
                "digit first" + ("; no number, no v1 and not latest" if taken else "")
            )


def fetch(address: str) -> Path:
    """The model folder of a registered model.

    Args:
        address: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, or `models:/NAME` for the newest.

    Raises:
        ConfigError: For an address that is none.
        StorageError: When there is no such model, or MLflow cannot be reached.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ConfigError(
            f"{address}: expected models:/NAME@ALIAS, models:/NAME/VERSION or models:/NAME"
        )
    with _told(address), _client(None) as client:
        from mlflow.artifacts import download_artifacts

        version = _version(client, address, match)
        log.info("%s is version %s", address, version.version)
        uri = f"models:/{version.name}/{version.version}"
        folder = Path(download_artifacts(artifact_uri=uri, tracking_uri=_store(None).uri))
    found = sorted(folder.rglob(_MANIFEST))
    if not found:
        raise StorageError(
            f"{address}: was not registered by diffsci (it has no {_MANIFEST}); register a run "
            "with `diffsci register RUN --name NAME`"
        )
    return found[0].parent


def _version(client: MlflowClient, address: str, match: re.Match[str]) -> Any:  # noqa: ANN401
    """The version that an address means.

    Raises:
        StorageError: Naming those that are there.
    """
    name = match["name"]
    versions = list(client.search_model_versions(f"name = '{name}'"))
    if not versions:  # one that has none serves as little as one that is not there
        known = [each.name for each in client.search_registered_models() if each.name != name]
        near = did_you_mean(name, known)
        there = f"there are {', '.join(known)}" if known else "the registry is empty"
        raise StorageError(f"{address}: no registered model {name!r}{near}; {there}")
    if match["alias"]:
        aliases = client.get_registered_model(name).aliases
        if match["alias"] not in aliases:
            there = ", ".join(sorted(aliases)) or "none"
            near = did_you_mean(match["alias"], list(aliases))
            raise StorageError(f"{address}: no alias {match['alias']!r}{near}; there are {there}")
        wanted = str(aliases[match["alias"]])
    else:
        wanted = match["version"] or str(max(int(each.version) for each in versions))
    for each in versions:
        if str(each.version) == wanted:
            return each
    numbers = ", ".join(sorted((str(each.version) for each in versions), key=int))
    raise StorageError(f"{address}: no version {wanted}; there are {numbers}")


def _store(uri: str | None) -> Store:
    return Store.of(uri or os.environ.get("MLFLOW_TRACKING_URI"))


@contextmanager
def _client(uri: str | None) -> Iterator[MlflowClient]:
    store = _store(uri)
    if store.database is not None and not store.database.is_file():
        raise StorageError(
            f"there is no {store.database.name} in {store.database.parent}: change to the folder "
            "in which `diffsci run` was called, or set MLFLOW_TRACKING_URI"
        )
    try:
        store.check()
    except OSError as error:
        raise StorageError(f"MLflow at {store.name}: {error}") from None
    if store.database is not None:
        repair(store.database)
    yield quiet_mlflow().MlflowClient(store.uri)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """What MLflow raises, as one line."""
    try:
        yield
    except (ConfigError, StorageError):
        raise
    except Exception as error:  # mlflow's drivers and sockets raise what they like
        raise StorageError(f"{what}: MLflow: {reason(error)}") from error


def _signature() -> Any:  # noqa: ANN401  mlflow has no types
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    files = Schema([ColSpec("binary", "netcdf")])
    params = ParamSchema(
        [
            ParamSpec("members", "long", 0),
            ParamSpec("seed", "long", -1),
            ParamSpec("lead", "string", ""),
            ParamSpec("start", "string", ""),
            ParamSpec("within", "double", 10.0),
        ]
    )
    return ModelSignature(inputs=files, outputs=files, params=params)
