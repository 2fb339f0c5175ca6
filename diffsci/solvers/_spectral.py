"""Fourier coefficients of real fields on a periodic box, and steps of them in time.

For v_t = L v + N(v), L diagonal in Fourier space, both steppers solve the linear part exactly, so
that its stiffness does not limit the step, and take Runge-Kutta stages of fourth order in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Complex, Float, Shaped
from torch import Tensor

IMAGINARY_LIMIT = 2 * math.sqrt(2)
"""RK4 of v_t = i w v is stable for w dt up to this."""


@dataclass(frozen=True)
class Waves:
    """The wave numbers of a real field on `points` points along each dim.

    Args:
        points: Along each dim.
        axes: Angular wave numbers along each dim, that broadcast against coefficients.
        resolved: What the 2/3 rule keeps: products of two of these waves alias onto others only.
        shells: Length of the wave vector in whole waves around the box, rounded.
    """

    points: int
    axes: tuple[Float[Tensor, "..."], ...]
    resolved: Bool[Tensor, "*waves"]
    shells: Shaped[Tensor, "*waves"]

    @classmethod
    def build(cls, points: int, dims: int, side: float, device: str = "cpu") -> Waves:
        """Those of a box of one length in all dims.

        Args:
            points: Along each dim.
            dims: How many.
            side: Length of the box.
            device: Where the numbers are kept.
        """
        half = torch.arange(points // 2 + 1, dtype=torch.float64, device=device)
        full = torch.fft.fftfreq(points, d=1 / points, dtype=torch.float64, device=device)
        counts = [
            (half if dim == dims - 1 else full).reshape(-1, *[1] * (dims - 1 - dim))
            for dim in range(dims)
        ]
        resolved = torch.ones((), dtype=torch.bool, device=device)
        for count in counts:
            resolved = resolved & (count.abs() < points / 3)
        lengths = counts[0] ** 2
        for count in counts[1:]:
            lengths = lengths + count**2
        return cls(
            points=points,
            axes=tuple(2 * math.pi / side * count for count in counts),
            resolved=resolved,
            shells=lengths.sqrt().round().long(),
        )

    @property
    def squared(self) -> Float[Tensor, "*waves"]:
        """Square of the wave vectors' length."""
        total = self.axes[0] ** 2
        for axis in self.axes[1:]:
            total = total + axis**2
        return total

    @property
    def _dims(self) -> tuple[int, ...]:
        return tuple(range(-len(self.axes), 0))

    def to_space(self, v: Complex[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Values on the points."""
        size = (self.points,) * len(self.axes)
        found: Tensor = torch.fft.irfftn(v, s=size, dim=self._dims)
        return found

    def to_waves(self, u: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Coefficients of values on the points."""
        found: Tensor = torch.fft.rfftn(u, dim=self._dims)
        return found

    def tail(self, v: Complex[Tensor, "batch field *waves"]) -> float:
        """Energy of the smallest resolved waves over that of the strongest shell.

        The smallest are the last fifth of those that the 2/3 rule keeps along one axis; of several
        fields the largest ratio.
        """
        # Along the last axis a wave stands for its mirror image too.
        energy = (v.abs() ** 2).mean(dim=0) * (1 + (self.axes[-1] != 0).double())
        energy = energy.flatten(start_dim=1)
        last = self.points / 3
        spectrum = energy.new_zeros(len(energy), int(self.shells.max()) + 1)
        spectrum.index_add_(1, self.shells.flatten(), energy)
        smallest = spectrum[:, math.floor(0.8 * last) : math.ceil(last)].amax(dim=1)
        return float((smallest / spectrum[:, 1:].amax(dim=1).clamp(min=1e-300)).max())


def resized(
    v: Complex[Tensor, "*batch_and_waves"], before: Waves, after: Waves
) -> Complex[Tensor, "*batch_and_other_waves"]:
    """The same field's coefficients on more or fewer points: cut off, or filled up with zeros.

    The highest wave of an even number of points is its own mirror image; it is left out.
    """
    if before.points == after.points:
        return v
    dims = len(before.axes)
    keep = (min(before.points, after.points) + 1) // 2
    shape = (*[after.points] * (dims - 1), after.points // 2 + 1)
    found = v.new_zeros(*v.shape[: v.ndim - dims], *shape)
    low, high = slice(0, keep), slice(-keep + 1, None)
    places: list[tuple[slice, ...]] = [(low,)]
    for _ in range(dims - 1):
        places = [(side, *place) for place in places for side in (low, high)]
    for place in places:
        index: tuple[Any, ...] = (..., *place)
        found[index] = v[index]
    return found * (after.points / before.points) ** dims


@dataclass(frozen=True)
class Etdrk4:
    """One time step as a function of the Fourier coefficients, by exponential time differencing.

    The coefficients are functions like (e^z - 1) / z, which lose all digits near z = 0 when
    evaluated as written; their mean over a unit circle around z does not.

    Source: Cox and Matthews (2002), doi:10.1006/jcph.2002.6995; Kassam and Trefethen (2005),
    Fourth-order time-stepping for stiff PDEs, doi:10.1137/S1064827502410633.
    """

    nonlinear: Callable[[Tensor], Tensor]
    whole: Shaped[Tensor, "*waves"]
    half: Shaped[Tensor, "*waves"]
    stage: Shaped[Tensor, "*waves"]
    first: Shaped[Tensor, "*waves"]
    middle: Shaped[Tensor, "*waves"]
    last: Shaped[Tensor, "*waves"]

    @classmethod
    def build(
        cls,
        linear: Shaped[Tensor, "*waves"],
        nonlinear: Callable[[Tensor], Tensor],
        dt: float,
        points: int = 32,
    ) -> Etdrk4:
        """The step of size `dt`.

        Args:
            linear: Eigenvalues of L, real or complex.
            nonlinear: N in Fourier space; dealiasing is its business.
            dt: Step size.
            points: On the half circle; the mean converges faster than any power of it.
        """
        # Around a real number the lower half circle mirrors the upper; around others it does not.
        whole = linear.is_complex()
        count = torch.arange(1, (2 * points if whole else points) + 1, dtype=torch.float64)
        angle = (math.pi * (count - 0.5) / points).to(linear.device)
        z = dt * linear[..., None] + torch.polar(torch.ones_like(angle), angle)

        def mean(values: Tensor) -> Tensor:
            found = values.mean(dim=-1)
            return dt * (found if whole else found.real)

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


@dataclass(frozen=True)
class FilteredRk4:
    """One time step as a function of the Fourier coefficients: RK4 of exp(-L t) v.

    What the linear part takes away in a step is taken away within it, a half at a time; to multiply
    by exp(L dt) after each step instead would be of first order.
    """

    nonlinear: Callable[[Tensor], Tensor]
    half: Float[Tensor, "*waves"]
    dt: float

    @classmethod
    def build(
        cls, linear: Float[Tensor, "*waves"], nonlinear: Callable[[Tensor], Tensor], dt: float
    ) -> FilteredRk4:
        """The step of size `dt`; see `Etdrk4.build`."""
        return cls(nonlinear=nonlinear, half=torch.exp(dt * linear / 2), dt=dt)

    def __call__(self, v: Complex[Tensor, "batch ..."]) -> Complex[Tensor, "batch ..."]:
        """The coefficients one step later."""
        half, dt = self.half, self.dt
        n_v = self.nonlinear(v)
        decayed = half * v
        n_a = self.nonlinear(decayed + dt / 2 * half * n_v)
        n_b = self.nonlinear(decayed + dt / 2 * n_a)
        n_c = self.nonlinear(half * (decayed + dt * n_b))
        return half * (decayed + dt / 6 * half * n_v + dt / 3 * (n_a + n_b)) + dt / 6 * n_c
