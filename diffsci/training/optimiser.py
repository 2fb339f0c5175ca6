"""The optimiser and its rate: a linear rise, then the schedule; faster for a learned variance.

Adam moves a weight by about its rate in each step, whatever the gradient. That suits the small
weights of a network. The logarithm of a variance may have to go from 0 to -10 within the run, and
decay would pull it back to 0: it goes ten times as fast, without decay.

Decay keeps filters and matrices from growing where a norm makes their size meaningless. A bias, or
the scale and shift of a norm, has no such freedom: pulled towards 0, it would be a worse value. So
only weights with two or more dims decay.

With p the share of the steps after the rise, from 0 to 1, the rate is lr (e + (1 - e) f(p)), where
e is `lr_end` and f is (1 + cos(pi p)) / 2 for `cosine`, 1 for `constant`; for `cooldown` it is 1
until the last share c of all steps, and 1 - sqrt(q) in it, q from 0 to 1.

Source: Haegele et al. (2024), arXiv:2405.18392, for the constant rate with a cooldown by a root.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from diffsci.diffusion.denoiser import Denoiser
from diffsci.sections import Train

LEARNED_SPEED = 10.0

DECAYED = "weights of two or more dims"
"""What decays, as recorded in a run's settings."""


def learning_rate(step: int, section: Train) -> float:
    """Rate of the step counted from 0: a linear rise, then the schedule, see above."""
    if step < section.warmup:
        return section.lr * (step + 1) / section.warmup
    share = 1.0
    if section.schedule == "cosine":
        progress = (step - section.warmup) / max(1, section.steps - section.warmup)
        share = (1 + math.cos(math.pi * progress)) / 2
    elif section.schedule == "cooldown":
        falling = section.cooldown * section.steps
        share = 1 - math.sqrt(max(0.0, step - (section.steps - falling)) / falling)
    return section.lr * (section.lr_end + (1 - section.lr_end) * share)


def adamw(denoiser: Denoiser, section: Train, device: torch.device) -> torch.optim.AdamW:
    """AdamW over all that is trained."""
    learned = [] if denoiser.learned is None else list(denoiser.learned.parameters())
    theirs = {id(p) for p in learned}
    variance = [p for p in learned if p.requires_grad]
    rest = [p for p in denoiser.parameters() if p.requires_grad and id(p) not in theirs]
    groups: list[dict[str, Any]] = []
    for decay, members in _by_decay(rest, section.weight_decay):
        groups.append({"params": members, "speed": 1.0, "weight_decay": decay})
    if variance:
        groups.append({"params": variance, "speed": LEARNED_SPEED, "weight_decay": 0.0})
    # Measured on one CPU core: fused takes 0.3 of foreach's time for 0.5 to 3 million weights.
    return torch.optim.AdamW(
        groups,
        lr=section.lr,
        weight_decay=section.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give each group the rate at its speed."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["speed"]


def _by_decay(
    parameters: list[nn.Parameter], decay: float
) -> list[tuple[float, list[nn.Parameter]]]:
    """One group where nothing decays: fused kernels are called once for each group."""
    if decay == 0:
        return [(0.0, parameters)]
    decayed = [p for p in parameters if p.ndim >= 2]
    rest = [p for p in parameters if p.ndim < 2]
    return [(each, members) for each, members in ((decay, decayed), (0.0, rest)) if members]
