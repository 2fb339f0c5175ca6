"""How far apart two normal laws are, in the unit of the data.

The Wasserstein-2 distance is the least root-mean-square way that turns draws of one law into
draws of the other. For normal laws with roots A = Sigma_1^(1/2) and B = Sigma_2^(1/2),

    W2^2 = |m_1 - m_2|^2 + tr(Sigma_1 + Sigma_2 - 2 (A Sigma_2 A)^(1/2))
         = |m_1 - m_2|^2 + min_U |A - B U|^2,    U orthogonal,

and the second line loses no digits for laws that are near each other.

Source: Bhatia, Jain and Lim (2019), On the Bures-Wasserstein distance between positive definite
matrices, doi:10.1016/j.exmath.2018.01.002.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.exact.diagonal import DiagonalGaussian
from diffsci.diffusion.exact.field import StationaryField
from diffsci.diffusion.exact.gaussian import Gaussian
from diffsci.errors import require


def wasserstein2(one: Gaussian, other: Gaussian) -> Float[Tensor, "*batch"]:
    """W2 between two normal laws."""
    roots = []
    for law in (one, other):
        values, vectors = torch.linalg.eigh(law.covariance)
        roots.append(vectors * torch.sqrt(values.clamp(min=0)) @ vectors.mT)
    a, b = roots
    left, _, right = torch.linalg.svd(b @ a)
    spread = ((a - b @ left @ right) ** 2).sum()
    return torch.sqrt(((one.mean - other.mean) ** 2).sum(dim=-1) + spread)


def wasserstein2_each(
    one: DiagonalGaussian | StationaryField, other: DiagonalGaussian | StationaryField
) -> Float[Tensor, "..."]:
    """W2 of each element, or of each wave; the root of the sum of their squares is that of all."""
    fields = isinstance(one, StationaryField), isinstance(other, StationaryField)
    require(fields[0] == fields[1], "other", type(other).__name__, f"a {type(one).__name__}")
    if isinstance(one, StationaryField) and isinstance(other, StationaryField):
        require(one.basis == other.basis, "other", other.basis, f"waves of {one.basis}")
    a, b = (law.independent if isinstance(law, StationaryField) else law for law in (one, other))
    return torch.hypot(a.mean - b.mean, torch.sqrt(a.variance) - torch.sqrt(b.variance))


def spread_by_band(one: StationaryField, other: StationaryField) -> Float[Tensor, "channel band"]:
    """Standard deviation of `one` over that of `other` in each band of |k|; 1 where they agree."""
    require(one.basis == other.basis, "other", other.basis, f"waves of {one.basis}")
    mean = one.basis.mean_by_band
    return torch.sqrt(mean(one.variance) / mean(other.variance))
