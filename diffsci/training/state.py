"""RunState: everything that a run needs to go on, and nothing else.

Order, noise and learning rate are pure functions of seed and step (`order.py`), so they are not in
it. What is left is the step, the weights, their average and its counter, the optimiser's moments,
and the record so far.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from diffsci.diffusion.objectives.base import Objective
from diffsci.errors import ConfigError
from diffsci.runtime import Device
from diffsci.sections import Train
from diffsci.training.by_level import NOTHING, Faded
from diffsci.training.ema import Ema, assign

LossRow = tuple[int, float, float, float]
"""Step, loss, gradient norm, learning rate."""

_FREE = ("objective", "checkpoint_every", "keep", "validate_every", "log_every")

_MACHINE = "runtime."


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run between two steps.

    Tensors that come from a running loop are its own, not copies: save or clone them before the
    next step is asked for.

    Args:
        step: Optimiser steps done.
        weights: Parameters and saved buffers by name.
        ema: Their average, by the same names.
        ema_updates: Updates of the average so far, which set its decay.
        optimiser: Moments and counters of the optimiser, as `parameter/moment`.
        best_step: Step of the lowest validation loss; 0 before the first validation.
        best_loss: That loss.
        by_level: Loss by level of the last steps, as sums and counts; checkpoints of format 1 have
            none.
        losses: The rows logged so far.
        validations: Step and loss of each validation so far.
        settings: What the run's numbers depend on; a resumed run must have the same, but for
            those of the machine.
    """

    step: int
    weights: dict[str, Tensor]
    ema: dict[str, Tensor]
    ema_updates: int
    optimiser: dict[str, Tensor]
    best_step: int
    best_loss: float | None
    by_level: Faded = NOTHING
    losses: tuple[LossRow, ...]
    validations: tuple[tuple[int, float], ...]
    settings: dict[str, Any]


def settings_of(
    section: Train, objective: Objective, seed: int, device: Device, examples: int
) -> dict[str, Any]:
    """What the numbers of a run depend on, as plain JSON values."""
    values = {f.name: getattr(section, f.name) for f in fields(section)}
    plain = {
        f"train.{name}": list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if name not in _FREE
    }
    return plain | {
        "train.objective": repr(objective),
        "seed": seed,
        **{_MACHINE + name: value for name, value in device.record().items()},
        "training examples": examples,
    }


def machine_of(settings: dict[str, Any]) -> dict[str, Any]:
    """What a run's settings say of where and how it computes, as `Device.record` does."""
    return {
        name.removeprefix(_MACHINE): value
        for name, value in settings.items()
        if name.startswith(_MACHINE)
    }


def require_same(saved: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with other settings than the run was begun with.

    Where and how it computes may change: it is for the caller to say so.

    Raises:
        ConfigError: Listing each difference as old -> new.
    """
    differences = [
        f"{name}: {saved.get(name)!r} -> {now.get(name)!r}"
        for name in sorted(saved.keys() | now)
        if not name.startswith(_MACHINE) and saved.get(name) != now.get(name)
    ]
    if differences:
        raise ConfigError(
            f"the checkpoint was made with other settings ({'; '.join(differences)}): "
            "restore them, or give the changed run another name or --out"
        )


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
        ConfigError: When its weights are not those of this network.
    """
    try:
        assign(module, state.weights)
    except ValueError as error:
        raise ConfigError(
            f"the checkpoint is of another network: {error}; go on with the diffsci that wrote it "
            "(run.json names its version), or train anew in another folder"
        ) from error
    ema.restore(state.ema, state.ema_updates)
    parameters = dict(module.named_parameters())
    places = {name: place for place, name in enumerate(parameters)}
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.optimiser.items():
        owner, moment = name.rsplit("/", 1)
        if value.shape == parameters[owner].shape:
            # Fused kernels walk memory, so a moment needs its weight's layout, not the file's.
            value = torch.empty_like(parameters[owner], dtype=value.dtype).copy_(value)
        moments.setdefault(places[owner], {})[moment] = value.detach()
    # The optimiser's own loader puts the rest on the right device.
    optimiser.load_state_dict(
        {"state": moments, "param_groups": optimiser.state_dict()["param_groups"]}
    )
