"""Two processes with one thread each against one with one thread: samples a second of training.

The same loop, network and global batch of 2 B on two processes, B on one. Each runs in processes of
its own, in turns; the value is the ratio of the best samples/s of each. It needs two cores that
nothing else uses: the ratio of wall times means nothing on a busy machine.

    python benchmarks/distributed.py [--seconds S] [--turns N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

GOAL = 1.7
BATCH = 8
"""Examples of a step on each process."""


def worker(seconds: float) -> None:
    """Train for so long; rank 0 prints seconds of a step, in the median after the first quarter."""
    import torch
    from training import Fields, Objective, denoiser

    from diffsci.runtime import Device
    from diffsci.sections import Train
    from diffsci.training import distributed, memory
    from diffsci.training.loop import train

    torch.set_num_threads(1)
    with distributed.process_group(torch.device("cpu"), 120.0) as ranks:
        batch, size = BATCH * ranks.world, (64, 64)
        section = Train(steps=10**6, batch_size=batch, warmup=0, objective=Objective())
        model = denoiser(size, (32, 64))
        steps = train(
            model, Fields(size), section, objective=section.objective, seed=0, device=Device()
        )
        times, ends = [], time.perf_counter() + seconds
        with memory.kept():
            while True:
                started = time.perf_counter()
                next(steps)
                times.append(time.perf_counter() - started)
                # All stop after the same step: a rank that waits for another would fail.
                if distributed.largest(int(time.perf_counter() > ends)):
                    break
        if ranks.is_first:
            weights = sum(p.numel() for p in model.parameters())
            print(
                json.dumps(
                    {"seconds": statistics.median(times[len(times) // 4 :]), "weights": weights}
                )
            )


def samples_a_second(world: int, seconds: float) -> tuple[float, int]:
    """Of so many processes, and the number of weights."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, __file__, "--worker", str(seconds)]
    processes = []
    for rank in range(world):
        shared = os.environ | {"OMP_NUM_THREADS": "1"}
        if world > 1:
            shared |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
            shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"}
        processes.append(subprocess.Popen(command, env=shared, stdout=subprocess.PIPE, text=True))
    answers = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a process failed; see above")
    told = json.loads(answers[0].splitlines()[-1])
    return BATCH * world / told["seconds"], told["weights"]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each run [20]")
    parser.add_argument("--turns", type=int, default=3, help="runs of each [3]")
    parser.add_argument("--json", type=Path, help="write rows of name, value, goal, better, unit")
    parser.add_argument("--worker", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        worker(options.worker)
        return
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.turns):
        for world, rates in found.items():
            rate, weights = samples_a_second(world, options.seconds)
            rates.append(rate)
            print(f"{world} process(es) of one thread: {rate:.1f} samples/s, {weights:,} weights")
    ratio = max(found[2]) / max(found[1])
    print(f"2 over 1: {ratio:.2f}   goal >= {GOAL}   (load now {os.getloadavg()[0]:.1f})")
    if options.json:
        name = "2 gloo processes over 1, one thread each: samples/s"
        row = {"name": name, "value": round(ratio, 3), "goal": GOAL, "better": "higher"}
        options.json.write_text(json.dumps([row | {"unit": "ratio"}], indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
