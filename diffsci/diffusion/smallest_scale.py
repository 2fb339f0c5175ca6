"""The noise that is left at t = 0, against the data's smallest scale.

A sample keeps white noise of std sigma_min = noise_std(0) / signal_scale(0). On a scale whose
waves have standard deviation s it makes sqrt(s^2 + sigma_min^2) of it: nothing for long waves, and
much for the finest, which are often a hundred times weaker than the field. So sigma_min is set from
the spectrum of the data and not copied: below 0.2 s its widening stays under 2 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.basis import Basis
from diffsci.errors import DataError

_WIDENING = 0.02
"""Most that the spread of the smallest scale may be too large: what samplers are held to."""

_FLOOR = 1e-3
# Rounding a unit normal field to bfloat16 just once adds white noise of std 1.7e-3, in all waves
# alike, so a network in bf16 does not resolve weaker ones. In fp32 they are a millionth of a cell's
# variance: no loss comes so near to its minimum that training would see them.


@dataclass(frozen=True)
class Scale:
    """The weakest of a data set's scales.

    Args:
        std: Standard deviation of its waves, on a scale where white noise of std s has s.
        channel: Name of the channel.
        band: Its |k|, in cycles per longest dim of the grid, rounded.
        wavelength: In finest cells; infinite for the mean of the field.
    """

    std: float
    channel: str
    band: int
    wavelength: float


def smallest_scale(
    fields: Float[Tensor, "n channel *space"],
    basis: Basis,
    names: Sequence[str],
    floor: float = _FLOOR,
) -> Scale:
    """The channel and the band of waves with the least standard deviation.

    Where a spectrum falls without end, as that of a smooth field, it is the last band above
    `floor`.

    Args:
        fields: Normalised targets of training, some hundreds or more.
        basis: Waves of their grid.
        names: One of each channel.
        floor: Bands weaker than this share of their channel's standard deviation are left out.

    Raises:
        DataError: For fields that are not finite, or do not vary in any channel.
    """
    if not bool(torch.isfinite(fields).all()):
        raise DataError("fields: got values that are not finite; fill or mask them first")
    space = tuple(range(2, fields.ndim))
    # In float64, so that a constant is exactly its own mean.
    mean = fields.mean(dim=(0, *space), keepdim=True, dtype=torch.float64).to(fields)
    power = (basis.forward(fields - mean) ** 2).mean(dim=0)
    # Orthonormal waves: the mean over the waves is that over the cells.
    limit = floor**2 * power.flatten(1).mean(dim=1, keepdim=True)
    by_band = basis.mean_by_band(power)
    # Also false for a band without waves, which has NaN.
    seen = by_band > limit
    if not bool(seen.any()):
        raise DataError(f"fields: no channel of {list(names)} varies; a model needs some that do")
    least = int(torch.where(seen, by_band, math.inf).argmin())
    channel, band = divmod(least, by_band.shape[1])
    return Scale(
        std=math.sqrt(float(by_band[channel, band])),
        channel=names[channel],
        band=band,
        wavelength=basis.extent / band if band else math.inf,
    )


def warning(sigma_min: float, scale: Scale) -> str | None:
    """One sentence where the noise left at t = 0 widens the smallest scale by 2 % or more.

    Args:
        sigma_min: noise_std / signal_scale at t = 0.
        scale: Of the training data.
    """
    widening = math.hypot(1, sigma_min / scale.std) - 1
    if widening < _WIDENING:
        return None
    enough = scale.std * math.sqrt((1 + _WIDENING) ** 2 - 1)
    # Two digits, rounded down, so that the value named is itself below the limit.
    digit = 10.0 ** (math.floor(math.log10(enough)) - 1)
    waves = f"waves of {scale.wavelength:.3g} cells" if scale.band else "the mean of the field"
    share = f"{100 * widening:.0f}" if widening > 0.1 else f"{100 * widening:.1f}"
    return (
        f"model.schedule.sigma_min: {sigma_min:g} leaves noise in every sample that makes {waves} "
        f"in {scale.channel} vary too much, by {share} % of their standard deviation "
        f"({scale.std:.2g}, normalised); {math.floor(enough / digit) * digit:.2g} or less would do"
    )
