"""Kuramoto-Sivashinsky: u_t + u u_x + u_xx + u_xxxx = 0 on a periodic line.

The second derivative feeds long waves, the fourth damps short ones, and the non-linear term carries
energy from one to the other: chaos in one dimension, with a Lyapunov time of about 12 time units.
The spatial mean is conserved exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.errors import require
from diffsci.solvers._spectral import Waves
from diffsci.solvers.base import Parameters, SpectralSolver


@dataclass(frozen=True, kw_only=True)
class KuramotoSivashinsky(SpectralSolver):
    """Kuramoto-Sivashinsky equation: chaos on a periodic line (Fourier, ETDRK4, float64).

    Args:
        length: Of the domain.
        points: Stored points along x.
        refine: Solver points per stored point.
        dt: Solver step; the error after 20 time units is 1.3e-5 at 0.05 and grows as its 4th power.
        output_step: Time between stored frames, a multiple of `dt`.
        spin_up: Time discarded before the first frame, a multiple of `dt`.
        trajectories: How many; trajectory i is the same for any number of them.
        frames: Stored frames of each.
        seed: Of the initial states.

    Source:
        Problem and initial states as in Lippe et al. (2023), PDE-Refiner, arXiv:2308.05732.
    """

    title = "Kuramoto-Sivashinsky trajectories"
    equation = "u_t + u u_x + u_xx + u_xxxx = 0"
    dims = ("x",)
    stored_fields = {"u": "Kuramoto-Sivashinsky field"}
    together = 64

    length: float = 64.0
    points: int = 128
    refine: int = 2
    dt: float = 0.05
    output_step: float = 0.2
    spin_up: float = 72.0
    trajectories: int = 512
    frames: int = 140
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 < self.length < math.inf, "length", self.length, "a finite number above 0")
        require(self.refine >= 1, "refine", self.refine, "1 or more")
        super().__post_init__()

    @property
    def side(self) -> float:
        """See `SpectralSolver.side`."""
        return self.length

    @property
    def grid_points(self) -> int:
        """See `SpectralSolver.grid_points`."""
        return self.points * self.refine

    def initial(self, numbers: np.ndarray) -> Float[Tensor, "trajectory 1 x"]:
        """Sums of 10 long sines; see `SpectralSolver.initial`."""
        x = torch.arange(self.grid_points, dtype=torch.float64) / self.grid_points
        states = []
        for number in numbers:
            random = np.random.Generator(np.random.Philox([self.seed, int(number)])).random((3, 10))
            amplitude, wave, phase = (torch.from_numpy(row)[:, None] for row in random)
            angle = 2 * math.pi * ((1 + (3 * wave).floor()) * x + phase)
            states.append(((amplitude - 0.5) * torch.sin(angle)).sum(dim=0))
        return torch.stack(states)[:, None]

    def linear(self, waves: Waves, parameters: Parameters) -> Float[Tensor, "wave"]:
        """Long waves grow, short ones decay."""
        (k,) = waves.axes
        return k**2 - k**4

    def nonlinear(self, waves: Waves, parameters: Parameters) -> Callable[[Tensor], Tensor]:
        """-(u^2 / 2)_x."""
        (k,) = waves.axes
        factor = -0.5j * k * waves.resolved

        def nonlinear(v: Tensor) -> Tensor:
            u = waves.to_space(v)
            return factor * waves.to_waves(u * u)

        return nonlinear

    def stored(self, u: Float[Tensor, "batch 1 x"]) -> Float[Tensor, "batch 1 stored_x"]:
        """Every `refine`-th point of the solver's own grid; other grids are cut off in waves."""
        if u.shape[-1] == self.grid_points:
            return u[..., :: self.refine]
        return super().stored(u)
