"""Validation by what the model is for: the CRPS of a short ensemble, with fixed cases and noise.

Fair, so that few members estimate that of endless ones; in each element of the scaled target, mean
over elements and cases. A loss by level says how well noise is removed on average over levels, and
may fall while samples get worse; this says how good the samples of the next step are.

Source: Ferro (2014), doi:10.1002/qj.2270, for the fair score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.batch import Batch
from diffsci.diffusion.augmentation import pure_noise
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objective import mean_over_cells
from diffsci.diffusion.objectives.crps import CRPS
from diffsci.diffusion.samplers.base import Sampler
from diffsci.sections import ValidateCrps
from diffsci.training.distributed import Ranks, total
from diffsci.training.examples import Examples
from diffsci.training.order import Draws
from diffsci.training.sharding import is_part


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What measures it.

    Args:
        asked: Cases and members.
        sampler: How a diffusion model makes a sample; none for a direct model.
        valid: The validation set; cases are evenly spread in it.
        seed: Of the noise.
    """

    asked: ValidateCrps
    sampler: Sampler | None
    valid: Examples
    seed: int

    @torch.no_grad()
    def __call__(self, denoiser: Denoiser, at_once: int, ranks: Ranks) -> float:
        """The mean score.

        Args:
            denoiser: With the weights to judge.
            at_once: Samples made at once.
            ranks: Who shares the cases; all come to the same number.
        """
        device, training = next(denoiser.parameters()).device, denoiser.training
        count, members = min(self.asked.cases, len(self.valid)), self.asked.members
        chosen = np.linspace(0, len(self.valid) - 1, count).round().astype(np.int64)
        size = max(1, at_once // members)
        blocks = range(0, count, size)
        mine = list(blocks[ranks.rank :: ranks.world])
        if any(map(is_part, denoiser.parameters())):
            # All ranks call a sharded network alike: of what is beyond the end, nothing is counted.
            mine += [count] * (-(-len(blocks) // ranks.world) - len(mine))
        score = CRPS(members=members, fair=1.0)
        denoiser.eval()
        sums = torch.zeros(2, dtype=torch.float32, device=device)
        for first in mine:
            batch = self.valid.batch(chosen[min(first, count - 1) :][:size]).to(device)
            found = self._samples(denoiser, batch, first)
            if first == count:
                continue
            each = mean_over_cells(score.loss(found, batch.target), batch.mask)
            sums += torch.stack([each.sum(), each.new_tensor(len(each))]).to(sums)
        denoiser.train(training)
        added, number = total(sums, ranks).tolist()
        return float(added / number)

    def _samples(
        self, denoiser: Denoiser, batch: Batch, first: int
    ) -> Float[Tensor, "member batch channel *space"]:
        """Of the scaled target; the noise of a case depends on its place alone."""
        count = self.asked.members
        rows = torch.arange(len(batch), device=batch.target.device).repeat_interleave(count)
        given = batch.take(rows)
        noise = self._noise_of(first, len(batch))
        own = denoiser.of_members(given.scalars, [*range(count)] * len(batch), given.target)
        if self.sampler is None:
            width = denoiser.random
            random = noise(given.target.new_empty(len(rows), width), 0) if width else None
            made = denoiser.direct(given.target, given.condition, own, random)
        else:

            def shaped(like: Tensor, index: int) -> Tensor:
                return denoiser.shaped(noise(like, index))

            def denoise(x_t: Tensor, t: Tensor) -> Tensor:
                estimate: Tensor = denoiser(x_t, t, given.condition, own)
                return estimate

            schedule = denoiser.schedule
            x_1 = pure_noise(schedule, shaped(given.target, 0)).to(given.target)
            signal_scale, _ = schedule(torch.zeros((), dtype=torch.float64))
            made = self.sampler(denoise, schedule, x_1, shaped) / signal_scale.to(x_1)
        return made.reshape(len(batch), count, *made.shape[1:]).transpose(0, 1)

    def _noise_of(self, first: int, cases: int) -> Callable[[Tensor, int], Tensor]:
        def noise(like: Tensor, index: int) -> Tensor:
            words = [("crps", self.seed, first + case, index) for case in range(cases)]
            each = like.reshape(cases, -1, *like.shape[1:])
            rows = slice(0, each.shape[1])
            drawn = [
                Draws(*word, count=rows.stop, rows=rows, device=like.device).normal(each[case])
                for case, word in enumerate(words)
            ]
            return torch.cat(drawn)

        return noise
