"""A variance that is learned beside the network, as a function of the level.

The logarithm of the variance is a cubic spline of s = log(noise_std / signal_scale), with one knot
a unit of s:

    u(s) = log(e + (1 - e) exp(w(s))),    w(s) = sum_k B(s - s_k) W_k,    W = 0 at first: u = 0.

Splines, because they are local: levels that are rarely drawn do not bend those that are, and beyond
the last knot u stays what it is there. The B(s - s_k) sum to 1, so that a constant needs no bias of
its own, and they are nearly orthogonal, so that Adam learns each W_k at about its own speed. The
posterior variance of normal data turns over within two units of s; it is met to about 1 %.

A floor e keeps what is known exactly, such as a pixel that never changes, from becoming all of the
loss: without it each further digit of a constant would be worth as much as the first.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.diffusion.basis import Basis
from diffsci.grid import Grid

Per = Literal["level", "channel", "pixel", "wavenumber"]
"""What has a variance of its own: nothing but the level, or also each of these."""

LOWEST, HIGHEST, FLOOR = -7, 5, 1e-6
"""Ends of s, from a thousandth of the data's standard deviation to 150 of them; floor e."""


class LearnedVariance(nn.Module):
    """Logarithm of the mean squared error of v, learned for each level.

    Args:
        per: What has a variance of its own. `wavenumber` compares residuals in orthonormal waves,
            and has one variance for all waves of a band; see `diffsci.diffusion.basis`.
        channels: Of the target.
        grid: Of the target.
    """

    knots: Tensor
    band: Tensor

    def __init__(self, per: Per, channels: int, grid: Grid) -> None:
        super().__init__()
        self.basis = Basis.of(grid) if per == "wavenumber" else None
        if self.basis is None:
            space = grid.sizes if per == "pixel" else (1,) * len(grid.sizes)
            self._shape = (1 if per == "level" else channels, *space)
        else:
            self._shape = (channels, self.basis.bands)
            self.register_buffer("band", self.basis.band, persistent=False)
        knots = torch.arange(LOWEST - 1, HIGHEST + 2, dtype=torch.float32)
        self.register_buffer("knots", knots, persistent=False)
        self.weight = nn.Parameter(torch.zeros(len(knots), math.prod(self._shape)))

    def forward(self, told: Float[Tensor, " batch"]) -> Float[Tensor, "batch ..."]:
        """The log variance u, broadcasting against [batch, channel, *space] of cells or waves.

        Args:
            told: log(noise_std / signal_scale) / 4, as the network is told of the level.
        """
        s = (4 * told.to(self.weight)).clamp(LOWEST, HIGHEST)
        distance = (s[:, None] - self.knots).abs()
        near, far = (1 - distance).clamp(min=0), (2 - distance).clamp(min=0)
        spline = (far**3 - 4 * near**3) / 6
        w = (spline @ self.weight).reshape(-1, *self._shape)
        u = torch.log(FLOOR + (1 - FLOOR) * torch.exp(w))
        return u if self.basis is None else u[..., self.band]

    def turned(
        self, residual: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch channel *space"]:
        """A residual as the variances see it: its waves for `wavenumber`, itself otherwise."""
        return residual if self.basis is None else self.basis.forward(residual)
