"""The posterior variance of a trained model, estimated once and kept with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from diffsci.batch import Batch
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.variance import estimate
from diffsci.forecasting.surrogate import Surrogate
from diffsci.runtime import Device
from diffsci.training.examples import Examples
from diffsci.training.order import permutation

log = logging.getLogger(__name__)

LEVELS, EXAMPLES = 24, 6144
"""Levels of the table, and examples over all of them: 256 a level."""

_BATCH = 64


def calibrated(model: Surrogate, examples: Examples, device: Device) -> Surrogate:
    """The model with the table that `variance: exact` needs.

    Args:
        model: Trained.
        examples: Of data that it was not trained on, where there is any: there its errors are those
            that its samples will have.
        device: Where to compute.
    """
    started = time.monotonic()
    denoiser = device.laid_out(model.denoiser).eval()
    kind = torch.device(device.name).type

    def denoise(x_t: Tensor, t: Tensor, condition: Tensor | None, scalars: Tensor | None) -> Tensor:
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=device.precision == "bf16"):
            found: Tensor = denoiser(x_t, t, condition, scalars)
        return found

    def batches() -> Iterator[Batch]:
        done = turn = 0
        while done < EXAMPLES:
            order = permutation(0, turn, len(examples))
            for first in range(0, len(order), _BATCH):
                chosen = order[first : first + min(_BATCH, EXAMPLES - done)]
                yield examples.batch(chosen).to(device.name)
                done += len(chosen)
                if done == EXAMPLES:
                    return
            turn += 1

    table = estimate(denoise, denoiser.schedule, batches(), Basis.of(model.grid), levels=LEVELS)
    log.info(
        "sample: estimated the posterior variance for `variance: exact`, from %d examples at %d "
        "levels, in %.0f s",
        EXAMPLES,
        LEVELS,
        time.monotonic() - started,
    )
    return replace(model, variance=table)
