"""Run in a subprocess: trains to the end in one go, and again while it is killed seven times.

The run in one go saves at once, the other by a thread, as `diffsci run` does.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch._dynamo  # every optimiser imports it, at 2 s; here once instead of in every fork

from diffsci.files import sweep
from diffsci.training import checkpoint
from diffsci.training.writer import Writer
from tests.training.tiny import TinyExamples, digest, tiny_denoiser, tiny_section, tiny_train

STEPS = 24


def run(folder, kill_after=0, failpoint="", later=True):
    """Go on from what is in the folder, in a process of its own; its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.environ["DIFFSCI_FAILPOINT"] = failpoint
    sweep(folder)
    resume = checkpoint.newest(folder, warn=sys.exit)
    steps = tiny_train(
        tiny_denoiser(),
        TinyExamples(),
        tiny_section(steps=STEPS, log_every=1),
        valid=TinyExamples(5, seed=1),
        resume=resume,
    )
    with Writer(folder, keep=2) as writer:
        for done, step in enumerate(steps, start=1):
            if step.step % 3 == 0 and later:
                writer.save(step.state())
            elif step.step % 3 == 0:
                checkpoint.save(folder, step.state(), keep=2)
            if done == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
    os._exit(0)


def result(folder):
    state = checkpoint.newest(folder, warn=sys.exit)
    weights, *rest = digest(state)
    hashed = hashlib.sha256()
    for group in sorted(weights):
        for name in sorted(weights[group]):
            hashed.update(name.encode() + weights[group][name])
    return [hashed.hexdigest(), [row[1].hex() for row in state.losses], repr(rest)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    root = Path(sys.argv[1])
    codes = [run(root / "whole", later=False)]
    # After one step, inside saves, at the pruning, and just before the end.
    for kill_after, failpoint in [
        (1, ""),
        (0, "checkpoint.tensors"),
        (4, ""),
        (0, "folder.renamed"),
        (0, "checkpoint.pruned:2"),
        (0, "checkpoint.manifest:2"),
        (5, ""),
        (0, ""),
        (0, ""),
    ]:
        codes.append(run(root / "killed", kill_after, failpoint))
    left = [path.name for path in (root / "killed").iterdir() if path.name[0] == "."]
    print(json.dumps([codes, result(root / "whole"), result(root / "killed"), left]))
