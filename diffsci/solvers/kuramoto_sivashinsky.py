"""Kuramoto-Sivashinsky: u_t + u u_x + u_xx + u_xxxx = 0 on a periodic line.

The second derivative feeds long waves, the fourth damps short ones, and the non-linear term carries
energy from one to the other: chaos in one dimension, with a Lyapunov time of about 12 time units.
The spatial mean is conserved exactly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from diffsci import __version__
from diffsci.errors import NumericsError, require
from diffsci.solvers._spectral import Etdrk4
from diffsci.solvers.base import Solver

_TOGETHER = 64
"""Trajectories solved at once, always: so the bits of one do not depend on how many there are."""

Progress = Callable[[int, int], None]
"""`progress(trajectories done, all)`."""


@dataclass(frozen=True, kw_only=True)
class KuramotoSivashinsky(Solver):
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
        for name in ("length", "dt", "output_step"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, value, "a finite number above 0")
        require(0 <= self.spin_up < math.inf, "spin_up", self.spin_up, "a finite number, 0 or more")
        require(self.points >= 8, "points", self.points, "8 or more")
        for name in ("refine", "trajectories", "frames"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        for name in ("output_step", "spin_up"):
            value = getattr(self, name)
            steps = value / self.dt
            require(abs(steps - round(steps)) < 1e-6, name, value, f"a multiple of dt={self.dt:g}")
        require(
            self.output_step > self.dt / 2,
            "output_step",
            self.output_step,
            f"dt={self.dt:g} or more",
        )

    def __call__(self, progress: Progress | None = None) -> xr.Dataset:
        """Trajectories of `u`, dims `sample, time, x`, float32.

        Args:
            progress: Told how far it is, after each group of trajectories.

        Raises:
            NumericsError: When `dt` is too large for the solution to stay finite.
        """
        values = np.empty((self.trajectories, self.frames, self.points), dtype=np.float32)
        for first in range(0, self.trajectories, _TOGETHER):
            after = min(first + _TOGETHER, self.trajectories)
            u = self.initial(np.arange(first, first + _TOGETHER))
            u = self.integrate(u, frames=2, interval=self.spin_up)[:, 1] if self.spin_up else u
            stored = self.integrate(u, frames=self.frames)[: after - first, :, :: self.refine]
            values[first:after] = stored.numpy()
            if not np.isfinite(values[first:after]).all():
                raise NumericsError(
                    f"kuramoto_sivashinsky: the solution grows without bound at dt={self.dt:g} "
                    f"with {self.points * self.refine} solver points: take a smaller dt"
                )
            if progress is not None:
                progress(after, self.trajectories)
        return self._label(values)

    def initial(self, numbers: np.ndarray) -> Float[Tensor, "trajectory x"]:
        """States before the spin-up: sums of 10 long sines, a function of the seed and the number.

        Args:
            numbers: Of the trajectories.
        """
        x = torch.arange(self.points * self.refine, dtype=torch.float64) / (
            self.points * self.refine
        )
        states = []
        for number in numbers:
            random = np.random.Generator(np.random.Philox([self.seed, int(number)])).random((3, 10))
            amplitude, wave, phase = (torch.from_numpy(row)[:, None] for row in random)
            angle = 2 * math.pi * ((1 + (3 * wave).floor()) * x + phase)
            states.append(((amplitude - 0.5) * torch.sin(angle)).sum(dim=0))
        return torch.stack(states)

    def integrate(
        self, u: Float[Tensor, "batch x"], frames: int, interval: float | None = None
    ) -> Float[Tensor, "batch frame x"]:
        """States at `frames` times, the first of which is the given one.

        Args:
            u: On any periodic grid of `length`, in float64.
            frames: How many, the given one included.
            interval: Time between them; none takes `output_step`.
        """
        step = self.stepper(u.shape[-1])
        count = round((self.output_step if interval is None else interval) / self.dt)
        v = torch.fft.rfft(u)
        states = [u]
        for _ in range(frames - 1):
            for _ in range(count):
                v = step(v)
            states.append(torch.fft.irfft(v, n=u.shape[-1]))
        return torch.stack(states, dim=1)

    def stepper(self, points: int) -> Etdrk4:
        """One step of `dt` for the Fourier coefficients of a state on `points` points."""
        waves = torch.arange(points // 2 + 1, dtype=torch.float64)
        k = 2 * math.pi / self.length * waves
        # The square of waves up to 2/3 of the highest aliases only onto those above: they are cut.
        factor = -0.5j * k * (waves < points / 3)

        def nonlinear(v: Tensor) -> Tensor:
            u = torch.fft.irfft(v, n=points)
            squared: Tensor = torch.fft.rfft(u * u)
            return factor * squared

        return Etdrk4.build(k**2 - k**4, nonlinear, self.dt)

    def _label(self, values: Float[np.ndarray, "sample time x"]) -> xr.Dataset:
        x = self.length * np.arange(self.points) / self.points
        time = self.output_step * np.arange(self.frames)
        return xr.Dataset(
            {
                "u": (
                    ("sample", "time", "x"),
                    values,
                    {"units": "1", "long_name": "Kuramoto-Sivashinsky field"},
                )
            },
            coords={
                "sample": ("sample", np.arange(self.trajectories), {"long_name": "trajectory"}),
                "time": ("time", time, {"units": "1", "long_name": "time after spin-up"}),
                "x": ("x", x, {"units": "1", "long_name": "position"}),
            },
            attrs={
                "title": "Kuramoto-Sivashinsky trajectories",
                "equation": "u_t + u u_x + u_xx + u_xxxx = 0",
                "boundary": json.dumps({"x": ["periodic", "periodic"]}),
                "solver": "Fourier pseudo-spectral, 2/3 rule, ETDRK4, float64",
                "source": f"diffsci {__version__}",
                **asdict(self),
            },
        )
