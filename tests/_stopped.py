"""Run in a process of its own: runs that are killed, interrupted and begun again, in forks of it.

Prints JSON: for each scenario the exit codes, what the last call computed, and whether the numbers
are those of the run that was left alone. `fast` plays one of each kind, `slow` all others.
"""

import contextlib
import io
import json
import logging
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # every optimiser imports it, at 2 s; here once instead of in every fork

from diffsci import cli
from diffsci.errors import StorageError
from diffsci.forecasting.store import work
from diffsci.running import journal, stopping
from diffsci.stages import sequence  # noqa: F401  imported once instead of in every fork
from diffsci.stages.training import learning  # noqa: F401  imported once instead of in every fork
from tests import tiny_runs

QUICK = (
    "train.steps=7",
    "train.checkpoint_every=3",
    "tracking.enabled=false",
    # Six units of one case each: as many members as go through the network at once.
    "sample.cases=6",
    "sample.compute_batch=3",
)


EVERY = ("train.log_every=1",)

PLACES = {
    "fast": (
        "file.written:1",  # the first config.yaml
        "train.step:5",
        "train.done",
        "store.block:2",
        "compact.block:1",
        "store.named",
    ),
    "slow": (
        "train.step:2",  # before any checkpoint
        "checkpoint.manifest:2",
        "train.made",
        "store.chunks:1",
        "compact.ready",
        "sample.done",
    ),
}
"""Where it is killed."""
SIGNALS = {
    "fast": ((signal.SIGINT, "store.block"), (signal.SIGTERM, "train.step")),
    "slow": (
        (signal.SIGINT, "train.step"),
        (signal.SIGTERM, "store.block"),
        (signal.SIGUSR1, "train.step"),
        (signal.SIGUSR1, "store.block"),
    ),
}
"""Which it gets, and where."""
MOMENTS = {"fast": 2, "slow": 6}


def call(file, out, *, failpoint="", act=None, counts=None, overrides=(), fork=True):
    """`diffsci run` in a fork; its exit code.

    `failpoint` kills at that place. `act(name)` is called at each place passed instead, and the
    file `counts` then holds how often each was passed.
    """
    child = os.fork() if fork else 0
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    # A shell that started us in the background may have had SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["DIFFSCI_FAILPOINT"] = failpoint
    passed = {}

    def passing(name):
        passed[name] = passed.get(name, 0) + 1
        if act:
            act(name, passed[name])

    if not failpoint:
        learning.failpoint = work.failpoint = passing
    code = 0
    try:
        cli.main(["run", str(file), *QUICK, *overrides, "--out", str(out)], standalone_mode=True)
    except SystemExit as ended:
        code = ended.code or 0
    if counts:
        counts.write_text(json.dumps(passed))
    os._exit(code)


def send(kind, where, count=1):
    """Something to do at the `count`-th passing of a place: send oneself a signal."""
    return lambda name, passed: (name, passed) == (where, count) and os.kill(os.getpid(), kind)


def killed(file, root, whole, places):
    """Killed at each place in turn, each time in a folder of its own; then begun again."""
    found = {}
    for place in places:
        out = root / place.replace(":", "-").replace(".", "-")
        codes = [call(file, out, failpoint=place)]
        before = list((out / ".forecast.zarr.work").glob("unit-*.json"))
        saved = [int(p.name[-8:]) for p in (out / "checkpoints").glob("step-*")]
        codes.append(call(file, out, counts=root / "counts.json"))
        passed = json.loads((root / "counts.json").read_text())
        debris = [p.name for p in out.rglob(".*") if p.name != ".lock"]
        same = tiny_runs.numbers(out) == whole
        found[place] = {
            "codes": codes,
            "committed": len(before),
            "saved": max(saved, default=0),
            "steps": passed.get("train.step", 0),
            "blocks": passed.get("store.block", 0),
            "debris": [name for name in debris if not name.startswith(".z")],
            "same": same,
        }
    return found


def interrupted(file, root, whole, signals):
    """A signal in training or in sampling; then the same command again."""
    found = {}
    for kind, place in signals:
        out = root / f"{kind.name}-{place}"
        codes = [call(file, out, act=send(kind, place, 4))]
        status = tiny_runs.record(out)["status"]
        codes.append(call(file, out, counts=root / "counts.json"))
        passed = json.loads((root / "counts.json").read_text())
        found[f"{kind.name} {place}"] = {
            "codes": codes,
            "status": status,
            "steps": passed.get("train.step", 0),
            "blocks": passed.get("store.block", 0),
            "same": tiny_runs.numbers(out) == whole,
        }
    return found


def twice(file, root, whole):
    """Ctrl-C twice, while the step in hand goes on for a minute; then the same command again."""
    out, begun, lingered = (root / name for name in ("twice", "twice-begun", "lingered"))

    def linger(name, passed):
        if (name, passed) == ("train.step", 4):
            begun.write_text("")
            time.sleep(60)
            lingered.write_text("")

    child = os.fork()
    if not child:
        os._exit(call(file, out, act=linger, fork=False))
    while not begun.exists():
        time.sleep(0.01)
    os.kill(child, signal.SIGINT)
    time.sleep(0.2)
    waiting = os.waitpid(child, os.WNOHANG) == (0, 0)
    os.kill(child, signal.SIGINT)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]
    codes.append(call(file, out))
    same = tiny_runs.numbers(out) == whole
    return {"waiting": waiting, "codes": codes, "lingered": lingered.exists(), "same": same}


def at_random(file, root, whole, lasted, moments):
    """SIGTERM at some moments of the clock; then the same command again."""
    found = []
    for turn, share in enumerate(np.random.default_rng(0).uniform(0.0, 0.9, moments)):
        out = root / f"random-{turn}"
        begun = root / f"random-{turn}-begun"
        child = os.fork()
        if not child:
            heard(begun)
            os._exit(call(file, out, fork=False, overrides=EVERY))
        while not begun.exists():
            time.sleep(0.001)
        time.sleep(share * lasted)
        os.kill(child, signal.SIGTERM)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]
        codes.append(call(file, out, overrides=EVERY))
        found.append({"codes": codes, "same": exact(out) == whole})
    return found


def heard(begun):
    """From now on in this fork, write a file when signals are listened to."""
    real = stopping.listening

    @contextlib.contextmanager
    def listening(**given):
        with real(**given):
            begun.write_text("")
            yield

    stopping.listening = listening


def exact(out):
    """Every loss as hex, and all of the last state's bytes."""
    last = out / "checkpoints" / "step-00000007"
    rows = json.loads((last / "state.json").read_text())["losses"]
    hexed = [[float(value).hex() for value in row] for row in rows]
    return hexed, tiny_runs.tree(last)["state.safetensors"], tiny_runs.numbers(out)


def full(file, root, whole):
    """No file may grow beyond a size, as on a full disk: the run's first, then a checkpoint."""
    found = {}
    for limit in (1_000, 20_000):
        out = root / f"full-{limit}"
        child = os.fork()
        if not child:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            told = io.StringIO()
            with contextlib.redirect_stderr(told):
                code = call_here_by_command(file, out)
            # The limit holds for what is told, too.
            (root / "told").write_text(told.getvalue().splitlines()[-1])
            os._exit(code)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), call(file, out)]
        same = tiny_runs.numbers(out) == whole
        found[limit] = {"codes": codes, "told": (root / "told").read_text(), "same": same}
    return found


def call_here_by_command(file, out):
    """The exit code of `diffsci run` in this fork."""
    try:
        cli.main(["run", str(file), *QUICK, "--out", str(out)], standalone_mode=True)
    except SystemExit as ended:
        return ended.code or 0


def second(file, root):
    """What another process is told while one runs, and whether the folder is free after a kill."""
    out, begun = root / "busy", root / "begun"

    def linger(name, passed):
        if passed == 2:
            begun.write_text("")
            time.sleep(60)

    holder = os.fork()
    if not holder:
        call_here(file, out, linger)
    while not begun.exists():
        time.sleep(0.01)
    before = but_for_the_journal(out)
    told = ""
    try:
        tiny_runs.run(file, *QUICK, out=out)
    except StorageError as error:
        told = str(error)
    untouched = but_for_the_journal(out) == before
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    return {
        "told": told,
        "pid": holder,
        "untouched": untouched,
        "after": call(file, out),
    }


def but_for_the_journal(out):
    """All files but the one to which the holder adds what the machine uses."""
    return {name: content for name, content in tiny_runs.tree(out).items() if name != journal.NAME}


def call_here(file, out, act):
    """The run in this fork, which is to be killed."""
    learning.failpoint = lambda name, passed=[0]: act(name, passed.append(0) or len(passed) - 1)
    tiny_runs.run(file, *QUICK, out=out)
    os._exit(0)


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.getLogger("diffsci").setLevel(logging.ERROR)
    base, which = Path(sys.argv[1]), sys.argv[2]
    pipeline = tiny_runs.make(base, "pde")
    text = pipeline.read_text()
    # Figures take seconds; what is scored is the store, which is compared byte by byte.
    pipeline.write_text(text.replace("evaluate: {resamples: 20}", ""))
    alone = base / "alone"
    result = {"alone": call(pipeline, alone, counts=base / "counts.json")}
    result["passed"] = json.loads((base / "counts.json").read_text())
    expected = tiny_runs.numbers(alone)
    result["killed"] = killed(pipeline, base, expected, PLACES[which])
    result["interrupted"] = interrupted(pipeline, base, expected, SIGNALS[which])
    started = time.monotonic()
    call(pipeline, base / "every", overrides=EVERY)
    lasted = time.monotonic() - started
    whole = exact(base / "every")
    result["random"] = at_random(pipeline, base, whole, lasted, MOMENTS[which])
    if which == "fast":
        result["twice"] = twice(pipeline, base, expected)
        result["full"] = full(pipeline, base, expected)
        result["second"] = second(pipeline, base)
    print(json.dumps(result))
