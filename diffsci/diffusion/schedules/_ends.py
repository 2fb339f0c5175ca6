"""Checks that several schedules make of their fields."""

from __future__ import annotations

import math

from diffsci.errors import require


def check_ends(sigma_min: float, sigma_max: float) -> None:
    """Refuse ends of noise_std / signal_scale between which it cannot rise.

    Raises:
        FieldError: Naming the field.
    """
    require(sigma_min > 0, "sigma_min", sigma_min, "more than 0")
    expected = f"a finite number above sigma_min = {sigma_min}"
    require(sigma_min < sigma_max < math.inf, "sigma_max", sigma_max, expected)


def check_betas(beta_min: float, beta_max: float) -> None:
    """Refuse rates of noising that do not rise, or leave no signal that float32 could hold.

    Raises:
        FieldError: Naming the field.
    """
    require(beta_min > 0, "beta_min", beta_min, "more than 0")
    expected = f"more than beta_min = {beta_min}, at most 80"
    require(beta_min < beta_max <= 80, "beta_max", beta_max, expected)


def check_start(sigma_min: float, sigma_max: float) -> None:
    """Refuse a start that the betas, whose noise ends at `sigma_max`, do not reach.

    Raises:
        FieldError: Naming the field.
    """
    expected = f"between 0 and {sigma_max:.4g}, which these betas reach"
    require(0 < sigma_min < sigma_max, "sigma_min", sigma_min, expected)
