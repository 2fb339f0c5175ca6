"""A model's ensemble as it is handed out: calibrated, where a calibration is kept with it."""

from __future__ import annotations

import logging
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

log = logging.getLogger(__name__)


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
    number = needed(model, engine, given, members)
    drawn = model.values(engine, given, range(number), seed)
    return brought(model, engine, given, drawn)[:, :members]


def needed(model: Surrogate, engine: Engine, given: Given, members: int) -> int:
    """How many members of each case have to be drawn for so many: the centre may take more."""
    by = recalibration(model, engine, max(1, len(given.cases.leads)))
    return members if by is None else max(members, by.centre)


def brought(
    model: Surrogate,
    engine: Engine,
    given: Given,
    drawn: Float[np.ndarray, "case member lead channel *space"],
) -> Float[np.ndarray, "case member lead channel *space"]:
    """Members as they were drawn, brought to what the model's calibration says, where it has one.

    Args:
        model: The model.
        engine: What drew them.
        given: The cases.
        drawn: As many as `needed` says, or more.
    """
    by = recalibration(model, engine, max(1, len(given.cases.leads)))
    if by is None:
        return drawn
    basis = Basis.of(model.grid) if by.edges else None
    made = by.part(slice(0, drawn.shape[2]), range(len(model.channels)))(drawn, basis)
    if model.pipeline.data.task.boundary:
        made = np.where(rim_of(model), drawn, made)
    elif given.kept is not None:
        made = np.where(np.isnan(given.kept)[:, None, None], made, drawn)
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
        **({"sample.persistent_noise": f"{share:g}"} if (share := engine.persistent_noise) else {}),
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


USUAL = (0.2, 5.0)
"""Factors of spread that a trained model may need: 0.6 to 1.9 were measured (docs/calibration.md).

By chance alone the factor of two cases, the fewest, is off by 50 %, of nine by 24 % (a standard
deviation of n numbers has the relative error 1 / sqrt(2 n)); neither brings 1.9 to 5.
"""


def warn_of_unusual(model: Surrogate) -> None:
    """Warn where a model's calibration would stretch or shrink its spread beyond belief."""
    by, section = model.calibration, model.pipeline.sample
    if by is None or (section is not None and not section.calibrated):
        return
    told = []
    for lead, channel in np.ndindex(*by.shift.shape):
        factors = by.spread[lead, channel]
        worst = factors[np.argmax(np.abs(np.log(np.maximum(factors, 1e-300))))]
        if not USUAL[0] <= worst <= USUAL[1]:
            told.append(f"{model.channels[channel].name}{_at(model, lead)} times {worst:.3g}")
    if told:
        more = f" and {len(told) - _SHOWN} more" if told[_SHOWN:] else ""
        log.warning(
            "calibrate: spread of %s%s, which is outside %g to %g (fitted on %d validation cases): "
            "the model may hardly be trained, or the cases be too few or too alike. Train longer, "
            "widen data.split.valid or calibrate.cases; sample.calibrated=false leaves members as "
            "they are drawn",
            ", ".join(told[:_SHOWN]),
            more,
            *USUAL,
            by.cases,
        )


_SHOWN = 6


def _at(model: Surrogate, lead: int) -> str:
    """Which lead, in words; none where there are no leads."""
    task = model.pipeline.data.task
    if not task.has_leads or model.step is None:
        return ""
    ahead = model.step * task.step * (lead + 1)
    return f" at {ahead:g} {model.time_unit}" if model.time_unit else f" at {ahead / 3.6e12:g} h"
