"""How fast a solver's error falls with its step."""

import math
from dataclasses import replace

import numpy as np
import torch


def trajectory(solver, frames, count=2):
    """States of the first trajectories from their initial states on, and their parameters."""
    numbers = np.arange(count)
    parameters = {k: torch.from_numpy(v) for k, v in solver.parameters(numbers).items()}
    return solver.integrate(solver.initial(numbers), frames, parameters=parameters)


def slopes(solver, dts):
    """Orders between steps, each half of that before, against one four times finer than the last.

    Args:
        solver: Whose first output step is looked at.
        dts: Steps, the largest first.
    """
    solved = {
        dt: trajectory(replace(solver, dt=dt, spin_up=0.0), frames=2)[:, 1]
        for dt in (*dts, dts[-1] / 4)
    }
    exact = solved.pop(dts[-1] / 4)
    errors = [(found - exact).norm().item() for found in solved.values()]
    return [math.log2(a / b) for a, b in zip(errors[:-1], errors[1:], strict=True)]
