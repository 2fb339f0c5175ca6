"""Linear dynamics: x_{n+1} = F x_n + eta, eta ~ N(0, Q), a forecast of which all is known.

After n steps from N(m, P) the state is normal again,

    N(F^n m, F^n P F^nT + sum_{i<n} F^i Q F^iT),

so that a whole forecasting system can be held to it: a step's law, the growth of its spread over
leads, and the climate that it ends in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.exact.gaussian import Gaussian
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class LinearDynamics:
    """A state that is moved by a matrix and shaken by normal noise.

    Args:
        transition: The F.
        innovation: The Q, symmetric and positive semi-definite.
    """

    transition: Float[Tensor, "dim dim"]
    innovation: Float[Tensor, "dim dim"]

    def __post_init__(self) -> None:
        _ = self._shaken

    @cached_property
    def _shaken(self) -> Gaussian:
        return Gaussian(mean=torch.zeros_like(self.transition[0]), covariance=self.innovation)

    def next(self, x_n: Float[Tensor, "*batch dim"]) -> Gaussian:
        """The law of the state after one that is known, or after each of a batch."""
        return Gaussian(mean=x_n @ self.transition.mT, covariance=self.innovation)

    def denoiser(self, schedule: AnySchedule) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The perfect model of a step: `(x_t, t, x_n) -> E[x_{n+1} | x_t, x_n]`.

        x_t is a noisy copy of x_{n+1}, and x_n the state before it, one for each example.
        """

        def denoise(x_t: Tensor, t: Tensor, x_n: Tensor) -> Tensor:
            at = level(schedule, t)
            mean = x_n @ self.transition.mT
            off = x_t - at.over(x_t).signal_scale * mean
            return mean + self._shaken.posterior_mean(off, at)

        return denoise

    def rollout(self, start: Gaussian, steps: int) -> Gaussian:
        """The law of the state `steps` later.

        Args:
            start: Law of the first state; with a covariance of 0, a state that is known.
            steps: 0 or more.
        """
        require(steps >= 0, "steps", steps, "0 or more")
        mean, covariance = start.mean, start.covariance
        for _ in range(steps):
            mean = mean @ self.transition.mT
            covariance = self.transition @ covariance @ self.transition.mT + self.innovation
        return Gaussian(mean=mean, covariance=covariance)

    def stationary(self) -> Gaussian:
        """The law that a step leaves as it is: the climate of these dynamics.

        Raises:
            FieldError: For a transition that does not damp, which has none.
        """
        radius = float(torch.linalg.eigvals(self.transition).abs().max())
        require(radius < 1, "transition", f"a spectral radius of {radius:.6g}", "less than 1")
        # Each turn doubles the number of steps in the sum: 60 turns are more than 1e18.
        covariance, power = self.innovation, self.transition
        for _ in range(60):
            covariance = covariance + power @ covariance @ power.mT
            power = power @ power
        return Gaussian(mean=torch.zeros_like(covariance[0]), covariance=covariance)
