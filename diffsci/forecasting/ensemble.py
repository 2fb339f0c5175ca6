"""The ensemble engine: member k of a case is the same bits, however the work is grouped.

Two rules make it so. The noise of a member is a function of (seed, case, member, lead, draw) alone.
And whatever is computed, is computed in batches of one fixed size, filled up with copies where rows
are missing, since a network's last bits depend on the shape of its batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diffsci.data.examples.around import Around
from diffsci.data.examples.inputs import Inputs
from diffsci.data.examples.rims import rim, spread
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.base import Task
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.guidance.base import Guidance
from diffsci.diffusion.noise import MemberNoise
from diffsci.diffusion.samplers.base import Sampler
from diffsci.diffusion.variance import VarianceTable
from diffsci.errors import ConfigError, NotFiniteError, NumericsError
from diffsci.forecasting.bounds import Bounds
from diffsci.forecasting.constraining import Constrained
from diffsci.forecasting.drawing import Drawing, Seen
from diffsci.forecasting.failing import Failure, Failures, Limit
from diffsci.forecasting.held import Held
from diffsci.forecasting.perturbing import Perturbation
from diffsci.forecasting.rows import Rows
from diffsci.forecasting.tiles import Tiling
from diffsci.grid import Grid
from diffsci.runtime import Device, as_written


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
        forcings: What the network is given of each valid time.
        bounds: Within which every state is brought.
        limit: Standard deviations beyond which a state counts as exploded.
        perturb: What each member's initial state differs by.
        persistent_noise: Share of the starting noise that a member keeps from lead to lead.
        constraints: What every state meets; none where there are none.
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
    forcings: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    limit: float = 1000.0
    perturb: Perturbation | None = None
    persistent_noise: float = 0.0
    constraints: Constrained | None = None

    def __post_init__(self) -> None:
        """Refuse what no pipeline file may ask for, from Python too."""
        self._require_linear()
        if self.guidance is None:
            return
        if self.sampler is None:
            raise ConfigError(
                f"guidance {type(self.guidance).__name__}: it changes the estimates of a diffusion "
                "model; this model makes a sample by a single call"
            )
        word = type(self.guidance).__name__
        if self.guidance.needs_observed and self.task.emits > 1:
            raise ConfigError(
                f"guidance {word}: it guides draws of one state, and a draw of this model makes "
                f"{self.task.emits}"
            )
        if self.variance is not None:
            raise ConfigError(
                f"guidance {word}: the exact variance is that of the unguided model: take "
                "`variance: small`, or another sampler"
            )
        if self.guidance.needs_observed and not self.denoiser.noise_is_white:
            raise ConfigError(f"guidance {word}: it is for models of white noise alone")

    def _require_linear(self) -> None:
        """Refuse what takes physical values as linear in what is learnt, where they are not."""
        guided = self.guidance is not None and self.guidance.needs_observed
        words = zip(self.statistics.channels, self.statistics.transforms, strict=False)
        curved = [name for name, word in words if word]
        if curved and (guided or self.constraints is not None):
            key = "sample.guidance" if guided else "sample.constraints"
            raise ConfigError(
                f"{key}: takes physical values as linear in what is learnt, and of "
                f"{', '.join(curved)} that is the logarithm (`transform: log1p`); leave one of "
                "them out"
            )

    @property
    def calls(self) -> int:
        """Network calls of one draw, which makes `task.emits` states."""
        each = 1 if self.guidance is None else self.guidance.calls_per_step
        return each * (1 if self.sampler is None else self.sampler.calls)

    def states(self, rows: Rows, leads: int, seed: int) -> Float[Tensor, "row lead channel *space"]:
        """Normalised states of every row at every lead, on the CPU.

        Raises:
            NumericsError: For a value that is not finite, naming case, member and lead.
        """
        from diffsci.forecasting.rollout import Rollout

        rollout = Rollout(self, rows, leads, seed)
        states = torch.from_numpy(rollout.next(leads))
        failed = rollout.failures.all()
        if failed:
            more = " and others" if failed[1:] else ""
            raise NumericsError(
                f"{failed[0].why}: at {failed[0]}{more}; train longer, lower train.lr, or use "
                "fewer leads"
            )
        return states

    @contextmanager
    def computing(self) -> Iterator[None]:
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

    def rollout(
        self, rows: Rows, leads: int, seed: int, failures: Failures
    ) -> Iterator[Float[Tensor, "row channel *space"]]:
        """One full batch, lead after lead, each to be asked for within `computing`.

        Args:
            rows: As many as `compute_batch`.
            leads: Forecast steps.
            seed: Of the noise.
            failures: Where rows are noted that failed; they are NaN from then on.
        """
        known = None if rows.given is None else rows.given.to(self.device.name)
        if self.perturb is not None and known is not None:
            known = self.bounds.keep(self.perturb(known, rows, seed), self.statistics)
            known = known if self._gaps is None else known.masked_fill(self._gaps, 0.0)
        for origin in range(0, leads, self.task.block):
            states = []
            for part, steps in enumerate(self.task.parts):
                lead = origin + max(steps[0] - 1, 0)
                if lead < leads:
                    made = self._living(rows, known, part, lead, seed, failures)
                    states.append(made)
                    yield from made.unbind(dim=1)[: leads - lead]
            if origin + self.task.block < leads:
                known = self.task.advance(known, torch.cat(states, dim=1))

    def _living(
        self,
        rows: Rows,
        known: Tensor | None,
        part: int,
        lead: int,
        seed: int,
        failures: Failures,
    ) -> Float[Tensor, "row step channel *space"]:
        """The states of one draw, the first of them at this lead; NaN for rows that failed."""
        while (index := failures.stand_ins(rows.cases, rows.members)) is not None:
            living = rows.take(index)
            seen = None if known is None else known[index]
            try:
                states = self._made(living, seen, part, lead, seed)
            except NotFiniteError as error:
                # Not the error's own text: the row's place in the batch is none of its own.
                why = f"the network's estimate is not finite in call {error.call} of {error.calls}"
                failures.add(_failure(living, error.example, lead, "", why))
                continue
            for row, (step, variable, why) in self.limits.broken(states).items():
                failures.add(_failure(living, row, lead + step, variable, why))
            failed = failures.failed(rows.cases, rows.members)
            if failed:
                states[failed] = torch.nan
            return states
        shape = (len(rows), self.task.emits, self.channels, *self.grid.sizes)
        return torch.full(shape, torch.nan, device=self.device.name)

    def _made(
        self, rows: Rows, known: Tensor | None, part: int, lead: int, seed: int
    ) -> Float[Tensor, "row step channel *space"]:
        """The states of one draw within their bounds, the first of them at this lead."""
        seen = self._seen(rows, known, part, lead)
        leads = (lead,) * len(rows)
        noise = MemberNoise(
            seed=seed,
            cases=rows.cases,
            members=rows.members,
            leads=leads,
            persistent=self.persistent_noise,
        )
        drawing = self._drawing
        state = drawing.state(drawing.sample(seen, noise, rows, lead), seen)
        states = state.reshape(len(rows), -1, self.channels, *self.grid.sizes)
        states = self.bounds.keep(states, self.statistics)
        if self.constraints is not None:
            states = self.constraints.state(states, known)
        return states if seen.held is None else seen.held.kept(states)

    def _seen(self, rows: Rows, known: Tensor | None, part: int, lead: int) -> Seen:
        """What the network is given for one draw."""
        own = None if rows.scalars is None else rows.scalars.to(self.device.name)
        times = None if rows.times is None else rows.times[:, lead : lead + self.task.emits]
        like = torch.empty(len(rows), 0, device=self.device.name)
        forced = self._inputs.forced(times, like)
        edges = None
        if rows.edges is not None:
            edges = rows.edges[:, lead : lead + self.task.emits].to(self.device.name)
        return Seen(
            condition=self._inputs.condition(known, times, part, edges),
            scalars=self._inputs.scalars(own, forced, part),
            forced=forced,
            part=part,
            held=self._held(len(rows), edges),
            known=known,
        )

    def _held(self, rows: int, edges: Tensor | None) -> Held | None:
        """What is known of the states of one draw: the fill value at gaps, and the rims."""
        if edges is None and self._gaps is None:
            return None
        shape = (self.channels, *self.grid.sizes)
        cells = torch.zeros(shape, dtype=torch.bool, device=self.device.name)
        values = torch.zeros(rows, self.task.emits, *shape, device=self.device.name)
        if self._gaps is not None:
            cells = cells | self._gaps
        if edges is not None:
            width = self.task.boundary
            cells = cells | rim(self.grid, width).to(cells.device)
            values = spread(edges, self.grid, width)
        return Held(cells=cells, values=values)

    @cached_property
    def _gaps(self) -> Bool[Tensor, "channel *space"] | None:
        """Cells that never count; none where all do."""
        seen = self.statistics.seen
        return torch.as_tensor(~seen, device=self.device.name) if seen.size else None

    @cached_property
    def limits(self) -> Limit:
        """What a state may not be."""
        return Limit(stds=self.limit, variables=self.statistics.channels)

    @cached_property
    def _inputs(self) -> Inputs:
        around = Around(forcings=self.forcings, grid=self.grid)
        return Inputs(task=self.task, around=around, statistics=self.statistics)

    @cached_property
    def _drawing(self) -> Drawing:
        return Drawing(self)


def _failure(rows: Rows, row: int, lead: int, variable: str, why: str) -> Failure:
    return Failure(
        case=rows.cases[row], member=rows.members[row], step=lead + 1, variable=variable, why=why
    )
