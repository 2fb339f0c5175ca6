"""Burgers' equation: u_t + u u_x = viscosity u_xx on a periodic line of length 2 pi.

Waves steepen to fronts whose width is the viscosity over their height, and fade. Hopf and Cole
found that u = -2 viscosity (log phi)_x, where phi obeys the heat equation.
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
from diffsci.solvers._spectral import IMAGINARY_LIMIT, Waves
from diffsci.solvers.base import Parameters, SpectralSolver

_SINES = 4


@dataclass(frozen=True, kw_only=True)
class Burgers(SpectralSolver):
    """Burgers' equation, a viscosity for each trajectory (Fourier, ETDRK4, float64).

    Args:
        smallest: Smallest viscosity; that of a trajectory is drawn between it and `largest`, its
            logarithm uniformly.
        largest: Largest viscosity.
        solver_points: Along x; stored are `points`, cut off in Fourier space.
        points: Stored points along x.
        dt: Solver step.
        output_step: Time between stored frames, a multiple of `dt`.
        spin_up: Time discarded before the first frame, a multiple of `dt`.
        trajectories: How many; trajectory i is the same for any number of them.
        frames: Stored frames of each.
        seed: Of the initial states and viscosities.

    Source:
        Cole (1951), doi:10.1090/qam/42889; Hopf (1950), doi:10.1002/cpa.3160030302.
    """

    title = "Burgers' equation"
    equation = "u_t + u u_x = viscosity u_xx"
    dims = ("x",)
    stored_fields = {"u": "velocity"}
    parameter_names = {"viscosity": "kinematic viscosity"}
    together = 64

    smallest: float = 0.05
    largest: float = 0.5
    solver_points: int = 256
    points: int = 64
    dt: float = 0.005
    output_step: float = 0.05
    spin_up: float = 0.0
    trajectories: int = 256
    frames: int = 41
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 < self.smallest < math.inf, "smallest", self.smallest, "a finite number above 0")
        expected = f"a finite number, smallest={self.smallest:g} or more"
        require(self.smallest <= self.largest < math.inf, "largest", self.largest, expected)
        require(self.solver_points >= 16, "solver_points", self.solver_points, "16 or more")
        super().__post_init__()

    @property
    def side(self) -> float:
        """See `SpectralSolver.side`."""
        return 2 * math.pi

    @property
    def grid_points(self) -> int:
        """See `SpectralSolver.grid_points`."""
        return self.solver_points

    def _random(self, number: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox([self.seed, number]))

    def parameters(self, numbers: np.ndarray) -> dict[str, Float[np.ndarray, "trajectory"]]:
        """A viscosity for each."""
        share = np.array([self._random(int(number)).random() for number in numbers])
        return {"viscosity": self.smallest * (self.largest / self.smallest) ** share}

    def initial(self, numbers: np.ndarray) -> Float[Tensor, "trajectory 1 x"]:
        """Sums of 4 sines of wave numbers 1 to 4, amplitudes up to 1 over the wave number."""
        wave = np.arange(1, _SINES + 1)[:, None]
        angle = wave * self.side * np.arange(self.grid_points) / self.grid_points
        states = []
        for number in numbers:
            amplitude, phase = self._random(int(number)).random(1 + 2 * _SINES)[1:].reshape(2, -1)
            turned = np.sin(angle + 2 * math.pi * phase[:, None])
            states.append(((2 * amplitude[:, None] - 1) / wave * turned).sum(axis=0))
        return torch.from_numpy(np.stack(states))[:, None]

    def linear(self, waves: Waves, parameters: Parameters) -> Float[Tensor, "batch 1 wave"]:
        """Viscosity."""
        return -parameters["viscosity"][:, None, None] * waves.squared

    def nonlinear(self, waves: Waves, parameters: Parameters) -> Callable[[Tensor], Tensor]:
        """-(u^2 / 2)_x."""
        factor = -0.5j * waves.axes[0] * waves.resolved

        def nonlinear(v: Tensor) -> Tensor:
            return factor * waves.to_waves(waves.to_space(v) ** 2)

        return nonlinear

    def stable_dt(
        self, u: Float[Tensor, "batch 1 x"], waves: Waves, parameters: Parameters
    ) -> float:
        """What the largest speed allows the smallest waves: no speed is ever above the first."""
        fastest = float((waves.axes[0] * waves.resolved).max() * u.abs().max())
        return IMAGINARY_LIMIT / fastest if fastest else math.inf
