"""The optimiser and its rate: a linear rise, then a cosine; faster for a learned variance.

Adam moves a weight by about its rate in each step, whatever the gradient. That suits the small
weights of a network. The logarithm of a variance may have to go from 0 to -10 within the run, and
decay would pull it back to 0: it goes ten times as fast, without decay.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from diffsci.diffusion.denoiser import Denoiser
from diffsci.sections import Train

LEARNED_SPEED = 10.0


def learning_rate(step: int, section: Train) -> float:
    """Rate of the step counted from 0: a linear rise, then a cosine to `lr_end` of the peak."""
    if step < section.warmup:
        return section.lr * (step + 1) / section.warmup
    progress = (step - section.warmup) / max(1, section.steps - section.warmup)
    share = (1 + math.cos(math.pi * progress)) / 2
    return section.lr * (section.lr_end + (1 - section.lr_end) * share)


def adamw(denoiser: Denoiser, section: Train, device: torch.device) -> torch.optim.AdamW:
    """AdamW over all that is trained, in the order of `named_parameters`."""
    variance = [] if denoiser.learned is None else list(denoiser.learned.parameters())
    theirs = {id(p) for p in variance}
    rest = [p for p in denoiser.parameters() if p.requires_grad and id(p) not in theirs]
    groups: list[dict[str, Any]] = [{"params": rest, "speed": 1.0}]
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
