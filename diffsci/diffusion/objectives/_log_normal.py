"""Levels that are log-normal in noise_std / signal_scale, clipped to the schedule's ends."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.objectives._slope import log_sigma_slope
from diffsci.diffusion.schedules.base import Schedule
from diffsci.errors import require


def check(p_mean: float, p_std: float) -> None:
    """Refuse what is no normal law, naming the field."""
    require(math.isfinite(p_mean), "p_mean", p_mean, "a finite number")
    require(0 < p_std < math.inf, "p_std", p_std, "a finite number above 0")


def levels(
    uniform: Float[Tensor, " batch"], schedule: Schedule, p_mean: float, p_std: float
) -> Float[Tensor, " batch"]:
    """The level at each quantile; those beyond the schedule's ends are its ends."""
    normal = torch.special.ndtri(uniform)
    return schedule.level_of(torch.exp(p_mean + p_std * normal))


def density(
    t: Float[Tensor, " batch"], schedule: Schedule, p_mean: float, p_std: float
) -> Float[Tensor, " batch"]:
    """Density of the levels inside the schedule.

    What lies beyond its ends is drawn there, as two points of t that no density can show: its
    integral is 1 less their probability, 1e-5 for the defaults and noise from 0.002 to 80.
    """
    log_sigma = torch.log(level(schedule, t).noise_to_signal)
    bell = torch.exp(-(((log_sigma - p_mean) / p_std) ** 2) / 2)
    return bell / (p_std * math.sqrt(2 * math.pi)) * log_sigma_slope(t, schedule)
