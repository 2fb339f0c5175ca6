"""Run in a process of its own: `diffsci run`, killed at random moments and begun again.

Prints JSON: for each kill where it fell, the exit codes, and whether every loss as hex and all
bytes of weights, averages and moments are those of the run that was left alone.
"""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # every optimiser imports it, at 2 s; here once instead of in every fork

from diffsci import cli
from diffsci.data.catalog import load_entry
from diffsci.data.domains.weather import Weather
from diffsci.data.prepared.blocks import Plan
from diffsci.data.prepared.preparing import prepare
from diffsci.sections import Part
from diffsci.stages import sequence  # noqa: F401  imported once instead of in every fork
from diffsci.stages.training import learning  # noqa: F401  imported once instead of in every fork
from tests import tiny_runs
from tests._together import free_port

STEPS = 30
TRAIN = (
    f"train.steps={STEPS}",
    "train.checkpoint_every=3",
    "train.validate_every=5",
    "train.log_every=1",
    "train.ema=[0.9,0.99]",
    "train.keep_best=true",
)
INSIDE = (
    "checkpoint.tensors",
    "checkpoint.numbers",
    "checkpoint.manifest",
    "folder.synced",
    "folder.renamed",
    "checkpoint.pruning",
)
"""Between the instructions of a save."""


def begin(file, out, world, failpoint=""):
    """The processes of one run, in forks of this one, rank 0 first."""
    port, children = str(free_port()), []
    for rank in range(world):
        child = os.fork()
        if not child:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            if world > 1:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                os.environ |= {"GLOO_SOCKET_IFNAME": "lo"}
            os.environ["DIFFSCI_FAILPOINT"] = failpoint if rank == 0 else ""
            try:
                cli.main(["run", str(file), *TRAIN, "--out", str(out)])
            except SystemExit as ended:
                os._exit(ended.code or 0)
            os._exit(0)
        children.append(child)
    return children


def end(children):
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def exact(out):
    """Every loss as hex, and all of the last state's bytes."""
    last = out / "checkpoints" / f"step-{STEPS:08d}"
    told = json.loads((last / "state.json").read_text())
    rows = [[float(value).hex() for value in row] for row in told["losses"]]
    return rows, told["validations"], tiny_runs.tree(last)["state.safetensors"]


def killed_by_clock(file, out, world, seconds):
    children = begin(file, out, world)
    time.sleep(seconds)
    for child in children:
        os.kill(child, signal.SIGKILL)
    return end(children)


def killed_inside(file, out, world, failpoint):
    """The first process ends inside a save; the others then, too."""
    children = begin(file, out, world, failpoint)
    first = end(children[:1])
    for child in children[1:]:
        os.kill(child, signal.SIGKILL)
    return first + end(children[1:])


def made(root, workers):
    """A pipeline; with workers, of data on disk, as there is nothing for them to do else."""
    file = tiny_runs.make(root, "downscale")
    # What comes after training costs seconds, and has tests of its own.
    kept = [x for x in file.read_text().splitlines() if not x.startswith(("sample:", "evaluate:"))]
    if workers:
        entry, train = load_entry(str(root / "weather.nc")), ("2000-01-01", "2000-01-04T06")
        there = root / "store.zarr"
        prepare(Plan(entry=entry, domain=Weather(), target=there, train=Part(time=train)))
        more = f"runtime: {{workers: {workers}, memory: 0, "
        kept = [x.replace("weather.nc", there.name).replace("runtime: {", more) for x in kept]
    file.write_text("\n".join(kept))
    return file


def kills(file, root, world, count):
    """`count` kills, a third of them inside a save; each is followed by the same command."""
    started = time.monotonic()
    end(begin(file, root / "whole", world))
    lasted, whole = time.monotonic() - started, exact(root / "whole")
    random, found = np.random.default_rng(world), []
    for number in range(count):
        out = root / f"killed-{number}"
        if number % 3 == 0:
            where = f"{INSIDE[number // 3 % len(INSIDE)]}:{random.integers(1, 8)}"
            codes = killed_inside(file, out, world, where)
        else:
            where = float(random.uniform(0.1, 0.95) * lasted)
            codes = killed_by_clock(file, out, world, where)
        again = end(begin(file, out, world))
        found.append({"where": where, "codes": codes, "again": again, "same": exact(out) == whole})
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.getLogger("diffsci").setLevel(logging.ERROR)
    base, ranks, times = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(kills(made(base, int(sys.argv[4])), base, ranks, times)))
