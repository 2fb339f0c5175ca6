"""What a network may predict, and the exact ways between these.

With x_t = c x_0 + d eps, r = sqrt(c^2 + d^2), c' = c / r, d' = d / r, these name one estimate:

    x0        the clean field
    epsilon   the unit noise, (x_t - c x_0) / d
    v         c' eps - d' x_0, the velocity along the circle that (c', d') runs on
    score     the gradient of log p(x_t), -eps / d

For variance-preserving schedules r = 1 and v is that of Salimans and Ho; for variance-exploding
ones it is, up to sign, the preconditioned target of EDM with data of unit variance.

Source: Salimans and Ho (2022), arXiv:2202.00512; Karras et al. (2022), arXiv:2206.00364, section 5.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Level

Predict = Literal["epsilon", "x0", "v"]
"""What a network may be trained to put out."""

Quantity = Literal["epsilon", "x0", "v", "score"]
"""The estimates that determine each other, given x_t."""


def clean_and_noise(
    given: Quantity, value: Float[Tensor, "..."], x_t: Float[Tensor, "..."], at: Level
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The estimates of x_0 and of eps, each by the shortest way from what is given.

    Args:
        given: What `value` is.
        value: The estimate.
        x_t: The noisy field.
        at: Its level, scalar or one per example.
    """
    at = at.over(x_t)
    signal_scale, noise_std = at.signal_scale, at.noise_std
    if given == "v":
        c, d = signal_scale / at.norm, noise_std / at.norm
        x_unit = x_t / at.norm
        return c * x_unit - d * value, d * x_unit + c * value
    if given == "x0":
        return value, (x_t - signal_scale * value) / noise_std
    epsilon = value if given == "epsilon" else -noise_std * value
    return (x_t - noise_std * epsilon) / signal_scale, epsilon


def quantity(
    wanted: Quantity, x_0: Float[Tensor, "..."], epsilon: Float[Tensor, "..."], at: Level
) -> Float[Tensor, "..."]:
    """What `wanted` is, for this clean field and this unit noise."""
    at = at.over(x_0)
    if wanted == "x0":
        return x_0
    if wanted == "epsilon":
        return epsilon
    if wanted == "score":
        return -epsilon / at.noise_std
    return (at.signal_scale * epsilon - at.noise_std * x_0) / at.norm


def convert(
    value: Float[Tensor, "..."],
    x_t: Float[Tensor, "..."],
    at: Level,
    *,
    given: Quantity,
    wanted: Quantity,
) -> Float[Tensor, "..."]:
    """One estimate as another, given x_t."""
    return quantity(wanted, *clean_and_noise(given, value, x_t, at), at)


def squared_error_ratio(predict: Predict, at: Level) -> Float[Tensor, "*levels"]:
    """Squared error of x_0 over squared error of the prediction: 1, 1 / SNR or 1 / (1 + SNR).

    Losses are computed in the prediction's own units: at low noise the error of x_0 is the small
    difference of large numbers, and its weight is up to 1e6.
    """
    if predict == "x0":
        return torch.ones_like(at.t)
    scale = at.signal_scale if predict == "epsilon" else at.norm
    return (at.noise_std / scale) ** 2
