"""What a network may predict, and the exact ways between these.

Each is the estimate of some p x_0 + q eps, and x_t = c x_0 + d eps is known, so any one gives any
other by Cramer's rule. With r = sqrt(c^2 + d^2), h = sqrt(c^2 + d^2 / 4) and D = p d - q c:

               p        q          D
    x0         1        0          d           the clean field
    epsilon    0        1         -c           the unit noise
    v         -d / r    c / r     -r           velocity along the circle of (c, d) / r
    edm        d / r   -c / r      r           F of Karras' preconditioning, which is -v
    flow      -1        1         -(c + d)     velocity of the straight path from data to noise
    score      0       -1 / d      c / d       the gradient of log p(x_t)
    mean       c / h    d / 4h     3 c d / 4h  of the field at half the noise, at unit size

No D is a difference, so none loses digits. An error of `given` is one of `wanted` that is
D_wanted / D_given times as large: c / d from x0 to epsilon, which is much at low noise, d / c the
other way, which is much at high noise, and at most 1 from v, edm or flow to x0 and to epsilon.

For variance-preserving schedules r = 1 and v is that of Salimans and Ho. For any schedule
x_0 = c_skip (x_t / c) + c_out F with c_skip = 1 / (1 + sigma^2), c_out = sigma / sqrt(1 + sigma^2)
and sigma = d / c: the network of Karras et al. for data of unit variance.

`mean` is the regression that the six steps start from, E[x_s | x_t], for the jump that halves
sigma. Its mean a x_0 + b x_t has a = 3/4 c_s (`Jump.weight_x_0`) and b = c_s / (4 c_t)
(`Jump.weight_x_t`); over r_s, the std of x_s for data of unit variance, c_s drops out:

    E[x_s | x_t] / r_s = (3/4 x_0 + x_t / (4 c)) / sqrt(1 + sigma^2 / 4).

Source: Turner et al. (2024), arXiv:2402.04384; Salimans and Ho (2022), arXiv:2202.00512; Karras et
al. (2022), arXiv:2206.00364, section 5; Lipman et al. (2023), arXiv:2210.02747.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Level

Predict = Literal["mean", "x0", "epsilon", "v", "score", "flow", "edm"]
"""What a network may put out. All but score, which is of size 1 / d, are of about unit size."""


def quantity(
    wanted: Predict, x_0: Float[Tensor, "..."], epsilon: Float[Tensor, "..."], at: Level
) -> Float[Tensor, "..."]:
    """What `wanted` is, for this clean field and this unit noise."""
    if wanted == "x0":
        return x_0
    if wanted == "epsilon":
        return epsilon
    p, q, _ = _coefficients(wanted, at.over(x_0))
    return p * x_0 + q * epsilon


def convert(
    value: Float[Tensor, "..."],
    x_t: Float[Tensor, "..."],
    at: Level,
    *,
    given: Predict,
    wanted: Predict,
) -> Float[Tensor, "..."]:
    """One estimate as another, given x_t.

    Args:
        value: The estimate.
        x_t: The noisy field.
        at: Its level, scalar or one per example.
        given: What `value` is.
        wanted: What comes back.
    """
    if given == wanted:
        return value
    at = at.over(x_t)
    p, q, determinant = _coefficients(given, at)
    p_wanted, q_wanted, determinant_wanted = _coefficients(wanted, at)
    of_x_t = (p * q_wanted - p_wanted * q) / determinant
    return of_x_t * x_t + determinant_wanted / determinant * value


def squared_error_ratio(predict: Predict, at: Level) -> Float[Tensor, "*levels"]:
    """Squared error of x_0 over squared error of the prediction, such as 1 / SNR for epsilon.

    Losses are computed in the prediction's own units: at low noise the error of x_0 is the small
    difference of large numbers, and its weight is up to 1e6.
    """
    if predict == "x0":
        return torch.ones_like(at.t)
    return (at.noise_std / _coefficients(predict, at)[2]) ** 2


def _coefficients(kind: Predict, at: Level) -> tuple[Tensor, Tensor, Tensor]:
    """The p, q and D of the table above."""
    c, d, r = at.signal_scale, at.noise_std, at.norm
    if kind == "x0":
        return torch.ones_like(c), torch.zeros_like(c), d
    if kind == "epsilon":
        return torch.zeros_like(c), torch.ones_like(c), -c
    if kind == "v":
        return -d / r, c / r, -r
    if kind == "edm":
        return d / r, -c / r, r
    if kind == "flow":
        return -torch.ones_like(c), torch.ones_like(c), -(c + d)
    if kind == "score":
        return torch.zeros_like(c), -1 / d, c / d
    h = torch.hypot(c, d / 2)
    return c / h, d / (4 * h), 3 * c * d / (4 * h)
