"""Run in a subprocess: saves a checkpoint in each of some folders, killed at each failpoint."""

import os
import sys
from pathlib import Path

import torch

from diffsci.training import checkpoint
from diffsci.training.state import RunState


def state(step, size=8):
    tensor = torch.full((size,), float(step))
    return RunState(
        step=step,
        weights={"w": tensor},
        ema={"w": tensor + 1},
        ema_updates=step,
        optimiser={"w/exp_avg": tensor + 2, "w/step": torch.tensor(float(step))},
        best_step=0,
        best_loss=None,
        by_level=tuple(place / 3 for place in range(24)),
        losses=((step, 0.1, 1 / 3, 1e-3),),
        validations=(),
        settings={"seed": 0},
    )


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        failpoint, step, folder = argument.split(",", 2)
        # A fork costs nothing beside importing torch; here there is one thread, so it is safe.
        child = os.fork()
        if child == 0:
            os.environ["DIFFSCI_FAILPOINT"] = failpoint
            checkpoint.save(Path(folder), state(int(step)), keep=2)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -9, f"not killed at {failpoint}"
