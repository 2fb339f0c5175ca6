"""A network, a data set and a run small enough for thousands of steps in a test."""

import dataclasses

import numpy as np
import torch
from torch import nn

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives.edm import EDM as Objective
from diffsci.diffusion.schedules.edm import EDM as Schedule
from diffsci.grid import Grid
from diffsci.networks.base import Module
from diffsci.runtime import Device
from diffsci.sections import Train
from diffsci.training.loop import train

GRID = Grid(
    dims=("x",),
    coordinates=(tuple(map(float, range(8))),),
    units=("1",),
    boundary=(("periodic", "periodic"),),
)


class TinyNetwork(Module):
    """Two convolutions, a level, scalars, dropout, a shared weight and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 6, 3, padding=1)
        self.level = nn.Linear(2, 6)
        self.last = nn.Conv1d(6, 1, 3, padding=1)
        self.dropout = nn.Dropout(0.2)
        self.again = self.level
        self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

    def forward(self, x, level, condition, scalars, noise=None):
        if self.training:
            self.calls += 1
        hidden = self.first(torch.cat([x, condition], dim=1))
        told = torch.stack([level, scalars[:, 0]], dim=1).to(x.dtype)
        hidden = self.dropout(torch.tanh(hidden + self.again(told)[..., None]))
        return self.last(hidden)


class TinyExamples:
    """The condition is the target, smoothed; the scalar its mean."""

    def __init__(self, count=10, seed=0, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        self.target = torch.randn((count, 1, 8), generator=generator, dtype=dtype)
        self.asked = []

    def __len__(self):
        return len(self.target)

    def batch(self, index: np.ndarray):
        self.asked.append(index.tolist())
        target = self.target[torch.from_numpy(index)]
        condition = (target + target.roll(1, dims=-1)) / 2
        return Batch(target=target, condition=condition, scalars=target.mean(dim=(1, 2))[:, None])


def tiny_denoiser(seed=0, dtype=torch.float32, objective=None):
    torch.manual_seed(seed)
    learned = None if objective is None else objective.learned(1, GRID)
    return Denoiser(TinyNetwork(), Schedule(), "v", learned).to(dtype)


def tiny_section(**changes):
    values = {
        "steps": 12,
        "batch_size": 4,
        "warmup": 3,
        "lr": 1e-2,
        "weight_decay": 0.01,
        "objective": Objective(),
        "condition_noise": 0.1,
        "drop_scalars": 0.2,
        "flip": ("x",),
        "shift": ("x",),
        "validate_every": 4,
        "log_every": 5,
    }
    return Train(**(values | changes))


def tiny_train(denoiser, examples, section, **changes):
    values = {
        "objective": section.objective,
        "seed": 3,
        "device": Device(),
        "grid": GRID,
    }
    return train(denoiser, examples, section, **(values | changes))


def digest(state):
    """All of a state as one comparable value, tensors as their bytes."""
    groups = {group: getattr(state, group) for group in ("weights", "ema", "optimiser")}
    groups |= {f"ema {k}": weights for k, weights in enumerate(state.ema_others)}
    groups |= {f"power {k}": weights for k, weights in enumerate(state.powers)}
    plain = {
        group: {name: value.numpy().tobytes() for name, value in values.items()}
        for group, values in groups.items()
    }
    rest = (state.step, state.ema_updates, state.best_step, state.best_loss, state.by_level)
    rest += (state.scaler, state.skipped, state.skipped_in_row, state.ema_losses, state.recent)
    return plain, (*rest, state.ended), state.losses, (state.validations, state.scores)


def clone(state):
    """The state as a checkpoint would give it back."""
    groups = {
        group: {name: value.clone() for name, value in getattr(state, group).items()}
        for group in ("weights", "ema", "optimiser")
    }
    for kind in ("ema_others", "powers"):
        groups[kind] = tuple(
            {name: value.clone() for name, value in weights.items()}
            for weights in getattr(state, kind)
        )
    return dataclasses.replace(state, **groups)


def told(step):
    """All of a step that is no time."""
    return step.loss.hex(), step.grad_norm.hex(), step.lr, step.validation, step.by_level


def whole_run(section, valid=True, objective=None, **changes):
    """What was told of each step of an uninterrupted run, and the states after each."""
    examples, found, states = TinyExamples(), [], []
    for step in tiny_train(
        tiny_denoiser(objective=objective),
        examples,
        section,
        valid=TinyExamples(5, seed=1) if valid else None,
        **changes,
    ):
        found.append(told(step))
        states.append(clone(step.state()))
    return found, states
