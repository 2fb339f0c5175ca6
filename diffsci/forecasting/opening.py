"""A trained model from its folder: every file is held to its checksum before it is believed."""

from __future__ import annotations

import json
from pathlib import Path

from diffsci.data.fields import Channel
from diffsci.data.statistics import Statistics
from diffsci.diffusion.variance import VarianceTable
from diffsci.errors import StorageError
from diffsci.forecasting.calibration.recalibration import Recalibration
from diffsci.forecasting.denoiser_of import denoiser_of, ports_of
from diffsci.forecasting.model_folder import (
    CALIBRATION,
    CONFIG,
    DESCRIPTION,
    FORMAT,
    VARIANCE,
    WEIGHTS,
    check_manifest,
    read_weights,
    told_of_choice,
)
from diffsci.forecasting.surrogate import Surrogate
from diffsci.grid import Grid
from diffsci.sections import Pipeline
from diffsci.training.ema import assign


def read_surrogate(folder: Path, pipeline: Pipeline) -> Surrogate:
    """A surrogate from its folder; every file is checked against its checksum first.

    Args:
        folder: `model/` of a run.
        pipeline: From the folder's `config.yaml`.

    Raises:
        StorageError: For a file that is missing or damaged, or a newer format.
    """
    sums = check_manifest(folder)
    described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    if described["format"] > FORMAT:
        raise StorageError(
            f"{folder / DESCRIPTION}: format {described['format']} is newer than {FORMAT}, which "
            "this diffsci reads; update diffsci"
        )
    grid = Grid.from_dict(described["grid"])
    channels = tuple(
        Channel(**{**one, "attributes": tuple(tuple(pair) for pair in one["attributes"])})
        for one in described["channels"]
    )
    ports = ports_of(pipeline, channels, len(described["scalar_names"]), grid)
    denoiser = denoiser_of(pipeline, ports)
    try:
        assign(denoiser, read_weights(folder / WEIGHTS))
    except ValueError as error:
        raise StorageError(
            f"{folder / WEIGHTS}: does not fit {CONFIG} ({error}); where a diffsci wrote it whose "
            "networks were built otherwise (run.json names its version), use that one, or train "
            "again"
        ) from None
    table = None
    if VARIANCE in sums:
        table = VarianceTable.from_tensors(read_weights(folder / VARIANCE))
    kept = None
    if CALIBRATION in sums:
        text = (folder / CALIBRATION).read_text(encoding="utf-8")
        kept = Recalibration.from_json(text, str(folder / CALIBRATION))
    told = described["provenance"] | {"diffsci_model": sums[WEIGHTS][:16]}
    return Surrogate(
        pipeline=pipeline,
        denoiser=denoiser.eval(),
        statistics=Statistics.load(folder),
        grid=grid,
        channels=channels,
        scalar_names=tuple(described["scalar_names"]),
        time_unit=described["time_unit"],
        step=described["step"],
        provenance=told | told_of_choice(folder, pipeline.sample and pipeline.sample.sampler),
        variance=table,
        calibration=kept,
    )
