"""Surrogate: a trained model with all it needs to make labelled ensembles, and no training data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import xarray as xr
from jaxtyping import Float

from diffsci import families
from diffsci.data.fields import Cases, Channel
from diffsci.data.statistics import Statistics
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.guidance.base import Guidance
from diffsci.diffusion.variance import VarianceTable
from diffsci.errors import ConfigError
from diffsci.forecasting.calibration.calibrated import ensemble
from diffsci.forecasting.calibration.recalibration import Recalibration
from diffsci.forecasting.constraining import Constrained, bounds_of
from diffsci.forecasting.denoiser_of import ports_of
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.given import Given
from diffsci.forecasting.model_folder import (
    CALIBRATION,
    CONFIG,
    DESCRIPTION,
    FORMAT,
    VARIANCE,
    WEIGHTS,
    fresh_model,
    kept_choice,
)
from diffsci.forecasting.observations import Observations, checked
from diffsci.forecasting.perturbing import Perturbation
from diffsci.forecasting.requests.conditions import given_for
from diffsci.forecasting.requests.plausible import WITHIN
from diffsci.forecasting.rows import Rows
from diffsci.forecasting.tiles import Tiling
from diffsci.grid import Grid
from diffsci.runtime import Device
from diffsci.sections import Pipeline
from diffsci.training.ema import weights_of


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """A trained model.

    Args:
        pipeline: What it was made by.
        denoiser: With the averaged weights, in evaluation mode.
        statistics: Of the training period.
        grid: Where its fields sit.
        channels: What its channels are.
        scalar_names: The numbers it is given; a class is `label=0`, `label=1`, ...
        time_unit: Unit of float times.
        step: One data step in the time unit, or nanoseconds for dates; none where there is none.
        provenance: Digests and versions, for the stores it makes.
        variance: Posterior variance of its estimates, for samplers that need it; none where it was
            not estimated.
        calibration: What its members are brought to; none where nothing was fitted.
    """

    pipeline: Pipeline
    denoiser: Denoiser
    statistics: Statistics
    grid: Grid
    channels: tuple[Channel, ...]
    scalar_names: tuple[str, ...]
    time_unit: str
    step: float | None
    provenance: dict[str, Any]
    variance: VarianceTable | None = None
    calibration: Recalibration | None = None

    def __repr__(self) -> str:
        pipeline, weights = self.pipeline, sum(p.numel() for p in self.denoiser.parameters())
        names = ", ".join(f"{channel.name} ({channel.unit})" for channel in self.channels)
        size = " x ".join(str(size) for size in self.grid.sizes)
        task = type(pipeline.data.task).__name__
        return f"<Surrogate {pipeline.name}: {task} of {names} on {size}, {weights:,} weights>"

    def sample(
        self,
        condition: xr.Dataset | xr.DataArray | Sequence[object] | None = None,
        *,
        members: int | None = None,
        seed: int | None = None,
        leads: int | None = None,
        observed: Observations | None = None,
        guidance: Guidance | None = None,
        within: float = WITHIN,
    ) -> xr.Dataset:
        """An ensemble in physical units, labelled as the forecast store is.

        Args:
            condition: What is known. Downscaling: the coarse field (or a fine one, which is made
                coarse). Forecasting: the last frames. Generating: the classes or parameters of each
                sample, as a sequence or a Dataset; nothing where the model takes none.
            members: Members of each case; by default as the pipeline says.
            seed: Of the noise; by default as the pipeline says.
            leads: Forecast steps; by default as the pipeline says.
            observed: Observations of each case, towards which its members are drawn.
            guidance: How; by default as the pipeline says, else `posterior` where there are
                observations.
            within: Standard deviations that a field's mean may lie from that of training.

        Raises:
            ConfigError: For a number out of range.
            DataError: When the condition does not fit the model: names, units, grid or frames.
            NumericsError: When sampling leaves the finite numbers.
        """
        section = self.pipeline.sample
        assert section is not None
        wanted = replace(
            section,
            members=section.members if members is None else members,
            seed=section.seed if seed is None else seed,
            leads=section.leads if leads is None else leads,
        )
        if wanted.leads > 1 and not self.pipeline.data.task.has_leads:
            raise ConfigError(
                f"leads: got {wanted.leads}, expected 1: this model does not forecast"
            )
        train = self.pipeline.train
        if wanted.members > 1 and train and not train.objective.varied:
            raise ConfigError(f"members: got {wanted.members}, expected 1: this model's are equal")
        given = given_for(self, condition, wanted.leads, within)
        if observed is not None:
            field = torch.zeros(1, len(self.channels), *self.grid.sizes)
            found = checked(observed, len(given.cases), wanted.leads, field)
            given = replace(given, observed=found)
        chosen = _guidance(guidance or section.guidance, observed)
        if chosen is not None and chosen.needs_scalars and train and train.drop_scalars == 0:
            raise ConfigError(
                f"guidance {type(chosen).__name__}: this model was not trained without scalars "
                "(train.drop_scalars is 0), so there is nothing to guide by; train it with 0.1"
            )
        engine = replace(self.engine(), guidance=chosen)
        values = ensemble(self, engine, given, wanted.members, wanted.seed)
        return self.label(values, given.cases, np.arange(wanted.members))

    def engine(self, device: Device | None = None) -> Engine:
        """What computes, on the pipeline's device or another."""
        section = self.pipeline.sample
        assert section is not None
        device, task = device or Device.of(self.pipeline.runtime), self.pipeline.data.task
        if section.needs_covariance and self.variance is None:
            raise ConfigError(
                "sample.sampler: this model has no table of its posterior variance, which "
                "`variance: exact` needs; `diffsci sample RUN sample.sampler.variance=exact` "
                "estimates it once and keeps it with the model"
            )
        return Engine(
            denoiser=device.laid_out(self.denoiser).eval(),
            sampler=section.sampler,
            guidance=section.guidance,
            variance=self.variance if section.needs_covariance else None,
            task=task,
            statistics=self.statistics,
            grid=self.grid,
            channels=len(self.channels),
            compute_batch=section.compute_batch,
            device=device,
            tiles=self.tiling,
            forcings=self.pipeline.data.domain.forcings,
            bounds=bounds_of(section.constraints, self.channels),
            limit=section.limit,
            perturb=Perturbation.of(section.perturb, self.grid),
            persistent_noise=section.persistent_noise,
            constraints=Constrained.of(
                section.constraints, self.channels, self.grid, self.statistics, task
            ),
        )

    @property
    def tiling(self) -> Tiling | None:
        """The parts in which fields go through the network in sampling; none for whole fields."""
        section = self.pipeline.sample
        if section is None or section.tiles is None or self.pipeline.model is None:
            return None
        ports = ports_of(self.pipeline, self.channels, len(self.scalar_names), self.grid)
        return Tiling.of(section.tiles, self.pipeline.model.network, ports)

    def values(
        self, engine: Engine, given: Given, members: Sequence[int], seed: int
    ) -> Float[np.ndarray, "case member lead channel *space"]:
        """Members of some cases, in physical units."""
        count = len(given.cases)
        pairs = [(case, member) for case in range(count) for member in members]
        physical = self.drawn(engine, given, pairs, seed)
        return physical.reshape(count, len(members), *physical.shape[1:])

    def drawn(
        self, engine: Engine, given: Given, pairs: Sequence[tuple[int, int]], seed: int
    ) -> Float[np.ndarray, "row lead channel *space"]:
        """Members of some cases in any order, in physical units.

        Args:
            engine: Where it computes.
            given: The cases.
            pairs: Place of the case in `given`, and number of the member, of each row.
            seed: Of the noise.
        """
        leads = max(1, len(given.cases.leads))
        states = engine.states(self.rows(given, pairs), leads, seed)
        return given.with_kept(pairs, self.physical(states.numpy()))

    def rows(self, given: Given, pairs: Sequence[tuple[int, int]]) -> Rows:
        """Members of some cases, for the engine.

        Args:
            given: The cases.
            pairs: Place of the case in `given`, and number of the member, of each row.
        """
        index = [case for case, _ in pairs]
        times = self._times(given.cases)
        return Rows(
            given=given.of(pairs),
            scalars=None if given.scalars is None else given.scalars[index],
            cases=tuple(given.cases.keys[case] for case in index),
            members=tuple(member for _, member in pairs),
            observed=None if given.observed is None else given.observed.take(index),
            times=None if times is None else times[index],
            edges=given.edges_of(pairs),
        )

    def physical(
        self, states: Float[np.ndarray, "row lead channel *space"]
    ) -> Float[np.ndarray, "row lead channel *space"]:
        """States in physical units."""
        section = self.pipeline.sample
        bounds = bounds_of(section.constraints if section else (), self.channels)
        return bounds.physical(self.statistics.decode(states))

    def _times(self, cases: Cases) -> np.ndarray | None:
        """Valid times of whole blocks of leads, `[case, lead]`; none where nothing needs them."""
        if not self.pipeline.data.domain.forcings:
            return None
        task = self.pipeline.data.task
        if task.has_leads:
            blocks = -(-len(cases.leads) // task.block)
            leads = tuple(task.step * (lead + 1) for lead in range(blocks * task.block))
            cases = replace(cases, leads=leads)
        return cases.valid()

    def label(self, values: np.ndarray, cases: Cases, members: np.ndarray | None) -> xr.Dataset:
        """Values in the forecast store's layout, with where they come from."""
        labelled = self.pipeline.data.domain.label(
            values, cases, self.channels, self.grid, members, self.time_unit
        )
        labelled.attrs.update(self.provenance)
        return labelled

    def save(self, folder: Path, config: str) -> None:
        """Write all that `load` needs, with checksums, whole or not at all.

        Args:
            folder: `model/` of a run.
            config: The resolved pipeline as YAML.
        """
        weights = {name: value.contiguous() for name, value in weights_of(self.denoiser).items()}
        size = sum(value.nbytes for value in weights.values())
        description = {
            "format": FORMAT,
            "grid": self.grid.to_dict(),
            "channels": [asdict(channel) for channel in self.channels],
            "scalar_names": list(self.scalar_names),
            "time_unit": self.time_unit,
            "step": self.step,
            "provenance": self.provenance,
        }
        stored = safetensors.torch.save(weights)
        description |= kept_choice(folder, stored)
        with fresh_model(folder, size) as fresh:
            (fresh / WEIGHTS).write_bytes(stored)
            (fresh / DESCRIPTION).write_text(json.dumps(description, indent=1), encoding="utf-8")
            (fresh / CONFIG).write_text(config, encoding="utf-8")
            self.statistics.save(fresh)
            if self.variance is not None:
                table = safetensors.torch.save(self.variance.to_tensors())
                (fresh / VARIANCE).write_bytes(table)
            if self.calibration is not None:
                (fresh / CALIBRATION).write_text(self.calibration.to_json(), encoding="utf-8")


def _guidance(chosen: Guidance | None, observed: Observations | None) -> Guidance | None:
    """The guidance, by the exact posterior where there are observations and none was chosen."""
    if observed is None or chosen is not None:
        return chosen
    posterior: Guidance = families.load("guidance", "posterior")()
    return posterior
