"""One draw of some rows: noise becomes samples of the scaled target, and these become states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import pure_noise
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.guidance.base import ConditionalDenoise, Observed
from diffsci.diffusion.noise import MemberNoise
from diffsci.diffusion.samplers.base import Denoise
from diffsci.diffusion.variance import Calibrated
from diffsci.forecasting.held import Held
from diffsci.forecasting.rows import Rows

if TYPE_CHECKING:
    from diffsci.forecasting.ensemble import Engine


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What the network is given for one draw of some rows: see `Inputs`.

    Args:
        condition: Not yet scaled.
        scalars: All of them.
        forced: Those that are forcings.
        part: Which of the task's parts is drawn.
        held: What is known of the states already.
        known: Normalised frames that are given, for constraints.
    """

    condition: Float[Tensor, "row given *space"] | None
    scalars: Float[Tensor, "row scalar"] | None
    forced: Float[Tensor, "row forcing"]
    part: int
    held: Held | None = None
    known: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Drawing:
    """How an engine draws.

    Args:
        engine: With network, sampler and statistics.
    """

    engine: Engine

    def state(self, sample: Tensor, seen: Seen) -> Float[Tensor, "row target *space"]:
        """The normalised states of a sample of the scaled target."""
        engine = self.engine
        target = engine.statistics.unscale_target(sample, seen.condition, seen.forced, seen.part)
        return engine.task.restore(target, seen.condition)

    def sample(
        self, seen: Seen, member_noise: MemberNoise, rows: Rows, lead: int
    ) -> Float[Tensor, "row target *space"]:
        """Samples of the scaled target."""
        engine = self.engine
        count = engine.channels * engine.task.emits
        like = torch.empty(len(rows), count, *engine.grid.sizes, device=engine.device.name)
        scalars = engine.denoiser.of_members(seen.scalars, rows.members, like)
        seen = replace(seen, scalars=scalars)
        if engine.sampler is None:
            return self._at_once(seen, member_noise, like)
        whole: ConditionalDenoise = self._estimate
        conditional = whole if engine.tiles is None else engine.tiles.over(whole)
        if engine.guidance is not None:
            observed = self._observed(rows, lead, seen, like)
            conditional = engine.guidance(conditional, engine.denoiser.schedule, observed)
        condition = engine.statistics.scale_condition(seen.condition)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return conditional(x_t, t, condition, seen.scalars)

        estimate: Denoise = denoise
        if seen.held is not None:
            estimate = seen.held.over(denoise, self._target(seen.held, seen))
        if engine.constraints is not None:
            estimate = self._constrained(estimate, seen)

        def noise(like: Tensor, index: int) -> Tensor:
            return engine.denoiser.shaped(member_noise(like, index))

        # The data's own part of x_1 has mean zero and is drowned by the noise.
        schedule = engine.denoiser.schedule
        x_1 = pure_noise(schedule, noise(like, 0))
        if engine.variance is not None:
            estimate = Calibrated(estimate, engine.variance, self._basis)
        # At t = 0 a schedule such as `rectified` has a little less than the whole signal.
        signal_scale, _ = schedule(torch.zeros((), dtype=torch.float64))
        return engine.sampler(estimate, schedule, x_1, noise) / signal_scale

    def _constrained(
        self, denoise: Callable[[Tensor, Tensor], Tensor], seen: Seen
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """The same estimates, whose states meet the constraints."""
        constraints = self.engine.constraints
        assert constraints is not None

        def kept(x_t: Tensor, t: Tensor) -> Tensor:
            return constraints.estimate(
                denoise(x_t, t), lambda sample: self.state(sample, seen), seen.known, seen.part
            )

        return kept

    def _target(self, held: Held, seen: Seen) -> Float[Tensor, "row target *space"]:
        """The scaled target whose states hold what is known; `restore` adds to it cell by cell."""
        values = held.values.flatten(1, 2)
        start = self.engine.task.restore(torch.zeros_like(values), seen.condition)
        return self.engine.statistics.scale_target(
            values - start, seen.condition, seen.forced, seen.part
        )

    def _at_once(self, seen: Seen, member_noise: MemberNoise, like: Tensor) -> Tensor:
        """Samples of the scaled target by one call each; a member is a random vector."""
        engine = self.engine
        count = engine.denoiser.random
        random = member_noise(like.new_empty(len(like), count), 0) if count else None

        def made(x: Tensor, _: Tensor, condition: Tensor | None, scalars: Tensor | None) -> Tensor:
            found: Tensor = engine.denoiser.direct(x, condition, scalars, random)
            return found

        conditional = made if engine.tiles is None else engine.tiles.over(made)
        condition = engine.statistics.scale_condition(seen.condition)
        return conditional(torch.zeros_like(like), like.new_zeros(()), condition, seen.scalars)

    def _estimate(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None, scalars: Tensor | None
    ) -> Tensor:
        estimate: Tensor = self.engine.denoiser(x_t, t, condition, scalars)
        return estimate

    def _observed(self, rows: Rows, lead: int, seen: Seen, like: Tensor) -> Observed | None:
        """What is observed of the rows at a lead, as an observation of the scaled target."""
        if rows.observed is None:
            return None
        shape = (-1, *[1] * len(self.engine.grid.sizes))
        mean = torch.as_tensor(self.engine.statistics.state_mean).reshape(shape)
        std = torch.as_tensor(self.engine.statistics.state_std).to(like).reshape(shape)

        def anomaly(sample: Tensor) -> Tensor:
            return self.state(sample, seen) * std

        return rows.observed.at_lead(lead, anomaly, mean, like)

    @cached_property
    def _basis(self) -> Basis:
        # Kept: its matrices and bands are the same for every lead and batch.
        return Basis.of(self.engine.grid)
