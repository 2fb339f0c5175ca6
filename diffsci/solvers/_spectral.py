"""Exponential time differencing, fourth order, for u_t = L u + N(u), L diagonal in Fourier space.

The linear part is solved exactly, so its stiffness does not limit the step; the non-linear part
takes Runge-Kutta stages in between. The coefficients are functions like (e^z - 1) / z, which lose
all digits near z = 0 when evaluated as written; their mean over a unit circle around z does not.

Source: Cox and Matthews (2002), doi:10.1006/jcph.2002.6995; Kassam and Trefethen (2005),
Fourth-order time-stepping for stiff PDEs, doi:10.1137/S1064827502410633.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor


@dataclass(frozen=True)
class Etdrk4:
    """One time step as a function of the Fourier coefficients."""

    nonlinear: Callable[[Tensor], Tensor]
    whole: Float[Tensor, "*waves"]
    half: Float[Tensor, "*waves"]
    stage: Float[Tensor, "*waves"]
    first: Float[Tensor, "*waves"]
    middle: Float[Tensor, "*waves"]
    last: Float[Tensor, "*waves"]

    @classmethod
    def build(
        cls,
        linear: Float[Tensor, "*waves"],
        nonlinear: Callable[[Tensor], Tensor],
        dt: float,
        points: int = 32,
    ) -> Etdrk4:
        """The step of size `dt`.

        Args:
            linear: Real eigenvalues of L.
            nonlinear: N in Fourier space; dealiasing is its business.
            dt: Step size.
            points: On the half circle; the mean converges faster than any power of it.
        """
        angle = math.pi * (torch.arange(1, points + 1, dtype=torch.float64) - 0.5) / points
        z = dt * linear[..., None] + torch.polar(torch.ones_like(angle), angle)

        def mean(values: Tensor) -> Tensor:
            return dt * values.mean(dim=-1).real

        e = torch.exp(z)
        return cls(
            nonlinear=nonlinear,
            whole=torch.exp(dt * linear),
            half=torch.exp(dt * linear / 2),
            stage=mean((torch.exp(z / 2) - 1) / z),
            first=mean((-4 - z + e * (4 - 3 * z + z**2)) / z**3),
            middle=2 * mean((2 + z + e * (z - 2)) / z**3),
            last=mean((-4 - 3 * z - z**2 + e * (4 - z)) / z**3),
        )

    def __call__(self, v: Complex[Tensor, "batch ..."]) -> Complex[Tensor, "batch ..."]:
        """The coefficients one step later."""
        n_v = self.nonlinear(v)
        decayed = self.half * v
        a = decayed + self.stage * n_v
        n_a = self.nonlinear(a)
        b = decayed + self.stage * n_a
        n_b = self.nonlinear(b)
        c = self.half * a + self.stage * (2 * n_b - n_v)
        n_c = self.nonlinear(c)
        return self.whole * v + self.first * n_v + self.middle * (n_a + n_b) + self.last * n_c
