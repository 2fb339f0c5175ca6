"""Gray-Scott: two substances that react, diffuse, are fed and removed; spots, stripes and waves.

    A_t = 2e-5 lap A - A B^2 + feed (1 - A),    B_t = 1e-5 lap B + A B^2 - (feed + kill) B

on a periodic square of side 1, in seconds. The pair (feed, kill) decides the pattern.
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

_DIFFUSIVITY = (2e-5, 1e-5)


@dataclass(frozen=True, kw_only=True)
class GrayScott(SpectralSolver):
    """Gray-Scott reaction and diffusion, parameters by trajectory (Fourier, ETDRK4, float64).

    Args:
        feed: Rates, one after the other over the trajectories and then again from the first.
        kill: Rate that goes with each of `feed`.
        solver_points: Along each dim; stored are `points`, cut off in Fourier space.
        points: Stored points along each dim.
        dt: Solver step, seconds.
        output_step: Seconds between stored frames, a multiple of `dt`.
        spin_up: Seconds discarded before the first frame, a multiple of `dt`.
        trajectories: How many; trajectory i is the same for any number of them.
        frames: Stored frames of each.
        seed: Of the initial states.

    Source:
        Pearson (1993), doi:10.1126/science.261.5118.189; diffusivities as in Ohana et al. (2024),
        The Well, arXiv:2412.00568.
    """

    title = "Gray-Scott reaction and diffusion"
    equation = "A_t = 2e-5 lap A - A B^2 + feed (1 - A); B_t = 1e-5 lap B + A B^2 - (feed + kill) B"
    dims = ("y", "x")
    stored_fields = {"A": "concentration of A", "B": "concentration of B"}
    parameter_names = {"feed": "feed rate of A", "kill": "removal rate of B beyond the feed rate"}
    time_unit = "s"

    feed: tuple[float, ...] = (0.014, 0.015, 0.017, 0.018)
    kill: tuple[float, ...] = (0.054, 0.05325, 0.05175, 0.051)
    solver_points: int = 64
    points: int = 64
    dt: float = 1.0
    output_step: float = 40.0
    spin_up: float = 200.0
    trajectories: int = 128
    frames: int = 46
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("feed", "kill"):
            rates = getattr(self, name)
            fits = len(rates) > 0 and all(0 <= rate < math.inf for rate in rates)
            require(fits, name, rates, "rates, each a finite number, 0 or more")
        expected = f"as many as feed, {len(self.feed)}"
        require(len(self.kill) == len(self.feed), "kill", self.kill, expected)
        require(self.solver_points >= 8, "solver_points", self.solver_points, "8 or more")
        super().__post_init__()

    @property
    def side(self) -> float:
        """See `SpectralSolver.side`."""
        return 1.0

    @property
    def grid_points(self) -> int:
        """See `SpectralSolver.grid_points`."""
        return self.solver_points

    def parameters(self, numbers: np.ndarray) -> dict[str, Float[np.ndarray, "trajectory"]]:
        """The pairs in turn."""
        turn = numbers % len(self.feed)
        return {"feed": np.array(self.feed)[turn], "kill": np.array(self.kill)[turn]}

    def initial(self, numbers: np.ndarray) -> Float[Tensor, "trajectory 2 y x"]:
        """A = 1 and B = 0 but for 5 to 14 Gaussian blobs with less of A and some of B."""
        return torch.from_numpy(np.stack([self._blobs(int(number)) for number in numbers]))

    def _blobs(self, number: int) -> Float[np.ndarray, "2 y x"]:
        random = np.random.Generator(np.random.Philox([self.seed, number]))
        count = int(random.integers(5, 15))
        places, widths = random.random((count, 2, 1)), random.uniform(0.02, 0.05, count)
        x = np.arange(self.grid_points) / self.grid_points
        # The nearest of a blob's periodic images: the others are 10 widths away or more.
        apart = (x - places + 0.5) % 1 - 0.5
        bell = np.exp(-(apart**2) / (2 * widths[:, None, None] ** 2))
        blobs = (bell[:, 0, :, None] * bell[:, 1, None, :]).sum(axis=0)
        fields: np.ndarray = np.clip(np.stack([1 - 0.5 * blobs, 0.25 * blobs]), 0.0, 1.0)
        return fields

    def linear(self, waves: Waves, parameters: Parameters) -> Float[Tensor, "2 *waves"]:
        """Diffusion; the rates of each trajectory are with the reaction."""
        return torch.stack([-diffusivity * waves.squared for diffusivity in _DIFFUSIVITY])

    def nonlinear(self, waves: Waves, parameters: Parameters) -> Callable[[Tensor], Tensor]:
        """Reaction, feed and removal."""
        feed, kill = (parameters[name][:, None, None] for name in ("feed", "kill"))
        one = torch.zeros_like(waves.squared)
        one[0, 0] = waves.points**2

        def nonlinear(v: Tensor) -> Tensor:
            a, b = waves.to_space(v).unbind(dim=1)
            reaction = waves.to_waves(a * b * b) * waves.resolved
            return torch.stack(
                [feed * (one - v[:, 0]) - reaction, reaction - (feed + kill) * v[:, 1]], dim=1
            )

        return nonlinear
