"""Which weights of a trained run are its model: of its last step, its best one, or any average."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from diffsci.data.examples.windows import Examples
from diffsci.diffusion.denoiser import Denoiser
from diffsci.files import write_json
from diffsci.runtime import as_written
from diffsci.sections import Pipeline, Train
from diffsci.stages.training.chosen import CHOSEN, described
from diffsci.training import checkpoint
from diffsci.training.distributed import Ranks
from diffsci.training.ema import Weights, assign
from diffsci.training.judging import Judge
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
    counted: Sequence[float] | None = None,
) -> None:
    """Put the weights into the denoiser that are to be sampled with.

    Args:
        denoiser: As it was trained, where it computes.
        last: Of the run's end.
        section: What to choose by.
        folder: The run's `checkpoints/`.
        valid: The validation set; needed where lengths are tried.
        seed: Of the validation.
        counted: How much each channel of the target counts; none for all alike.
    """
    best = bool(section.keep_best) and last.best_step > 0
    weights = checkpoint.best(folder, last, log.warning) if best else last.model
    losses = checkpoint.losses_at_best(folder, last) if best else last.ema_losses
    # Without the best one, the average of the end is the model.
    chosen = _of_the_end(section, last, best and losses is not None, losses or ())
    if section.ema_lengths:
        assert valid is not None
        # Of a validation that was the best by another score, the loss is in the rows.
        rows = dict(last.validations)
        found = rows.get(last.best_step if best else last.step)
        tried = dict(_tried(denoiser, section, folder, valid, seed, counted))
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
            chosen = {"average": f"of length {length:g}", "step": last.step}
            chosen["validation"] = tried[length]
    write_json(folder.parent / CHOSEN, chosen)
    if best or len(section.decays) > 1:
        log.info("train: the model is the average %s", described(chosen))
    assign(denoiser, weights)


def _of_the_end(
    section: Train, last: RunState, best: bool, losses: tuple[float, ...]
) -> dict[str, Any]:
    """Which average of `train.ema` is taken, of which step, and how it was validated there."""
    step = last.best_step if best else last.step
    found: dict[str, Any] = {"step": step}
    losses = losses if best else last.ema_losses
    # Older versions kept one average of the best step, and not the losses that it was chosen by.
    known = len(section.decays) == 1 or len(losses) == len(section.decays)
    decay = section.decays[losses.index(min(losses)) if losses else 0] if known else None
    found["average"] = "of the lowest loss" if decay is None else f"with decay {decay:g}"
    if best:
        found["by"] = "CRPS" if section.by_crps else "loss"
    found["validation"] = dict(last.validations).get(step)
    if last.scores:
        found["crps"] = dict(last.scores).get(step)
    if decay is not None and len(losses) > 1:
        pairs = zip(section.decays, losses, strict=True)
        found["others"] = {f"{each:g}": loss for each, loss in pairs if each != decay}
    return found


def judge_of(pipeline: Pipeline, valid: Examples | None) -> Judge | None:
    """What measures the CRPS of validations; none where that is not asked for."""
    train, sample = pipeline.train, pipeline.sample
    if train is None or train.validate_crps is None or valid is None:
        return None
    assert sample is not None
    return Judge(asked=train.validate_crps, sampler=sample.sampler, valid=valid, seed=pipeline.seed)


def _tried(
    denoiser: Denoiser,
    section: Train,
    folder: Path,
    valid: Examples,
    seed: int,
    weights: Sequence[float] | None,
) -> Iterator[tuple[float, float]]:
    """Each length, and the validation loss of its average."""
    snapshots, device = Snapshots.of(folder, log.warning), next(denoiser.parameters()).device
    loss = Loss(denoiser, section.objective, weights=weights)
    for length in TRIED:
        assign(denoiser, _on(snapshots.average(length), device))
        with deterministic(device.type == "cpu"), denoiser.unchanged(), as_written(denoiser):
            yield length, validation_loss(loss, valid, section.batch_size, device, seed, Ranks())


def _on(weights: Weights, device: torch.device) -> Weights:
    return {name: value.to(device) for name, value in weights.items()}
