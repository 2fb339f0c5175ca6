"""Which weights of a trained run are its model: of its last step, its best one, or any average."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import torch

from diffsci.data.windows import Examples
from diffsci.diffusion.denoiser import Denoiser
from diffsci.files import write_json
from diffsci.runtime import as_written
from diffsci.sections import Train
from diffsci.training import checkpoint
from diffsci.training.distributed import Ranks
from diffsci.training.ema import Weights, assign
from diffsci.training.losses import Loss
from diffsci.training.order import deterministic
from diffsci.training.power import TRIED, Snapshots
from diffsci.training.state import RunState
from diffsci.training.validation import validation_loss

log = logging.getLogger(__name__)

LENGTHS = "lengths.json"


def choose(
    denoiser: Denoiser,
    last: RunState,
    section: Train,
    folder: Path,
    valid: Examples | None,
    seed: int,
) -> None:
    """Put the weights into the denoiser that are to be sampled with.

    Args:
        denoiser: As it was trained, where it computes.
        last: Of the run's end.
        section: What to choose by.
        folder: The run's `checkpoints/`.
        valid: The validation set; needed where lengths are tried.
        seed: Of the validation.
    """
    best = section.keep_best and last.best_step > 0
    weights = checkpoint.best(folder, last, log.warning) if best else last.model
    if section.ema_lengths:
        assert valid is not None
        found = last.best_loss if best else min(last.ema_losses, default=None)
        tried = dict(_tried(denoiser, section, folder, valid, seed))
        length = min(tried, key=lambda each: tried[each])
        wins = found is None or tried[length] < found
        told = {"ema": found, "lengths": {str(each): loss for each, loss in tried.items()}}
        write_json(folder.parent / LENGTHS, told | {"chosen": length if wins else "ema"})
        log.info(
            "train: averages of %d lengths: the best is %g, with a validation loss of %.4g; %s",
            len(tried),
            length,
            tried[length],
            "it is the model" if wins else f"train.ema has {found:.4g}, and is the model",
        )
        if wins:
            weights = Snapshots.of(folder, log.warning).average(length)
    assign(denoiser, weights)


def _tried(
    denoiser: Denoiser, section: Train, folder: Path, valid: Examples, seed: int
) -> Iterator[tuple[float, float]]:
    """Each length, and the validation loss of its average."""
    snapshots, device = Snapshots.of(folder, log.warning), next(denoiser.parameters()).device
    loss = Loss(denoiser, section.objective)
    for length in TRIED:
        assign(denoiser, _on(snapshots.average(length), device))
        with deterministic(device), denoiser.unchanged(), as_written(denoiser):
            yield length, validation_loss(loss, valid, section.batch_size, device, seed, Ranks())


def _on(weights: Weights, device: torch.device) -> Weights:
    return {name: value.to(device) for name, value in weights.items()}
