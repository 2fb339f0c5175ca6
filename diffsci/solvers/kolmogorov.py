"""Kolmogorov flow: two-dimensional turbulence, driven by a sine of the force along x.

With vorticity w = v_x - u_y and velocity from a stream function,

    w_t + u w_x + v w_y = viscosity (w_xx + w_yy) - drag w - wave cos(wave y),

which is the Navier-Stokes equation with a force sin(wave y) along x and a friction. Stored is the
velocity, whose divergence vanishes by construction.
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
from diffsci.solvers._spectral import IMAGINARY_LIMIT, Waves
from diffsci.solvers.base import Parameters, SpectralSolver


@dataclass(frozen=True, kw_only=True)
class Kolmogorov(SpectralSolver):
    """Kolmogorov flow: forced two-dimensional turbulence (Fourier, ETDRK4, float64).

    Args:
        viscosity: Kinematic; 0.01 is a Reynolds number of 100.
        drag: Linear friction.
        wave: Wave number of the force along y.
        solver_points: Along each dim; stored are `points`, cut off in Fourier space.
        points: Stored points along each dim.
        dt: Solver step.
        output_step: Time between stored frames, a multiple of `dt`.
        spin_up: Time discarded before the first frame, a multiple of `dt`.
        trajectories: How many; trajectory i is the same for any number of them.
        frames: Stored frames of each.
        seed: Of the initial states.

    Source:
        The force as in Kochkov et al. (2021), doi:10.1073/pnas.2101784118.
    """

    title = "Kolmogorov flow"
    equation = "w_t + u w_x + v w_y = viscosity lap w - drag w - wave cos(wave y), w = v_x - u_y"
    dims = ("y", "x")
    stored_fields = {"u": "velocity along x", "v": "velocity along y"}

    viscosity: float = 0.01
    drag: float = 0.1
    wave: int = 4
    solver_points: int = 64
    points: int = 64
    dt: float = 0.02
    output_step: float = 0.2
    spin_up: float = 40.0
    trajectories: int = 128
    frames: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("viscosity", "drag"):
            value = getattr(self, name)
            require(0 <= value < math.inf, name, value, "a finite number, 0 or more")
        require(self.solver_points >= 8, "solver_points", self.solver_points, "8 or more")
        highest = math.ceil(self.solver_points / 3) - 1
        expected = f"1 to {highest}, which {self.solver_points} solver points resolve"
        require(1 <= self.wave <= highest, "wave", self.wave, expected)
        super().__post_init__()

    @property
    def side(self) -> float:
        """See `SpectralSolver.side`."""
        return 2 * math.pi

    @property
    def grid_points(self) -> int:
        """See `SpectralSolver.grid_points`."""
        return self.solver_points

    def initial(self, numbers: np.ndarray) -> Float[Tensor, "trajectory 1 y x"]:
        """Random vorticity of standard deviation 3, amplitude k exp(-k^2 / 32)."""
        waves = Waves.build(self.grid_points, 2, self.side)
        v = smooth(self.seed, numbers, lambda k: k * torch.exp(-(k**2) / 32), 3.0, waves)
        return waves.to_space(v)[:, None]

    def linear(self, waves: Waves, parameters: Parameters) -> Float[Tensor, "*waves"]:
        """Viscosity and drag."""
        return -self.viscosity * waves.squared - self.drag

    def nonlinear(self, waves: Waves, parameters: Parameters) -> Callable[[Tensor], Tensor]:
        """Curl of the momentum's transport, and of the force.

        Of an incompressible flow, u w_x + v w_y = (d_xx - d_yy)(u v) + d_xy (v^2 - u^2): two
        products of two fields instead of two of four.
        """
        k_y, k_x = waves.axes
        crossed = (k_x**2 - k_y**2) * waves.resolved
        along = k_x * k_y * waves.resolved
        flow = _flow(waves)
        force = torch.zeros_like(waves.squared)
        # -wave cos(wave y): half of it in each of the two waves along y.
        force[self.wave, 0] = force[-self.wave, 0] = -self.wave / 2 * waves.points**2

        def nonlinear(w: Tensor) -> Tensor:
            velocity = waves.to_space(flow * w)
            u, v = velocity[:, :1], velocity[:, 1:]
            products = waves.to_waves(torch.cat([u * v, v * v - u * u], dim=1))
            return crossed * products[:, :1] + along * products[:, 1:] + force

        return nonlinear

    def observed(
        self, v: Complex[Tensor, "batch 1 *waves"], waves: Waves
    ) -> Complex[Tensor, "..."]:
        """The velocity of a vorticity."""
        return _flow(waves) * v

    def state(self, c: Complex[Tensor, "batch 2 *waves"], waves: Waves) -> Complex[Tensor, "..."]:
        """The vorticity of a velocity, as far as it is resolved."""
        k_y, k_x = waves.axes
        return 1j * (k_x * c[:, 1:] - k_y * c[:, :1]) * waves.resolved

    def stable_dt(
        self, u: Float[Tensor, "batch 1 y x"], waves: Waves, parameters: Parameters
    ) -> float:
        """What the speed of a state allows the smallest waves."""
        speed = waves.to_space(self.observed(waves.to_waves(u), waves)).abs().sum(dim=1).max()
        fastest = float((waves.axes[1] * waves.resolved).max() * speed)
        return IMAGINARY_LIMIT / fastest if fastest else math.inf


def _flow(waves: Waves) -> Complex[Tensor, "2 *waves"]:
    """From vorticity to the velocity (psi_y, -psi_x), where -lap psi is the vorticity."""
    k_y, k_x = waves.axes
    squared = waves.squared.clone()
    squared[0, 0] = 1.0  # The mean has no vorticity.
    return torch.stack([1j * k_y / squared, -1j * k_x / squared])
