"""A run's model in MLflow's registry, on request of the pipeline file or of the user."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from diffsci import config
from diffsci.errors import ConfigError, DiffsciError, StorageError
from diffsci.forecasting.model_folder import check_manifest
from diffsci.running.folder import RunFolder
from diffsci.sections import Tracking
from diffsci.tracking import models

log = logging.getLogger(__name__)


def register(run: Path, name: str, alias: str | None, overrides: Sequence[str] = ()) -> str:
    """Register the model of a run; returns its address in the registry.

    Args:
        run: The run folder.
        name: In the registry.
        alias: Another name of this version.
        overrides: `KEY=VALUE` texts for `tracking.*`, such as the `uri` of another store, which has
            to know the run.

    Raises:
        ConfigError: For a name that MLflow does not take, or another key.
        StorageError: When the run has no whole model or is not tracked, or MLflow refuses.
    """
    models.check_names(name, alias)
    check_manifest(run / "model")
    for text in overrides:
        if not text.startswith("tracking."):
            raise ConfigError(f"{text}: registering a model takes tracking.* alone")
    section = config.load(run / "config.yaml", overrides).pipeline.tracking
    record = RunFolder.read(run).record
    run_id = record.get("mlflow", {}).get("run_id")
    if overrides or run_id is None:
        told = record.get("tracked") or {}
        run_id = models.run_of(section, told.get("key", run.resolve().name))
    if run_id is None:
        where = section.uri or "the tracking store"
        raise StorageError(
            f"{run}: {where} does not know this run, so its model has no run to belong to: "
            f"`diffsci sync {run} --to {section.uri or 'URI'}` sends it there, then register it"
            + ("" if section.uri else " with tracking.uri=URI")
        )
    address = models.register(section, run_id, run / "model", name, alias)
    log.info("registered %s%s", address, f", alias {alias}" if alias else "")
    return address


def on_request(section: Tracking, run_id: str | None, model: Path) -> None:
    """At the end of a run, where the pipeline asks for it; what goes wrong is a warning."""
    if section.register is None or run_id is None:
        return
    try:
        address = models.register(section, run_id, model, section.register, section.alias)
    except DiffsciError as error:
        log.warning("the model was not registered: %s; `diffsci register` does it later", error)
        return
    log.info("  registered %s%s", address, f", alias {section.alias}" if section.alias else "")
