"""The ensemble engine: member k of a case is the same bits, however the work is grouped.

Two rules make it so. The noise of a member is a function of (seed, case, member, lead, draw) alone.
And whatever is computed, is computed in batches of one fixed size, filled up with copies where rows
are missing, since a network's last bits depend on the shape of its batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.data.statistics import Statistics
from diffsci.data.tasks.base import Task
from diffsci.diffusion.augmentation import pure_noise
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.guidance.base import ConditionalDenoise, Guidance, Observed
from diffsci.diffusion.noise import MemberNoise
from diffsci.diffusion.samplers.base import Sampler
from diffsci.diffusion.variance import Calibrated, VarianceTable
from diffsci.errors import ConfigError, NotFiniteError, NumericsError
from diffsci.forecasting.observations import Observations
from diffsci.forecasting.tiles import Tiling
from diffsci.grid import Grid
from diffsci.runtime import Device, as_written


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some (case, member) pairs, in the order in which they are to be computed.

    Args:
        given: What is known of each row's case (see `Task.observe`); none for `generate`.
        scalars: Encoded scalars of each row's case.
        cases: Stable key of each row's case.
        members: Member number of each row.
        observed: What is observed of each row's case, where anything is.
    """

    given: Tensor | None
    scalars: Float[Tensor, "row parameter"] | None
    cases: tuple[str, ...]
    members: tuple[int, ...]
    observed: Observations | None = None

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, index: list[int]) -> Rows:
        """The rows at these positions."""
        return Rows(
            given=None if self.given is None else self.given[index],
            scalars=None if self.scalars is None else self.scalars[index],
            cases=tuple(self.cases[i] for i in index),
            members=tuple(self.members[i] for i in index),
            observed=None if self.observed is None else self.observed.take(index),
        )


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A trained denoiser with all that turns noise into states.

    Args:
        denoiser: In evaluation mode, on `device`.
        sampler: How noise becomes a sample; none for a model that makes one by a single call.
        guidance: Wraps the denoiser, where wanted.
        variance: Posterior variance of its estimates, where the sampler needs it.
        task: Says how a sample becomes a state, and what follows a state.
        statistics: Scale of targets.
        grid: The target's grid.
        channels: Number of channels of a state.
        compute_batch: Rows computed at once, always exactly so many.
        device: Where and how it computes.
        tiles: The parts in which fields go through the network; none takes whole fields.
    """

    denoiser: Denoiser
    sampler: Sampler | None
    guidance: Guidance | None
    variance: VarianceTable | None
    task: Task
    statistics: Statistics
    grid: Grid
    channels: int
    compute_batch: int
    device: Device
    tiles: Tiling | None = None

    def __post_init__(self) -> None:
        """Refuse what no pipeline file may ask for, from Python too."""
        if self.guidance is None:
            return
        if self.sampler is None:
            raise ConfigError(
                f"guidance {type(self.guidance).__name__}: it changes the estimates of a diffusion "
                "model; this model makes a sample by a single call"
            )
        word = type(self.guidance).__name__
        if self.variance is not None:
            raise ConfigError(
                f"guidance {word}: the exact variance is that of the unguided model: take "
                "`variance: small`, or another sampler"
            )
        if self.guidance.needs_observed and not self.denoiser.noise_is_white:
            raise ConfigError(f"guidance {word}: it is for models of white noise alone")

    @property
    def calls(self) -> int:
        """Network calls for one state."""
        each = 1 if self.guidance is None else self.guidance.calls_per_step
        return each * (1 if self.sampler is None else self.sampler.calls)

    def states(self, rows: Rows, leads: int, seed: int) -> Float[Tensor, "row lead channel *space"]:
        """Normalised states of every row at every lead, on the CPU.

        Raises:
            NumericsError: For a value that is not finite, naming case, member and lead.
        """
        size = self.compute_batch
        # Another engine of the same model may have laid it out elsewhere or otherwise.
        self.device.laid_out(self.denoiser)
        parts = []
        for start in range(0, len(rows), size):
            index = list(range(start, min(start + size, len(rows))))
            filled = rows.take(index + [index[-1]] * (size - len(index)))
            with self._computing():
                leads_of_block = [state.cpu() for state in self._rollout(filled, leads, seed)]
            parts.append(torch.stack(leads_of_block, dim=1)[: len(index)])
        return torch.cat(parts)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Without autograd where nothing is differentiated, which makes calls cheap."""
        if self.guidance is None or not self.guidance.needs_observed:
            # Autocast keeps no casts here, see `Denoiser.unchanged`; it is as fast all the same.
            with torch.inference_mode(), self.device.explaining():
                yield
            return
        # Guidance by observations differentiates the network, which inference mode forbids, and
        # goes back through a call several times, which compiled code does not allow.
        with torch.no_grad(), self.denoiser.unchanged(), as_written(self.denoiser):
            yield

    def _rollout(self, rows: Rows, leads: int, seed: int) -> Iterator[Tensor]:
        """One full batch, lead after lead."""
        given = None if rows.given is None else rows.given.to(self.device.name)
        scalars = None if rows.scalars is None else rows.scalars.to(self.device.name)
        condition = self.task.condition(given, self.grid)
        for lead in range(leads):
            noise = MemberNoise(
                seed=seed, cases=rows.cases, members=rows.members, leads=(lead,) * len(rows)
            )
            try:
                sample = self._draw(condition, scalars, noise, rows, lead)
            except NotFiniteError as error:
                raise self._not_finite(rows, [error.example], lead, str(error)) from error
            state = self._state(sample, condition)
            self._require_finite(state, rows, lead)
            yield state
            if lead + 1 < leads:
                condition = self.task.advance(condition, state)

    def _state(self, sample: Tensor, condition: Tensor | None) -> Tensor:
        """The normalised state of a sample of the scaled target."""
        return self.task.restore(self.statistics.unscale_target(sample), condition)

    def _draw(
        self,
        condition: Tensor | None,
        scalars: Tensor | None,
        member_noise: MemberNoise,
        rows: Rows,
        lead: int,
    ) -> Tensor:
        """Samples of the scaled target."""
        like = torch.empty(len(rows), self.channels, *self.grid.sizes, device=self.device.name)
        if self.sampler is None:
            return self._at_once(condition, scalars, member_noise, like)
        whole: ConditionalDenoise = self._estimate
        conditional = whole if self.tiles is None else self.tiles.over(whole)
        if self.guidance is not None:
            observed = self._observed(rows, lead, condition, like)
            conditional = self.guidance(conditional, self.denoiser.schedule, observed)
        seen = self.statistics.scale_condition(condition)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            return conditional(x_t, t, seen, scalars)

        def noise(like: Tensor, index: int) -> Tensor:
            return self.denoiser.shaped(member_noise(like, index))

        # The data's own part of x_1 has mean zero and is drowned by the noise.
        schedule = self.denoiser.schedule
        x_1 = pure_noise(schedule, noise(like, 0))
        known = denoise
        if self.variance is not None:
            known = Calibrated(denoise, self.variance, self._basis)
        # At t = 0 a schedule such as `rectified` has a little less than the whole signal.
        signal_scale, _ = schedule(torch.zeros((), dtype=torch.float64))
        return self.sampler(known, schedule, x_1, noise) / signal_scale

    def _at_once(
        self,
        condition: Tensor | None,
        scalars: Tensor | None,
        member_noise: MemberNoise,
        like: Tensor,
    ) -> Tensor:
        """Samples of the scaled target by one call each; a member is a random vector."""
        count = self.denoiser.random
        random = member_noise(like.new_empty(len(like), count), 0) if count else None

        def made(x: Tensor, _: Tensor, condition: Tensor | None, scalars: Tensor | None) -> Tensor:
            found: Tensor = self.denoiser.direct(x, condition, scalars, random)
            return found

        conditional = made if self.tiles is None else self.tiles.over(made)
        seen = self.statistics.scale_condition(condition)
        return conditional(torch.zeros_like(like), like.new_zeros(()), seen, scalars)

    def _estimate(
        self, x_t: Tensor, t: Tensor, condition: Tensor | None, scalars: Tensor | None
    ) -> Tensor:
        estimate: Tensor = self.denoiser(x_t, t, condition, scalars)
        return estimate

    def _observed(
        self, rows: Rows, lead: int, condition: Tensor | None, like: Tensor
    ) -> Observed | None:
        """What is observed of the rows at a lead, as an observation of the scaled target."""
        if rows.observed is None:
            return None
        shape = (-1, *[1] * len(self.grid.sizes))
        mean = torch.as_tensor(self.statistics.state_mean).reshape(shape)
        std = torch.as_tensor(self.statistics.state_std).to(like).reshape(shape)

        def anomaly(sample: Tensor) -> Tensor:
            return self._state(sample, condition) * std

        return rows.observed.at_lead(lead, anomaly, mean, like)

    @cached_property
    def _basis(self) -> Basis:
        # Kept: its matrices and bands are the same for every lead and batch.
        return Basis.of(self.grid)

    @staticmethod
    def _require_finite(state: Tensor, rows: Rows, lead: int) -> None:
        if torch.isfinite(state.sum()):
            return
        bad = (~torch.isfinite(state).flatten(1).all(dim=1)).nonzero().flatten().tolist()
        raise Engine._not_finite(rows, bad, lead, "sampling left the finite numbers")

    @staticmethod
    def _not_finite(rows: Rows, bad: list[int], lead: int, what: str) -> NumericsError:
        where = ", ".join(f"case {rows.cases[i]} member {rows.members[i]}" for i in bad[:3])
        return NumericsError(
            f"{what}: at forecast step {lead + 1} in {where}{' and others' if bad[3:] else ''}; "
            "train longer, lower train.lr, or use fewer leads"
        )
