"""Run in a process of its own: runs of two processes that are killed, stopped, or fail.

Prints JSON: for each scenario the exit codes, what was told, and whether the numbers are those of
the two that were left alone. That they sample as one, too, is shown in `tests/stages/_shared.py`.
"""

import json
import logging
import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # every optimiser imports it, at 2 s; here once instead of in every fork

from diffsci import cli, runtime
from diffsci.stages import sequence  # noqa: F401  imported once instead of in every fork
from diffsci.stages.status import status_of
from diffsci.stages.training import learning  # noqa: F401  imported once instead of in every fork
from tests import tiny_runs

STEPS = 9
QUICK = (f"train.steps={STEPS}", "train.checkpoint_every=3", "train.log_every=1")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def begin(file, out, world=2, acts=None, overrides=None, timeout=60, compiled=None):
    """The processes of one run, in forks; what each tells goes to a file.

    `compiled` stands for torch's compiler: by rank, whether it can compile.
    """
    port, children = str(free_port()), []
    for rank in range(world):
        child = os.fork()
        if not child:
            told = os.open(
                out.with_name(f"{out.name}-{rank}.txt"),
                os.O_CREAT | os.O_TRUNC | os.O_WRONLY,
                0o644,
            )
            os.dup2(told, 2)
            os.dup2(told, 1)
            if world > 1:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ |= {"GLOO_SOCKET_IFNAME": "lo", "DIFFSCI_RANK_TIMEOUT": str(timeout)}
            if compiled:
                compile_as(compiled[rank])
            if acts and rank in acts:
                learning.failpoint = counting(acts[rank])
            more = (overrides or {}).get(rank, ())
            try:
                cli.main(["run", str(file), *QUICK, *more, "--out", str(out)])
            except SystemExit as ended:
                os._exit(ended.code or 0)
            os._exit(0)
        children.append(child)
    return children


def compile_as(works):
    """A stand-in for the compiler, which is found and wanted, and then compiles or fails."""

    def broken(*inputs):
        raise AssertionError("no code for this")

    def compile_(network, **options):
        network._compiled_call_impl = network._call_impl if works else broken

    torch.nn.Module.compile = compile_
    runtime.cannot_compile = lambda name: None
    runtime._START["cpu"] = 0.0


def end(out, children):
    """Exit codes and what was told, when all have ended."""
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    files = [out.with_name(f"{out.name}-{rank}.txt") for rank in range(len(children))]
    return {"codes": codes, "told": [file.read_text() for file in files]}


def end_as_torchrun(out, children):
    """The same where the second dies: a launcher then asks the first to end, too, as it notices."""
    code = os.waitstatus_to_exitcode(os.waitpid(children[1], 0)[1])
    time.sleep(0.3)  # of the 5 s in which the first asks the second whether it is there
    os.kill(children[0], signal.SIGTERM)
    found = end(out, children[:1])
    return {"codes": [*found["codes"], code], "told": [*found["told"], ""]}


def run(file, out, **given):
    return end(out, begin(file, out, **given))


def exact(out):
    """Every loss as hex, and all of the last state's bytes."""
    last = out / "checkpoints" / f"step-{STEPS:08d}"
    rows = json.loads((last / "state.json").read_text())["losses"]
    return [[float(value).hex() for value in row] for row in rows], tiny_runs.tree(last)[
        "state.safetensors"
    ]


def losses(out):
    last = out / "checkpoints" / f"step-{STEPS:08d}"
    return [row[1] for row in json.loads((last / "state.json").read_text())["losses"]]


def counting(act):
    """A failpoint that acts, told how many steps were done."""
    passed = []

    def failpoint(name):
        passed.append(name)
        act(passed.count("train.step"))

    return failpoint


def then(kind, count):
    """Something to do at the `count`-th step: send oneself a signal."""
    return lambda passed: passed == count and os.kill(os.getpid(), kind)


def killed_when_saved(out, count):
    """Ends at once, at the `count`-th step and with a whole checkpoint to go on from."""

    def act(passed):
        if passed == count:
            # Saving is beside the steps: on a busy machine the fifth may come first.
            end = time.monotonic() + 60
            while not [*out.glob("checkpoints/step-*/manifest.json")] and time.monotonic() < end:
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def failing(count):
    def act(passed):
        if passed == count:
            raise MemoryError("the sixth step is too much")

    return act


CASES = {
    "fast": {
        "killed": {"acts": {1: then(signal.SIGKILL, 5)}},
        "SIGTERM": {"acts": {1: then(signal.SIGTERM, 5)}},
        "fails": {"acts": {1: failing(5)}},
        "stalled": {"acts": {1: then(signal.SIGSTOP, 5)}, "timeout": 2},
    },
    "slow": {
        "first killed": {"acts": {0: then(signal.SIGKILL, 5)}},
        "SIGINT": {"acts": {0: then(signal.SIGINT, 5)}},
    },
}


def stopped(file, root, whole, cases):
    """One rank is killed, stopped, stalled, or fails; then the same command again."""
    found = {}
    for name, given in cases.items():
        out = root / name.replace(" ", "-")
        children = begin(file, out, **given)
        if name == "stalled":
            code = os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])
            os.kill(children[1], signal.SIGKILL)
            os.waitpid(children[1], 0)
            told = out.with_name(f"{out.name}-0.txt").read_text()
            found[name] = {"codes": [code, None], "told": [told, ""]}
        elif name == "killed":
            found[name] = end_as_torchrun(out, children)
        else:
            found[name] = end(out, children)
        status = status_of(out)
        found[name] |= {"status": status.status, "cause": status.cause}
        found[name]["again"] = run(file, out)["codes"]
        found[name]["same"] = exact(out) == whole
    return found


def sharing(file, root, whole):
    """The weights of both are shared out, or compiling fails on one of them."""
    every = dict.fromkeys((0, 1), ("runtime.sharding=full",))
    found = {"sharded": run(file, root / "sharded", overrides=every)}
    out, acts = root / "sharded-killed", {0: then(signal.SIGKILL, 5)}
    found["killed"] = run(file, out, overrides=every, acts=acts)
    shutil.copytree(out, root / "sharded-then-not")
    found["again"] = run(file, out, overrides=every)
    found["again"]["same"] = exact(out) == exact(root / "sharded")
    out = root / "sharded-then-not"
    found["then not"] = run(file, out, world=1)
    found["alone"] = run(file, root / "alone", world=1, overrides=every)
    found["losses"] = [losses(root / name) for name in ("sharded", "sharded-then-not")]
    can = {0: True, 1: False}
    auto = dict.fromkeys(can, ("runtime.compile=auto",))
    out = root / "uncompiled"
    found["auto"] = run(file, out, compiled=can, overrides=auto) | {"same": exact(out) == whole}
    out, true = root / "asked", dict.fromkeys(can, ("runtime.compile=true",))
    found["true"] = run(file, out, compiled=can, overrides=true)
    return found


SHARDED = {
    "learned, again, frozen": (
        "downscale",
        "train.objective={use: likelihood, per: channel}",
        "model.network.attention=[0]",
        "model.network.heads=1",
        "runtime.checkpointing=true",
        "train.freeze=[network.stem.*]",
    ),
    "half precision": (
        "downscale",
        "runtime.precision=fp16",
        "model.network={use: dit, width: 16, depth: 2, heads: 2, patch: 2}",
    ),
    "several steps": (
        "pde",
        "train.objective={use: crps, members: 2}",
        "train.rollout={leads: 2, from_step: 2}",
        "model.schedule=edm",
    ),
}


def sharded_or_not(root):
    """The losses of each case, with all weights in each process and with a part of them."""
    found = {}
    for number, (name, (kind, *given)) in enumerate(SHARDED.items()):
        place = root / str(number)
        place.mkdir()
        file, found[name] = tiny_runs.make(place, kind), []
        for way in ("none", "full"):
            every = (*given, "sample=null", "evaluate=null", f"runtime.sharding={way}")
            told = run(file, place / way, overrides=dict.fromkeys((0, 1), every))
            assert told["codes"] == [0, 0], told
            found[name].append(losses(place / way))
    return found


def at_random(file, root, whole, lasted):
    """Both are killed at four moments of the clock; then the same command again."""
    found = []
    for turn, share in enumerate(np.random.default_rng(0).uniform(0.2, 1.0, 4)):
        out = root / f"random-{turn}"
        children = begin(file, out)
        time.sleep(share * lasted)
        for child in children:
            os.kill(child, signal.SIGKILL)
        codes = end(out, children)["codes"]
        found.append(
            {"codes": codes, "again": run(file, out)["codes"], "same": exact(out) == whole}
        )
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.getLogger("diffsci").setLevel(logging.ERROR)
    base = Path(sys.argv[1])
    if sys.argv[2:] == ["sharded"]:
        print(json.dumps(sharded_or_not(base)))
        sys.exit()
    pipeline = tiny_runs.make(base, "pde")
    lines = pipeline.read_text().splitlines()
    pipeline.write_text("\n".join(x for x in lines if not x.startswith(("sample:", "evaluate:"))))
    begun = time.monotonic()
    result = {"two": run(pipeline, base / "two")}
    seconds = time.monotonic() - begun
    expected = exact(base / "two")
    if sys.argv[2:] == ["slow"]:
        result["stopped"] = stopped(pipeline, base, expected, CASES["slow"])
        result["random"] = at_random(pipeline, base, expected, seconds)
        print(json.dumps(result))
        sys.exit()
    result["one"] = run(pipeline, base / "one", world=1)
    result["losses"] = [losses(base / "one"), losses(base / "two")]
    result["done"] = run(pipeline, base / "two")
    result["refused"] = run(pipeline, base / "two", overrides={0: ("seed=1",), 1: ("seed=1",)})
    other = {1: ("data.split.train.samples=[0,5]",)}
    result["other data"] = run(pipeline, base / "other", overrides=other)
    uneven = dict.fromkeys((0, 1), ("train.batch_size=3",))
    result["uneven"] = run(pipeline, base / "uneven", overrides=uneven)
    result["stopped"] = stopped(pipeline, base, expected, CASES["fast"])
    result["sharing"] = sharing(pipeline, base, expected)
    out = base / "fewer"
    run(pipeline, out, acts=dict.fromkeys((0, 1), killed_when_saved(out, 5)))
    result["fewer"] = run(pipeline, out, world=1)
    result["losses"].append(losses(out))
    print(json.dumps(result))
