"""The ensemble engine: member k of a case is the same bits, however the work is grouped.

Two rules make it so. The noise of a member is a function of (seed, case, member, lead, draw) alone.
And whatever is computed, is computed in batches of one fixed size, filled up with copies where rows
are missing, since a network's last bits depend on the shape of its batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.data.statistics import Statistics
from diffsci.data.tasks.base import Task
from diffsci.diffusion.augmentation import pure_noise
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.guidance.base import Guidance
from diffsci.diffusion.noise import MemberNoise
from diffsci.diffusion.samplers.base import Sampler
from diffsci.errors import NumericsError
from diffsci.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some (case, member) pairs, in the order in which they are to be computed.

    Args:
        given: What is known of each row's case (see `Task.observe`); none for `generate`.
        scalars: Encoded scalars of each row's case.
        cases: Stable key of each row's case.
        members: Member number of each row.
    """

    given: Tensor | None
    scalars: Float[Tensor, "row parameter"] | None
    cases: tuple[str, ...]
    members: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, index: list[int]) -> Rows:
        """The rows at these positions."""
        return Rows(
            given=None if self.given is None else self.given[index],
            scalars=None if self.scalars is None else self.scalars[index],
            cases=tuple(self.cases[i] for i in index),
            members=tuple(self.members[i] for i in index),
        )


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A trained denoiser with all that turns noise into states.

    Args:
        denoiser: In evaluation mode, on `device`.
        sampler: How noise becomes a sample.
        guidance: Wraps the denoiser, where wanted.
        task: Says how a sample becomes a state, and what follows a state.
        statistics: Scale of targets.
        grid: The target's grid.
        channels: Number of channels of a state.
        compute_batch: Rows computed at once, always exactly so many.
        device: Where it computes.
        precision: `bf16` runs the network under autocast.
    """

    denoiser: Denoiser
    sampler: Sampler
    guidance: Guidance | None
    task: Task
    statistics: Statistics
    grid: Grid
    channels: int
    compute_batch: int
    device: str
    precision: str

    def states(self, rows: Rows, leads: int, seed: int) -> Float[Tensor, "row lead channel *space"]:
        """Normalised states of every row at every lead, on the CPU.

        Raises:
            NumericsError: For a value that is not finite, naming case, member and lead.
        """
        size = self.compute_batch
        parts = []
        for start in range(0, len(rows), size):
            index = list(range(start, min(start + size, len(rows))))
            filled = rows.take(index + [index[-1]] * (size - len(index)))
            with torch.inference_mode():
                leads_of_block = [state.cpu() for state in self._rollout(filled, leads, seed)]
            parts.append(torch.stack(leads_of_block, dim=1)[: len(index)])
        return torch.cat(parts)

    def _rollout(self, rows: Rows, leads: int, seed: int) -> Iterator[Tensor]:
        """One full batch, lead after lead."""
        given = None if rows.given is None else rows.given.to(self.device)
        scalars = None if rows.scalars is None else rows.scalars.to(self.device)
        condition = self.task.condition(given, self.grid)
        for lead in range(leads):
            noise = MemberNoise(
                seed=seed, cases=rows.cases, members=rows.members, leads=(lead,) * len(rows)
            )
            sample = self._draw(condition, scalars, noise, len(rows))
            state = self.task.restore(self.statistics.unscale_target(sample), condition)
            self._require_finite(state, rows, lead)
            yield state
            if lead + 1 < leads:
                condition = self.task.advance(condition, state)

    def _draw(
        self, condition: Tensor | None, scalars: Tensor | None, noise: MemberNoise, rows: int
    ) -> Tensor:
        """Samples of the scaled target."""
        conditional = self.denoiser if self.guidance is None else self.guidance(self.denoiser)
        seen = self.statistics.scale_condition(condition)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            with self._autocast():
                return conditional(x_t, t, seen, scalars)

        like = torch.empty(rows, self.channels, *self.grid.sizes, device=self.device)
        # The data's own part of x_1 has mean zero and is drowned by the noise.
        x_1 = pure_noise(self.denoiser.schedule, noise(like, 0))
        return self.sampler(denoise, self.denoiser.schedule, x_1, noise)

    def _autocast(self) -> AbstractContextManager[object]:
        kind = self.device.split(":")[0]
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=self.precision == "bf16")

    @staticmethod
    def _require_finite(state: Tensor, rows: Rows, lead: int) -> None:
        if torch.isfinite(state.sum()):
            return
        bad = (~torch.isfinite(state).flatten(1).all(dim=1)).nonzero().flatten().tolist()
        where = ", ".join(f"case {rows.cases[i]} member {rows.members[i]}" for i in bad[:3])
        raise NumericsError(
            f"sampling left the finite numbers at forecast step {lead + 1} in {where}"
            f"{' and others' if len(bad) > 3 else ''}: train longer, lower train.lr, or use fewer "
            "leads"
        )
