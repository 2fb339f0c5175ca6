"""A low pass: the large scales of a field."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.basis import Basis
from diffsci.diffusion.operators.base import Operator
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class LowPass(Operator):
    """The large scales: waves longer than 1 / cutoff cells, whatever their direction.

    Observations keep the shape of the field, without its small scales.

    Args:
        cutoff: Wavenumbers |k| below it are kept, in cycles per cell; one dim has 0 to 0.5.
        periodic: Whether dims join their ends, one answer for all or one for each; a dim that does
            not is not taken to go on beyond its edges.
    """

    cutoff: float = 0.125
    periodic: bool | tuple[bool, ...] = True

    def __post_init__(self) -> None:
        known = 0 < self.cutoff < math.inf
        require(known, "cutoff", self.cutoff, "cycles per cell, more than 0")

    def apply(
        self, field: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch *observation"]:
        """The field without its small scales."""
        basis, keep = self._basis(field)
        return basis.inverse(keep * basis.forward(field))

    def adjoint(
        self, values: Float[Tensor, "batch *observation"], like: Float[Tensor, "..."]
    ) -> Float[Tensor, "batch channel *space"]:
        """The same: a projection in an orthonormal basis is its own transpose."""
        return self.apply(values)

    def _basis(self, field: Tensor) -> tuple[Basis, Tensor]:
        space = tuple(field.shape[2:])
        count = len(space)
        joined = (self.periodic,) * count if isinstance(self.periodic, bool) else self.periodic
        require(len(joined) == count, "periodic", self.periodic, f"{count} answers, one a dim")
        return _kept(space, joined, self.cutoff, field.dtype, field.device)


@lru_cache(maxsize=16)
def _kept(
    space: tuple[int, ...],
    periodic: tuple[bool, ...],
    cutoff: float,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Basis, Float[Tensor, "*space"]]:
    with torch.inference_mode(False):
        basis = Basis(space, periodic)
        keep = (basis.wavenumber < cutoff).to(device, dtype)
        # Its matrices are made here too, so that those are usable outside inference mode as well.
        basis.forward(keep)
        return basis, keep
