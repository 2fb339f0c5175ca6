"""What the training loop yields: all that its consumer may show, track or save."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from diffsci.training.state import RunState


@dataclass(frozen=True, kw_only=True)
class Step:
    """One optimiser step that was done.

    Args:
        step: Steps done, this one included.
        loss: Mean over the batch, before the step; may not be finite where it was skipped.
        grad_norm: Before clipping.
        lr: Learning rate used.
        seconds: The whole step, without validation.
        wait: Seconds of it spent waiting for the examples.
        validation: Loss of the averaged weights on the validation set, in steps where it is due.
        crps: Of a short ensemble of them, where that is measured.
        by_level: Mean weighted squared error of the last hundred steps or so, by the centre of the
            bin in noise_std / signal_scale, in steps that are logged; see `by_level.py`.
        skipped: Whether the batch was left out: see `notes`.
        notes: What a user should be told of this step, each a sentence.
        improved: Whether the validation is the best so far.
        ended: Why it is the last step: `steps`, `patience` or `hours`; none where more follow.
        stop: Whether a process wished to stop; the same on all of them.
        state: Gives the run after this step; ask before the next one.
    """

    step: int
    loss: float
    grad_norm: float
    lr: float
    seconds: float
    wait: float
    validation: float | None = None
    crps: float | None = None
    by_level: dict[float, float] | None = None
    skipped: bool = False
    notes: tuple[str, ...] = ()
    improved: bool = False
    ended: str | None = None
    stop: bool = False
    state: Callable[[], RunState] = field(repr=False, compare=False)
