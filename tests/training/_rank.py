"""Run as rank 1 beside a test that is rank 0: both train a tiny model, in one way after another."""

import sys
from pathlib import Path

import torch

from diffsci.runtime import Device
from diffsci.sections import ValidateCrps
from diffsci.training import checkpoint, distributed
from diffsci.training.judging import Judge
from tests.training.tiny import TinyExamples, clone, tiny_denoiser, tiny_section, tiny_train

SHARDED = Device(sharded=True)
HALF = 6


def trained(device=None, folder=None, resume=None, **changes):
    """The state after all steps of this rank, in float64 and without dropout.

    What is there after half of them is saved in a folder, where there is one.
    """
    # Rank 1 begins elsewhere: joining must give it rank 0's weights.
    ranks = distributed.current()
    denoiser = tiny_denoiser(seed=ranks.rank, dtype=torch.float64)
    denoiser.network.dropout.p = 0.0
    valid = TinyExamples(5, seed=1, dtype=torch.float64)
    judge = Judge(asked=ValidateCrps(cases=5, members=2), sampler=None, valid=valid, seed=3)
    section = tiny_section(ema=(0.9, 0.99), ema_lengths=(0.1,), **changes)
    steps = tiny_train(
        denoiser,
        TinyExamples(dtype=torch.float64),
        section,
        valid=valid,
        judge=judge,
        device=device or Device(),
        resume=resume,
    )
    for step in steps:
        if step.step == HALF and folder is not None:
            state = step.state()
            if ranks.is_first:
                checkpoint.save(folder, state, keep=1)
    # The rest of a run is not there any more when its state is looked at.
    return clone(step.state())


def all_ways(folder):
    """The same training by both ranks, once wrapped and once sharded, each whole and gone on with.

    Of rank 1 only that it takes part is wanted.
    """
    ways = {"wrapped": None, "sharded": SHARDED}
    found = {name: trained(device, folder / name) for name, device in ways.items()}
    distributed.meet("halves are saved", 60.0)
    for name, device in ways.items():
        found[f"{name} in two parts"] = trained(device, accumulate=2)
        for half in ways:
            state = checkpoint.newest(folder / half, sys.exit)
            found[f"{half}, then {name}"] = trained(device, resume=state)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    with distributed.process_group(torch.device("cpu"), timeout_seconds=60.0):
        all_ways(Path(sys.argv[1]))
