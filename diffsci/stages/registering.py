"""A run's model in MLflow's registry, on request of the pipeline file or of the user."""

from __future__ import annotations

import logging
from pathlib import Path

from diffsci import config, tracking_models
from diffsci.errors import DiffsciError, StorageError
from diffsci.forecasting.model_folder import check_manifest
from diffsci.run_folder import RunFolder
from diffsci.sections import Tracking

log = logging.getLogger(__name__)


def register(run: Path, name: str, alias: str | None) -> str:
    """Register the model of a run; returns its address in the registry.

    Raises:
        ConfigError: For a name that MLflow does not take.
        StorageError: When the run has no whole model or is not tracked, or MLflow refuses.
    """
    tracking_models.check_names(name, alias)
    check_manifest(run / "model")
    section = config.load(run / "config.yaml").pipeline.tracking
    run_id = RunFolder.read(run).record.get("mlflow", {}).get("run_id")
    if run_id is None:
        raise StorageError(
            f"{run}: is not tracked by MLflow, so its model has no run to belong to; `diffsci sync "
            f"{run}` makes one, where tracking.enabled is true"
        )
    address = tracking_models.register(section, run_id, run / "model", name, alias)
    log.info("registered %s%s", address, f", alias {alias}" if alias else "")
    return address


def on_request(section: Tracking, run_id: str | None, model: Path) -> None:
    """At the end of a run, where the pipeline asks for it; what goes wrong is a warning."""
    if section.register is None or run_id is None:
        return
    try:
        address = tracking_models.register(section, run_id, model, section.register, section.alias)
    except DiffsciError as error:
        log.warning("the model was not registered: %s; `diffsci register` does it later", error)
        return
    log.info("  registered %s%s", address, f", alias {section.alias}" if section.alias else "")
