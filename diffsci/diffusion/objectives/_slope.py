"""How fast log(noise_std / signal_scale) rises with t: what a density of t needs to be one of s."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.schedules.base import Schedule


def log_sigma_slope(t: Float[Tensor, " batch"], schedule: Schedule) -> Float[Tensor, " batch"]:
    """ds/dt of s = log(noise_std / signal_scale), by automatic differentiation."""
    # Grad mode is switched back on, so that validation under `no_grad` weighs alike.
    with torch.inference_mode(False), torch.enable_grad():
        moving = t.detach().clone().requires_grad_()
        log_sigma = torch.log(level(schedule, moving).noise_to_signal)
        (slope,) = torch.autograd.grad(log_sigma.sum(), moving)
    found: Tensor = slope
    return found
