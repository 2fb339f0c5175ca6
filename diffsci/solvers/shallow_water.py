"""Rotating shallow water on a periodic plane: waves, eddies, and a mass that is conserved.

    u_t + u u_x + v u_y - coriolis v = -gravity eta_x
    v_t + u v_x + v v_y + coriolis u = -gravity eta_y
    eta_t + ((depth + eta) u)_x + ((depth + eta) v)_y = 0

and a filter exp(-smoothing k^4 t) on the smallest waves, without which energy would pile up there.
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
from diffsci.solvers._random import smooth
from diffsci.solvers._spectral import IMAGINARY_LIMIT, FilteredRk4, Waves
from diffsci.solvers.base import Parameters, SpectralSolver


@dataclass(frozen=True, kw_only=True)
class ShallowWater(SpectralSolver):
    """Rotating shallow water from geostrophic balance (Fourier, RK4, float64).

    Args:
        coriolis: Twice the rate of rotation.
        gravity: Acceleration.
        depth: Of the water at rest.
        smoothing: Rate at which a wave of length 2 pi decays; it grows as the wave number's 4th
            power.
        solver_points: Along each dim; stored are `points`, cut off in Fourier space.
        points: Stored points along each dim.
        dt: Solver step.
        output_step: Time between stored frames, a multiple of `dt`.
        spin_up: Time discarded before the first frame, a multiple of `dt`.
        trajectories: How many; trajectory i is the same for any number of them.
        frames: Stored frames of each.
        seed: Of the initial states.
    """

    title = "Rotating shallow water"
    equation = (
        "u_t + u u_x + v u_y - coriolis v = -gravity eta_x; "
        "v_t + u v_x + v v_y + coriolis u = -gravity eta_y; "
        "eta_t + ((depth + eta) u)_x + ((depth + eta) v)_y = 0; all - smoothing lap lap"
    )
    numerics = "Fourier pseudo-spectral, 2/3 rule, RK4 with the filter inside the step, float64"
    dims = ("y", "x")
    stored_fields = {
        "eta": "surface elevation",
        "u": "velocity along x",
        "v": "velocity along y",
    }

    coriolis: float = 2.0
    gravity: float = 1.0
    depth: float = 1.0
    smoothing: float = 2e-6
    solver_points: int = 64
    points: int = 64
    dt: float = 0.02
    output_step: float = 0.5
    spin_up: float = 0.0
    trajectories: int = 128
    frames: int = 41
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("gravity", "depth"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, value, "a finite number above 0")
        fits = self.coriolis != 0 and math.isfinite(self.coriolis)
        require(fits, "coriolis", self.coriolis, "a finite number other than 0")
        fits = 0 <= self.smoothing < math.inf
        require(fits, "smoothing", self.smoothing, "a finite number, 0 or more")
        require(self.solver_points >= 8, "solver_points", self.solver_points, "8 or more")
        super().__post_init__()
        # The two fastest of the linear waves; the flow adds to it, see `stable_dt`.
        stable = IMAGINARY_LIMIT / self._fastest(0.0)
        require(self.dt <= stable, "dt", self.dt, f"{stable:.3g} or less, to resolve gravity waves")

    def _fastest(self, speed: float) -> float:
        """Frequency of the smallest resolved waves in a flow of this speed along them."""
        k = math.sqrt(2) * (math.ceil(self.solver_points / 3) - 1)
        return math.sqrt(self.coriolis**2 + self.gravity * self.depth * k**2) + speed * k

    @property
    def side(self) -> float:
        """See `SpectralSolver.side`."""
        return 2 * math.pi

    @property
    def grid_points(self) -> int:
        """See `SpectralSolver.grid_points`."""
        return self.solver_points

    def initial(self, numbers: np.ndarray) -> Float[Tensor, "trajectory 3 y x"]:
        """Random elevation of standard deviation 0.1 around wave number 3, in balance."""
        waves = Waves.build(self.grid_points, 2, self.side)
        eta = smooth(self.seed, numbers, lambda k: torch.exp(-((k - 3) ** 2) / 2), 0.1, waves)
        k_y, k_x = waves.axes
        turn = self.gravity / self.coriolis
        v = torch.stack([eta, -1j * turn * k_y * eta, 1j * turn * k_x * eta], dim=1)
        return waves.to_space(v)

    def linear(self, waves: Waves, parameters: Parameters) -> Float[Tensor, "*waves"]:
        """The filter."""
        return -self.smoothing * waves.squared**2

    def nonlinear(self, waves: Waves, parameters: Parameters) -> Callable[[Tensor], Tensor]:
        """All else, transport as vorticity times velocity and the gradient of kinetic energy."""
        i_y, i_x = (1j * axis * waves.resolved for axis in waves.axes)
        resolved = waves.resolved.double()

        def nonlinear(v: Tensor) -> Tensor:
            elevation, along, across = v.unbind(dim=1)
            vorticity = i_x * across - i_y * along
            eta, u, w, turn = waves.to_space(
                torch.stack([elevation, along, across, vorticity], dim=1)
            ).unbind(dim=1)
            turn = turn + self.coriolis
            depth = self.depth + eta
            head = self.gravity * eta + (u * u + w * w) / 2
            products = torch.stack([turn * w, turn * u, head, depth * u, depth * w], dim=1)
            spun, spun_back, lifted, flux, flux_across = waves.to_waves(products).unbind(dim=1)
            return torch.stack(
                [
                    -i_x * flux - i_y * flux_across,
                    resolved * spun - i_x * lifted,
                    -resolved * spun_back - i_y * lifted,
                ],
                dim=1,
            )

        return nonlinear

    def stepper(self, waves: Waves, parameters: Parameters) -> FilteredRk4:
        """See `SpectralSolver.stepper`."""
        linear, nonlinear = self.linear(waves, parameters), self.nonlinear(waves, parameters)
        return FilteredRk4.build(linear, nonlinear, self.dt)

    def stable_dt(
        self, u: Float[Tensor, "batch 3 y x"], waves: Waves, parameters: Parameters
    ) -> float:
        """What gravity waves on the flow allow."""
        return IMAGINARY_LIMIT / self._fastest(float(u[:, 1:].square().sum(dim=1).max().sqrt()))
