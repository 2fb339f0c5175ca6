"""A model's ensemble as it is handed out: calibrated, where a calibration is kept with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from diffsci.data.examples.rims import rim
from diffsci.diffusion.basis import Basis
from diffsci.forecasting.calibration.recalibration import Recalibration
from diffsci.forecasting.constraining import bounds_of
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.given import Given

if TYPE_CHECKING:
    from diffsci.forecasting.surrogate import Surrogate


def ensemble(
    model: Surrogate, engine: Engine, given: Given, members: int, seed: int
) -> Float[np.ndarray, "case member lead channel *space"]:
    """The first members of some cases, in physical units.

    Args:
        model: The model.
        engine: Where it computes.
        given: The cases.
        members: How many; more are drawn where the centre of a case takes them.
        seed: Of the noise.
    """
    by = recalibration(model, engine, max(1, len(given.cases.leads)))
    if by is None:
        return model.values(engine, given, range(members), seed)
    drawn = model.values(engine, given, range(max(members, by.centre)), seed)
    basis = Basis.of(model.grid) if by.edges else None
    by = by.part(slice(0, drawn.shape[2]), range(len(model.channels)))
    made = by(drawn, basis)[:, :members]
    if model.pipeline.data.task.boundary:
        made = np.where(rim_of(model), drawn[:, :members], made)
    elif given.kept is not None:
        made = np.where(np.isnan(given.kept)[:, None, None], made, drawn[:, :members])
    kept = model.pipeline.sample.constraints if model.pipeline.sample else ()
    flat = bounds_of(kept, model.channels).physical(made.reshape(-1, *made.shape[2:]))
    return flat.reshape(made.shape)


def recalibration(model: Surrogate, engine: Engine, leads: int) -> Recalibration | None:
    """What a model's members are brought to; none where nothing is kept, or it is not wanted.

    Args:
        model: The model.
        engine: What draws them.
        leads: Forecast steps of the ensemble.

    Raises:
        ConfigError: For a calibration that was fitted for something else.
    """
    section = model.pipeline.sample
    if model.calibration is None or (section is not None and not section.calibrated):
        return None
    model.calibration.require_for(made_for(model, engine), leads)
    return model.calibration


def made_for(model: Surrogate, engine: Engine) -> dict[str, str]:
    """What decides how wrong a model's members are, for a calibration to be held to."""
    section = model.pipeline.sample
    return {
        "model": str(model.provenance.get("diffsci_model", "")),
        "sample.sampler": repr(engine.sampler),
        "sample.guidance": repr(engine.guidance),
        "sample.perturb": repr(section.perturb if section else None),
        "sample.observed": repr(section.observed if section else None),
    }


def given_cells(
    model: Surrogate, drawn: xr.Dataset, case: dict[str, int]
) -> Bool[np.ndarray, "*space"] | None:
    """Cells that were given to a case, which no calibration moves; none where there are none.

    Args:
        model: Its task says what is given.
        drawn: The store of its members.
        case: Place of the case along its dim.
    """
    if model.pipeline.data.task.boundary:
        return rim_of(model)
    known = drawn.coords.get("known")
    return None if known is None else np.asarray(known.isel(case).values > 0)


def rim_of(model: Surrogate) -> Bool[np.ndarray, "*space"]:
    """Cells that a forecast of a limited area is given."""
    return rim(model.grid, model.pipeline.data.task.boundary).numpy()
