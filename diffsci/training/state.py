"""RunState: everything that a run needs to go on, and nothing else.

Order, noise and learning rate are pure functions of seed and step (`order.py`), so they are not in
it. What is left is the step, the weights, their averages and their counter, the optimiser's
moments, the scale of the loss, what was skipped, and the record so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffsci.diffusion.objectives.base import Objective
from diffsci.errors import ConfigError
from diffsci.running.changes import changes, refuse_changes
from diffsci.runtime import Device
from diffsci.sections import Train
from diffsci.training.by_level import NOTHING, Faded
from diffsci.training.ema import Ema, Weights, assign
from diffsci.training.optimiser import DECAYED
from diffsci.training.scaler import Scaler
from diffsci.training.sharding import as_part, is_part


class OtherNetworkError(ConfigError):
    """The weights of a checkpoint are not those of this network."""


LossRow = tuple[int, float, float, float]
"""Step, loss, gradient norm, learning rate."""

_FREE = (
    "objective",
    "checkpoint_every",
    "keep",
    "validate_every",
    "on_bad",
    "skip_most",
    "spike",
    "log_every",
)
"""What moves no number of a run, and does not end it."""

_DECAYED = "train.decayed"

_MACHINE, _PREFIX = "runtime.", "train."


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run between two steps.

    Tensors that come from a running loop are its own, not copies: save or clone them before the
    next step is asked for.

    Args:
        step: Optimiser steps done.
        weights: Parameters and saved buffers by name.
        ema: Their average, by the same names.
        ema_others: Averages of other decays, in the order of `train.ema`.
        ema_updates: Updates of the averages so far, which set their decay.
        powers: Averages by powers of the step, of `train.ema_lengths`; parameters alone.
        optimiser: Moments and counters of the optimiser, as `parameter/moment`.
        scaler: The scale of the loss; none but in float16.
        skipped: Batches left out since they were not finite.
        skipped_in_row: Of them, those directly before this step.
        best_step: Step of the best validation: that of the lowest loss, or with `keep_best: crps`
            of the lowest CRPS; 0 before the first.
        best_loss: That loss, or CRPS.
        ema_losses: Of each average, at the last validation.
        by_level: Loss by level of the last steps, as sums and counts; checkpoints of format 1 have
            none.
        recent: The last losses, which a spike is told by.
        losses: The rows logged so far.
        validations: Step and loss of each validation so far, that of the best average.
        scores: Step and CRPS of each, with `train.validate_crps`.
        seconds: Of training so far, over all restarts, where `train.hours` is set; else 0, so that
            equal runs have equal states.
        ended: Why the run is complete: `steps`, `patience` or `hours`; none while it is not.
        settings: What the run's numbers depend on; a resumed run must have the same, but for
            those of the machine.
    """

    step: int
    weights: Weights
    ema: Weights
    ema_others: tuple[Weights, ...] = ()
    ema_updates: int
    powers: tuple[Weights, ...] = ()
    optimiser: dict[str, Tensor]
    scaler: Scaler | None = None
    skipped: int = 0
    skipped_in_row: int = 0
    best_step: int
    best_loss: float | None
    ema_losses: tuple[float, ...] = ()
    by_level: Faded = NOTHING
    recent: tuple[float, ...] = ()
    losses: tuple[LossRow, ...]
    validations: tuple[tuple[int, float], ...]
    scores: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0
    ended: str | None = None
    settings: dict[str, Any]

    @property
    def averages(self) -> tuple[Weights, ...]:
        """All averages, in the order of `train.ema`."""
        return (self.ema, *self.ema_others)

    @property
    def chosen(self) -> int:
        """Which average validated best the last time; the first where none was validated."""
        return self.ema_losses.index(min(self.ema_losses)) if self.ema_losses else 0

    @property
    def model(self) -> Weights:
        """The weights to sample with."""
        return self.averages[self.chosen]


def settings_of(
    section: Train, objective: Objective, seed: int, device: Device, examples: int
) -> dict[str, Any]:
    """What the numbers of a run depend on, as plain JSON values."""
    values = {f.name: getattr(section, f.name) for f in fields(section)}
    plain = {
        _PREFIX + name.removesuffix("_"): _plain(value)
        for name, value in values.items()
        if name not in _FREE
    }
    decays = {_DECAYED: DECAYED} if section.weight_decay else {}
    return plain | {
        **decays,
        "train.objective": repr(objective),
        "seed": seed,
        **{_MACHINE + name: value for name, value in device.record().items()},
        "training examples": examples,
    }


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return repr(value) if is_dataclass(value) else value


def machine_of(settings: dict[str, Any]) -> dict[str, Any]:
    """What a run's settings say of where and how it computes, as `Device.record` does."""
    return {
        name.removeprefix(_MACHINE): value
        for name, value in settings.items()
        if name.startswith(_MACHINE)
    }


def require_same(saved: dict[str, Any], now: dict[str, Any], allow: Sequence[str] = ()) -> None:
    """Refuse to go on with other settings than the run was begun with.

    Where and how it computes may change: it is for the caller to say so. A key that came with a
    later version was at its default.

    Args:
        saved: Of the checkpoint.
        now: Of this run.
        allow: Keys that may differ.

    Raises:
        ConfigError: Listing each difference as old -> new.
    """
    saved = _DEFAULTS | saved
    found = [each for each in changes(saved, now) if not each.key.startswith(_MACHINE)]
    what = "the checkpoint was made with other settings"
    hint = "restore them, or give the changed run another name or --out"
    refuse_changes(found, allow, what=what, hint=hint, kind=ConfigError)


_DEFAULTS: dict[str, Any] = {
    _PREFIX + f.name.removesuffix("_"): _plain(f.default)
    for f in fields(Train)
    if f.default is not MISSING and f.name not in _FREE
}


def optimiser_tensors(module: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's tensors, named after the parameters they belong to."""
    return {
        f"{name}/{moment}": value
        for name, parameter in module.named_parameters()
        for moment, value in optimiser.state.get(parameter, {}).items()
    }


def restore(state: RunState, module: nn.Module, ema: Ema, optimiser: torch.optim.Optimizer) -> None:
    """Put a saved state into the live objects.

    Raises:
        OtherNetworkError: When its weights are not those of this network.
    """
    try:
        assign(module, state.weights)
    except ValueError as error:
        raise OtherNetworkError(
            f"the checkpoint is of another network: {error}; go on with the diffsci that wrote it "
            "(run.json names its version), or train anew in another folder"
        ) from error
    ema.restore(state.averages, state.ema_updates)
    _restore_moments(state.optimiser, module, optimiser)


def _restore_moments(
    saved: dict[str, Tensor], module: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    parameters = dict(module.named_parameters())
    listed: Sequence[Tensor] = [p for group in optimiser.param_groups for p in group["params"]]
    places = {id(parameter): place for place, parameter in enumerate(listed)}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in saved.items():
        owner, moment = name.rsplit("/", 1)
        like = parameters[owner]
        if value.shape == like.shape and is_part(like):
            value = as_part(value, like)
        elif value.shape == like.shape:
            # Fused kernels walk memory, so a moment needs its weight's layout, not the file's.
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        # A copy: the optimiser counts in place, in the state that was given else.
        moments.setdefault(places[id(like)], {})[moment] = value.detach().clone()
    # The optimiser's own loader puts the rest on the right device.
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )
