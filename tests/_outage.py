"""Run in a process of its own: a tracking server that is away while a run goes on and is killed.

Prints JSON: for each metric how many points are missing and doubled after `diffsci sync`, what the
commands said, and the longest time that a step waited for tracking, in seconds of its thread.
"""

import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # every optimiser imports it, at 2 s; here once instead of in every fork

from diffsci import cli
from diffsci.stages import journalled, sequence  # noqa: F401
from diffsci.stages.training import learning  # noqa: F401
from diffsci.tracking import opening as tracking
from tests import tiny_runs
from tests._mlflow_server import Server

STEPS = 120


def begin(arguments, told, slowly=0.0, waits=None):
    """A command in a fork; each step takes at least so long, and waits go to a file."""
    child = os.fork()
    if child:
        return child
    file = os.open(told, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    learning.failpoint = lambda name: time.sleep(slowly) if name == "train.step" else None
    if waits is not None:
        timed(waits)
    try:
        cli.main(arguments)
    except SystemExit as ended:
        os._exit(ended.code or 0)
    os._exit(0)


def timed(waits):
    """Write down what each call of the tracker takes: of the thread, as others share the cores."""
    real = journalled.Journalled.metrics

    def metrics(self, values, step=0):
        started = time.thread_time()
        real(self, values, step)
        with waits.open("a") as file:
            file.write(f"{time.thread_time() - started}\n")

    journalled.Journalled.metrics = metrics


def end(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def until(condition, seconds):
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.02)


def outage(file, root, seconds):
    """Away for so long from a sixth of the run on; killed in the middle of it, and begun again."""
    server, told, waits = Server(), root / "told.txt", root / "waits.txt"
    out = root / "run"
    slowly = max(0.01, 2 * seconds / STEPS)
    run = ["run", str(file), f"tracking.uri={server.uri}", "--out", str(out)]
    child = begin(run, told, slowly, waits)
    until(lambda: len(server.points("train/loss")) >= STEPS // 6, 200)
    seen = len(server.points("train/loss"))
    server.down()
    began = time.monotonic()
    time.sleep(seconds / 2)
    os.kill(child, signal.SIGKILL)
    codes = [end(child)]
    child = begin(run, told, slowly, waits)
    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    server.up()
    codes.append(end(child))
    before = len(server.points("train/loss"))
    codes += [end(begin(["sync", str(out)], told)) for _ in range(2)]
    keys = ("train/loss", "train/lr", "train/grad_norm")
    counts = {key: server.points(key) for key in keys}
    return {
        "codes": codes,
        "seen": seen,
        "before": before,
        "runs": len(server.runs),
        "missing": {k: len(set(range(1, STEPS + 1)) - set(v)) for k, v in counts.items()},
        "doubled": {k: len(v) - len(set(v)) for k, v in counts.items()},
        "longest": max(map(float, waits.read_text().split())),
        "told": told.read_text(),
        "unknown": server.unknown,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.getLogger("diffsci").setLevel(logging.WARNING)
    base = Path(sys.argv[1])
    pipeline = tiny_runs.make(base, "pde")
    text = pipeline.read_text().replace("tracking: {enabled: false}", "tracking: {enabled: true}")
    kept = [line for line in text.splitlines() if not line.startswith(("sample:", "evaluate:"))]
    train = f"train: {{steps: {STEPS}, batch_size: 4, checkpoint_every: 10, log_every: 1}}"
    kept = [train if line.startswith("train:") else line for line in kept]
    pipeline.write_text("\n".join(kept))
    tracking.quiet_mlflow()
    print(json.dumps(outage(pipeline, base, float(sys.argv[2]))))
