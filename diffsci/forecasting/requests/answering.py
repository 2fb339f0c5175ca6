"""One question to a trained model: initial conditions in a file, the ensemble in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from diffsci.data.catalog import Entry
from diffsci.errors import ConfigError
from diffsci.forecasting.calibration.calibrated import ensemble
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.given import Given
from diffsci.forecasting.requests.conditions import given_for
from diffsci.forecasting.requests.durations import MOST_LEADS, leads_of
from diffsci.forecasting.requests.plausible import WITHIN
from diffsci.forecasting.requests.starts import given_from
from diffsci.forecasting.surrogate import Surrogate


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked for; none takes what the pipeline says.

    Args:
        members: Of each case.
        seed: Of the noise.
        lead: How far, as a duration or a number of steps.
        starts: Times of the file; empty takes the latest possible.
        within: Standard deviations that the mean of a field may lie from that of training.
    """

    members: int | None = None
    seed: int | None = None
    lead: str | None = None
    starts: tuple[str, ...] = ()
    within: float = WITHIN


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A question that fits the model, ready to be computed.

    Args:
        model: With the settings that were asked for.
        given: The cases.
        members: Of each of them.
        seed: Of the noise.
    """

    model: Surrogate
    given: Given
    members: int
    seed: int

    @property
    def bytes(self) -> int:
        """Of the answer's values."""
        return _bytes(self.model, len(self.given.cases), self.members, len(self.given.cases.leads))

    def answer(self, engine: Engine) -> xr.Dataset:
        """The labelled ensemble.

        Args:
            engine: Of the model; made once, it serves many questions.
        """
        values = ensemble(self.model, engine, self.given, self.members, self.seed)
        return self.model.label(values, self.given.cases, np.arange(self.members))


def _bytes(model: Surrogate, cases: int, members: int, leads: int) -> int:
    cells = len(model.channels) * math.prod(model.grid.sizes)
    return 4 * cases * members * max(1, leads) * cells


def least_bytes(model: Surrogate, question: Question) -> tuple[int, int]:
    """Of the answer's values at least, and of one member of one case, before anything is read.

    Raises:
        ConfigError: For a lead that is no whole number of steps, or too many of them.
    """
    section = model.pipeline.sample
    assert section is not None
    leads = 1
    if model.pipeline.data.task.has_leads:
        leads = section.leads if question.lead is None else leads_of(question.lead, model)
    members = section.members if question.members is None else question.members
    one = _bytes(model, 1, 1, leads)
    return one * members * max(1, len(question.starts)), one


def most_leads(model: Surrogate) -> int:
    """Forecast steps that can be asked for: no more than the calibration in use was fitted to."""
    by, section = model.calibration, model.pipeline.sample
    if by is None or (section is not None and not section.calibrated):
        return MOST_LEADS
    return min(by.leads, MOST_LEADS)


def planned(model: Surrogate, entry: Entry | None, question: Question) -> Plan:
    """The question, held to the model.

    Args:
        model: Trained.
        entry: The file with what is given; none where nothing is.
        question: What is asked for.

    Raises:
        ConfigError: For a number out of range, or a lead that is no whole number of steps.
        DataError: For a file that does not fit, naming what.
    """
    section = model.pipeline.sample
    assert section is not None
    leads = section.leads if question.lead is None else leads_of(question.lead, model)
    asked = replace(
        section,
        leads=leads,
        members=section.members if question.members is None else question.members,
        seed=section.seed if question.seed is None else question.seed,
    )
    train = model.pipeline.train
    if asked.members > 1 and train and not train.objective.varied:
        raise ConfigError(f"members: got {asked.members}, expected 1: this model's are equal")
    if entry is None:
        given = given_for(model, None, leads)
    else:
        given = given_from(model, entry, question.starts, leads, within=question.within)
    told = model.provenance | {"diffsci_seed": asked.seed}
    return Plan(
        model=replace(model, provenance=told), given=given, members=asked.members, seed=asked.seed
    )
