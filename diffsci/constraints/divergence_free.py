"""No divergence: the Leray projection of a velocity on a periodic box."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from diffsci.constraints.base import Setting, Subspace, check_names
from diffsci.errors import FieldError, require


@dataclass(frozen=True, kw_only=True)
class DivergenceFree(Subspace):
    """A velocity without divergence on a periodic box, its derivatives taken by Fourier waves.

    The highest wave of an even number of cells has no derivative there, and is left as it is.

    Args:
        velocity: Names of its components, in the order of the grid's dims: `[v, u]` where the dims
            are y, x. Empty takes `w, v, u` as far as there are dims.
    """

    velocity: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_names(self.velocity)

    def check(self, setting: Setting) -> None:
        """Needs a component along each dim, and a regular grid that closes on itself."""
        grid = setting.grid
        names = self._names(setting)
        dims = len(grid.dims)
        expected = f"{dims} names, one along each of {', '.join(grid.dims)}"
        require(len(names) == dims, "velocity", names, expected)
        for name in names:
            known = ", ".join(setting.channels)
            require(name in setting.channels, "velocity", name, f"names of channels: {known}")
        for dim, sides, at in zip(grid.dims, grid.boundary, grid.coordinates, strict=True):
            if "periodic" not in sides or grid.geometry == "sphere":
                expected = f"a flat periodic box; {dim} is {sides[0]} on a {grid.geometry} grid"
                raise FieldError("divergence_free", dim, expected)
            steps = np.abs(np.diff(np.asarray(at)))
            if len(steps) and steps.max() - steps.min() > 1e-3 * steps.mean():
                raise FieldError("divergence_free", dim, "cells of one size along each dim")

    def project(
        self, states: Float[Tensor, "batch channel *space"], setting: Setting
    ) -> Float[Tensor, "batch channel *space"]:
        """Takes out of each wave what points along it, each component measured in its scale."""
        numbers = [setting.channels.index(name) for name in self._names(setting)]
        dims = tuple(range(2, states.ndim))
        v = torch.fft.rfftn(states[:, numbers], dim=dims)
        along = self._waves(setting, v)
        share = torch.as_tensor(setting.scale[numbers] ** 2).to(states)
        share = share.reshape(-1, *[1] * len(dims))
        length = (share * along**2).sum(dim=0)
        divergence = (along * v).sum(dim=1, keepdim=True)
        v = v - share * along * divergence / torch.where(length > 0, length, 1.0)
        made = states.clone()
        made[:, numbers] = torch.fft.irfftn(v, s=states.shape[2:], dim=dims)
        return made

    def _names(self, setting: Setting) -> tuple[str, ...]:
        return self.velocity or ("w", "v", "u")[-len(setting.grid.dims) :]

    def _waves(self, setting: Setting, like: Complex[Tensor, "..."]) -> Float[Tensor, "dim *waves"]:
        """The wave vector along each dim; zero for the highest of an even number of cells."""
        grid = setting.grid
        parts = []
        for number, dim in enumerate(grid.dims):
            size = grid.sizes[number]
            edges = grid.bounds(dim)
            count = torch.fft.fftfreq(size, d=1 / size, dtype=torch.float64)
            if size % 2 == 0:
                count[size // 2] = 0.0
            if number == len(grid.dims) - 1:
                count = count[: size // 2 + 1]
            k = 2 * math.pi / abs(float(edges[-1] - edges[0])) * count
            parts.append(k.reshape(-1, *[1] * (len(grid.dims) - 1 - number)))
        return torch.stack([part.expand(like.shape[2:]) for part in parts]).to(like.device)
