"""Perturbed initial states: each member begins from its own, by noise of a spectrum.

The noise is keyed as all noise is, by seed, case and member, so that member k begins from the same
state however the work is grouped. It is the same in all frames that are given, so that the tendency
at the start is left as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from diffsci.diffusion.noise import MemberNoise
from diffsci.diffusion.noises.base import Shaping
from diffsci.forecasting.rows import Rows
from diffsci.grid import Grid
from diffsci.sections.sampling import Perturbing

_NAME = "initial state of "
"""Before the case, so that no draw of a sampler has the same key."""


@dataclass(frozen=True)
class Perturbation:
    """Noise on the frames that are given.

    Args:
        amplitude: In standard deviations.
        shaping: Of white noise.
    """

    amplitude: float
    shaping: Shaping

    @classmethod
    def of(cls, section: Perturbing | None, grid: Grid) -> Perturbation | None:
        """What a section asks for."""
        if section is None:
            return None
        section.noise.check(grid)
        return cls(section.amplitude, section.noise.shaping(grid))

    def __call__(self, known: Tensor, rows: Rows, seed: int) -> Tensor:
        """The frames, `[row, frame, channel, *space]`, of each row by its own noise."""
        noise = MemberNoise(
            seed=seed,
            cases=tuple(f"{_NAME}{case}" for case in rows.cases),
            members=rows.members,
            leads=(0,) * len(rows),
        )
        return known + self.amplitude * self.shaping(noise(known[:, 0], 0))[:, None]
