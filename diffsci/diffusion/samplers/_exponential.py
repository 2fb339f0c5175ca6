"""Exponential multistep steps: noise is followed exactly, the estimate of x_0 by a polynomial.

With u = log(c / d) the probability flow from t to s is

    x_s = (d_s / d_t) x_t + c_s * integral of exp(u - u_s) E[x_0 | x_u] du,

and where a polynomial through estimates at hand stands for the integrand's second factor, the
integral is a weighted sum of them, by weights that the levels alone decide. The reverse diffusion
is the same with 2 exp(2 (u - u_s)), and noise.

The start decides the order. A first step by one estimate misses x by h^2; a method has order k
only if all of its start misses by h^k at most. What achieves that without a further call is to
take the first k - 1 steps as one Runge-Kutta step, whose stages lie on the levels anyway:

    k = 3   the midpoint rule: level 2 from level 0, by the estimate at level 1
    k = 4   Heun's third-order rule: then level 3 from level 0, by the estimates at 0 and 2

The estimate at level 1, made where x misses by h^2, is good enough for k = 3; for k = 4 it is
then forgotten. Begun with fewer estimates instead, all these fall to order 2 where the noise at
t = 1 is not far above the data (measured: from sigma 20 and less).

The orders are met where steps in u change slowly along the path. Steps uniform in t do not under
`linear`, `vp` or `sigmoid`, where the last one spans decades: measured orders there are 1.1 to 1.9.
This is why levels are spaced by `karras` unless asked otherwise.

Source: Hochbruck and Ostermann (2010), Exponential integrators, doi:10.1017/S0962492910000048.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Descent, Jump, Level
from diffsci.diffusion.samplers.base import Watched


@dataclass(frozen=True)
class Estimate:
    """E[x_0 | x_t], and the level of its x_t."""

    at: Level
    x_0: Float[Tensor, "batch *shape"]


def estimate(denoise: Watched, x: Float[Tensor, "batch *shape"], at: Level) -> Estimate:
    """Ask the denoiser."""
    return Estimate(at, denoise(x, at.t))


def follow(
    x: Float[Tensor, "batch *shape"], jump: Jump, known: Sequence[Estimate]
) -> Float[Tensor, "batch *shape"]:
    """Where the probability flow takes x, by the polynomial through the known estimates."""
    x = jump.after.noise_std / jump.now.noise_std * x
    for share, one in zip(shares(jump, known), known, strict=True):
        x = x + jump.after.signal_scale * share * one.x_0
    return x


def start(
    denoise: Watched, path: Descent, x: Float[Tensor, "batch *shape"], order: int
) -> tuple[Float[Tensor, "batch *shape"], list[Estimate], Sequence[Jump]]:
    """The first order - 2 or so steps, as one Runge-Kutta step: see the top of this file.

    Args:
        denoise: Called once for each jump that is taken.
        path: Of at least order - 1 jumps.
        x: At its first level.
        order: Of the method that goes on from here, 1 to 4.

    Returns:
        x where that method takes over, the estimates it may use, and the jumps left to it.
    """
    jumps = path.jumps
    if order < 3:
        return x, [], jumps
    top, x_1 = jumps[0].now, x
    first = estimate(denoise, x, top)
    x = follow(x_1, jumps[0], [first])
    second = estimate(denoise, x, jumps[1].now)
    x = follow(x_1, Jump(top, jumps[1].after), [second])
    if order == 3:
        return x, [first, second], jumps[2:]
    third = estimate(denoise, x, jumps[2].now)
    x = follow(x_1, Jump(top, jumps[2].after), [first, third])
    return x, [first, third], jumps[3:]


def shares(jump: Jump, known: Sequence[Estimate], rate: int = 1) -> Float[Tensor, " known"]:
    """Of each estimate in x_after / c_after; their sum is 1 - exp(-rate * width).

    Args:
        jump: The step.
        known: Estimates at different levels.
        rate: 1 for the probability flow, 2 for the reverse diffusion.
    """
    # In units of the step, from its start. The shares integrate all powers below their number.
    node, weight = _gauss_legendre()
    width = rate * jump.width
    power = torch.arange(len(known), dtype=torch.float64)[:, None]
    moments = node**power @ (width * torch.exp(width * (node - 1)) * weight)
    sigma = torch.stack([one.at.noise_to_signal for one in known])
    at = torch.log(jump.now.noise_to_signal / sigma) / jump.width
    found: Tensor = torch.linalg.solve(at**power, moments)
    return found


@cache
def _gauss_legendre() -> tuple[Float[Tensor, " node"], Float[Tensor, " node"]]:
    """Nodes and weights on [0, 1]: eigenvalues and vectors of the polynomials' recurrence.

    24 of them leave 1e-14 of a cubic times exp(-width) for widths up to 20.
    """
    n = torch.arange(1, 24, dtype=torch.float64)
    off = n / torch.sqrt(4 * n**2 - 1)
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return (values + 1) / 2, vectors[0] ** 2
