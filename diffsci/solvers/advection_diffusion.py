"""Advection and diffusion: c_t + velocity c_x = diffusivity c_xx on a periodic line of length 2 pi.

Every wave travels and fades on its own, so the solution is known: the coefficient of wave k at time
t is that at time 0 times exp(-(i k velocity + k^2 diffusivity) t).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from diffsci.errors import require
from diffsci.solvers._random import smooth
from diffsci.solvers._spectral import Waves
from diffsci.solvers.base import Parameters, SpectralSolver


@dataclass(frozen=True, kw_only=True)
class AdvectionDiffusion(SpectralSolver):
    """Advection and diffusion, velocity and diffusivity by trajectory (Fourier, exact, float64).

    Args:
        fastest: Velocities are uniform between minus and plus this.
        largest: Largest diffusivity; that of a trajectory is drawn between a hundredth of it and
            it, its logarithm uniformly.
        points: Points along x.
        dt: Step of the exact solution; it has no error.
        output_step: Time between stored frames, a multiple of `dt`.
        spin_up: Time discarded before the first frame, a multiple of `dt`.
        trajectories: How many; trajectory i is the same for any number of them.
        frames: Stored frames of each.
        seed: Of the initial states, velocities and diffusivities.
    """

    title = "Advection and diffusion"
    equation = "c_t + velocity c_x = diffusivity c_xx"
    numerics = "Fourier, exact in time, float64"
    dims = ("x",)
    stored_fields = {"c": "concentration"}
    parameter_names = {"velocity": "velocity along x", "diffusivity": "diffusivity"}
    together = 64

    fastest: float = 1.0
    largest: float = 0.1
    points: int = 64
    dt: float = 0.1
    output_step: float = 0.1
    spin_up: float = 0.0
    trajectories: int = 256
    frames: int = 41
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("fastest", "largest"):
            value = getattr(self, name)
            require(0 <= value < math.inf, name, value, "a finite number, 0 or more")
        super().__post_init__()

    @property
    def side(self) -> float:
        """See `SpectralSolver.side`."""
        return 2 * math.pi

    @property
    def grid_points(self) -> int:
        """See `SpectralSolver.grid_points`."""
        return self.points

    def parameters(self, numbers: np.ndarray) -> dict[str, Float[np.ndarray, "trajectory"]]:
        """Both of each trajectory."""
        # Another stream than that of the initial states, which takes [seed, number].
        draws = [np.random.Generator(np.random.Philox([self.seed, int(n)])) for n in numbers]
        share = np.array([draw.spawn(1)[0].random(2) for draw in draws])
        return {
            "velocity": self.fastest * (2 * share[:, 0] - 1),
            "diffusivity": self.largest * 100.0 ** (share[:, 1] - 1),
        }

    def initial(self, numbers: np.ndarray) -> Float[Tensor, "trajectory 1 x"]:
        """Random fields of standard deviation 1, amplitude exp(-k^2 / 32)."""
        waves = Waves.build(self.points, 1, self.side)
        v = smooth(self.seed, numbers, lambda k: torch.exp(-(k**2) / 32), 1.0, waves)
        return waves.to_space(v)[:, None]

    def linear(self, waves: Waves, parameters: Parameters) -> Complex[Tensor, "batch 1 wave"]:
        """Travel and decay of each wave."""
        velocity, diffusivity = (
            parameters[name][:, None, None] for name in ("velocity", "diffusivity")
        )
        return -1j * velocity * waves.axes[0] - diffusivity * waves.squared

    def nonlinear(self, waves: Waves, parameters: Parameters) -> Callable[[Tensor], Tensor]:
        """Nothing."""
        return torch.zeros_like
