"""Run in a process of its own: processes that sample one store, one of them killed or stopped.

Prints JSON: for each scenario the exit codes, what was told, and whether the store is that of one
process.
"""

import json
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import torch

from diffsci import cli
from diffsci.forecasting.store import work
from diffsci.stages import sequence  # noqa: F401  once, not in every fork
from diffsci.stages.ensembles import resampling  # noqa: F401  once, not in every fork
from diffsci.stages.training import following  # noqa: F401  once, not in every fork
from tests import tiny_runs


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def call(arguments, told, world=1, acts=None):
    """`diffsci` with these arguments in forks; exit codes, and units that each computed."""
    port, children = str(free_port()), []
    for rank in range(world):
        child = os.fork()
        if not child:
            file = os.open(f"{told}-{rank}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
            os.dup2(file, 1)
            os.dup2(file, 2)
            if world > 1:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "DIFFSCI_RANK_TIMEOUT": "4"}
            act = (acts or {}).get(rank)
            if act:
                work.failpoint = counting(act)
            try:
                cli.main(list(map(str, arguments)))
            except SystemExit as ended:
                os._exit(ended.code or 0)
            os._exit(0)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return {"codes": codes, "told": [Path(f"{told}-{rank}").read_text() for rank in range(world)]}


def counting(act):
    passed = []

    def failpoint(name):
        passed.append(name)
        act(name, passed.count(name))

    return failpoint


def send(kind):
    """A signal to oneself, when the first unit is committed."""
    return lambda name, count: (name, count) == ("store.block", 1) and os.kill(os.getpid(), kind)


if __name__ == "__main__":
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger("diffsci").setLevel(logging.ERROR)
    base = Path(sys.argv[1])
    pipeline = tiny_runs.make(base, "pde")
    pipeline.write_text(pipeline.read_text().replace("evaluate: {resamples: 20}", ""))
    run = base / "run"
    tiny_runs.run(pipeline, "train.steps=2", "sample=null", out=run)
    common = ["sample", run, "sample.compute_batch=3", "sample.cases=6", "--members", 3]
    result = {"one": call([*common, "--out", base / "one.zarr"], base / "one")}
    expected = tiny_runs.tree(base / "one.zarr")
    scenarios = {
        "three": {"world": 3},
        "killed": {"world": 2, "acts": {1: send(signal.SIGKILL)}},
        "stopped": {"world": 2, "acts": {1: send(signal.SIGTERM)}},
    }
    for name, given in scenarios.items():
        store = base / f"{name}.zarr"
        result[name] = call([*common, "--out", store], base / name, **given)
        result[name]["committed"] = len(list(base.glob(f".{name}.zarr.work/unit-*.json")))
        if name == "stopped":
            result[name]["again"] = call([*common, "--out", store], base / name)["codes"]
        result[name]["same"] = tiny_runs.tree(store) == expected
    # Initial conditions from a file.
    source = ["sample", run, "sample.compute_batch=3", "--from", base / "waves.zarr", "--start", 1]
    for name, world in (("file", 1), ("files", 2)):
        result[name] = call([*source, "--out", base / f"{name}.zarr"], base / name, world)
    alone, shared = (tiny_runs.tree(base / f"{name}.zarr") for name in ("file", "files"))
    result["files"]["same"] = alone == shared
    # The processes that train sample, too.
    quick = (
        "train.steps=2",
        "train.checkpoint_every=2",
        "sample.cases=6",
        "sample.compute_batch=3",
    )
    result["run"] = call(["run", pipeline, *quick, "--out", base / "together"], base / "t", world=2)
    result["run"]["units"] = "shared by 2 processes"
    result["run"]["there"] = (base / "together" / "forecast.zarr").exists()
    result["run"]["again"] = call(
        ["sample", base / "together", *quick[2:], "--members", 3, "--out", base / "t.zarr"],
        base / "t",
    )["codes"]
    made, again = (
        tiny_runs.tree(p) for p in (base / "together" / "forecast.zarr", base / "t.zarr")
    )
    result["run"]["same"] = made == again
    print(json.dumps(result))
