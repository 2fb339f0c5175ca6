"""The variance of a trained model's reverse steps (its posterior), estimated once and kept with it.

The core calls it exact variance; it has nothing to do with the calibration of an ensemble's spread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from diffsci.batch import Batch
from diffsci.diffusion.augmentation import ends, level, level_of
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.variance import VarianceTable, estimate
from diffsci.forecasting.surrogate import Surrogate
from diffsci.runtime import Device, as_written
from diffsci.training.examples import Examples
from diffsci.training.order import permutation

log = logging.getLogger(__name__)

LEVELS, EXAMPLES = 24, 6144
"""Levels of the table, and examples over all of them: 256 a level."""

_BATCH = 64


def with_variance(model: Surrogate, examples: Examples, device: Device) -> Surrogate:
    """The model with the table that `variance: exact` needs.

    Args:
        model: Trained.
        examples: Of data that it was not trained on, where there is any: there its errors are those
            that its samples will have.
        device: Where to compute.
    """
    learned = _learned(model.denoiser)
    if learned is not None:
        log.info("sample: `variance: exact` takes the posterior variance that the model learned")
        return replace(model, variance=learned)
    log.info(
        "sample: estimating the posterior variance for `variance: exact`, once, from %d examples",
        EXAMPLES,
    )
    started = time.monotonic()
    denoiser = device.laid_out(model.denoiser).eval()

    def batches() -> Iterator[Batch]:
        done = turn = 0
        while done < EXAMPLES:
            order = permutation(0, turn, len(examples))
            for first in range(0, len(order), _BATCH):
                chosen = np.array(order[first : first + min(_BATCH, EXAMPLES - done)])
                yield examples.batch(chosen).to(device.name)
                done += len(chosen)
                if done == EXAMPLES:
                    return
            turn += 1

    # The last batch has another size, and compiling for it takes longer than it would save.
    with denoiser.unchanged(), as_written(denoiser):
        basis = Basis.of(model.grid)
        denoise = denoiser if model.tiling is None else model.tiling.over(denoiser)
        table = estimate(denoise, denoiser.schedule, batches(), basis, levels=LEVELS)
    log.info(
        "sample: estimated the posterior variance at %d levels in %.0f s, kept with the model",
        LEVELS,
        time.monotonic() - started,
    )
    return replace(model, variance=table)


@torch.no_grad()
def _learned(denoiser: Denoiser) -> VarianceTable | None:
    """The table of an objective that learned the variance by wavenumber; none for others."""
    if denoiser.learned is None or denoiser.learned.basis is None:
        return None
    schedule, basis = denoiser.schedule, denoiser.learned.basis
    high, low = torch.log(level(schedule, ends(schedule)).noise_to_signal).tolist()
    log_sigma = torch.linspace(low, high, LEVELS, dtype=torch.float64)
    at = level(schedule, level_of(schedule, torch.exp(log_sigma)))
    variance = denoiser.posterior_variance(at)
    assert variance is not None
    # In their corner, boxes may have bands without waves.
    by_band = basis.mean_by_band(variance.double().cpu()).nan_to_num(0.0)
    return VarianceTable.of_variance(log_sigma, by_band, torch.zeros_like(by_band))
