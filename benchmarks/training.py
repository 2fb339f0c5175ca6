"""Cost of the training loop over a bare torch loop: same network, loss, optimiser, EMA, clipping.

Then, how long a step is held up by a checkpoint that a thread writes.

Both loops run in one process on one thread, one step of each in turn; the value is the ratio of the
medians of their CPU time, in which other work on the machine hardly shows. The loop does more in
its step (order and noise from counters, finite check, records). Small fields and a small network
are the hard case.

    python benchmarks/training.py [--quick] [--only PART] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objective import loss_per_example
from diffsci.diffusion.objectives.edm import EDM as Objective
from diffsci.diffusion.schedules.edm import EDM as Schedule
from diffsci.grid import Grid
from diffsci.networks.base import Ports
from diffsci.networks.unet import UNet
from diffsci.runtime import Device
from diffsci.sections import Train
from diffsci.training import memory
from diffsci.training.loop import train
from diffsci.training.state import RunState
from diffsci.training.writer import Writer

GOAL = 1.02
CASES = {
    "1-D 64, channels 8 (tiny)": ((64,), (8,), 4),
    "1-D 128, channels 16-32": ((128,), (16, 32), 16),
    "2-D 37x49, channels 16-32": ((37, 49), (16, 32), 8),
    "2-D 128x128, channels 8": ((128, 128), (8,), 4),
}


class Fields:
    """Random fields in memory, conditioned on as many."""

    def __init__(self, size: tuple[int, ...], count: int = 64) -> None:
        self.values = torch.randn(count, 2, *size)

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, index: np.ndarray) -> Batch:
        chosen = self.values[torch.from_numpy(index)]
        return Batch(target=chosen[:, :1], condition=chosen[:, 1:])


def denoiser(size: tuple[int, ...], channels: tuple[int, ...]) -> Denoiser:
    """The same initial weights each time."""
    torch.manual_seed(0)
    dims = ("y", "x")[-len(size) :]
    grid = Grid(
        dims=dims,
        coordinates=tuple(tuple(float(i) for i in range(n)) for n in size),
        units=("1",) * len(size),
        boundary=(("periodic", "periodic"),) * len(size),
    )
    network = UNet(channels=channels, blocks=1, embedding=32)
    return Denoiser(network.build(Ports(target=1, condition=1, scalars=0, grid=grid)), Schedule())


def bare(model: Denoiser, examples: Fields, section: Train):
    """The loop that one would write by hand."""
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=section.lr, fused=True)
    average = [p.detach().clone() for p in parameters]
    while True:
        order = np.random.permutation(len(examples))
        for first in range(0, len(order), section.batch_size):
            started = time.process_time()
            batch = examples.batch(order[first : first + section.batch_size])
            uniform = torch.rand(len(batch)).clamp(1e-6, 1 - 1e-6)
            noise = torch.randn_like(batch.target)
            loss = loss_per_example(model, batch, section.objective, uniform, noise).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, section.clip)
            optimiser.step()
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, 1 - section.decays[0])
            yield time.process_time() - started


def framework(model: Denoiser, examples: Fields, section: Train):
    """Ours, timed from outside."""
    steps = train(model, examples, section, objective=section.objective, seed=0, device=Device())
    while True:
        started = time.process_time()
        next(steps)
        yield time.process_time() - started


def measure(size: tuple[int, ...], channels: tuple[int, ...], batch_size: int, seconds: float):
    """Milliseconds of a bare step, and the ratio of ours to it."""
    section = Train(steps=10**6, batch_size=batch_size, warmup=0, objective=Objective())
    loops = [loop(denoiser(size, channels), Fields(size), section) for loop in (bare, framework)]
    for _ in range(5):
        _ = [next(loop) for loop in loops]
    ends, times = time.perf_counter() + seconds, ([], [])
    while time.perf_counter() < ends:
        # Who goes first alternates: the second finds the caches warm.
        order = (0, 1) if len(times[0]) % 2 else (1, 0)
        for which in order:
            times[which].append(next(loops[which]))
    hand, ours = (statistics.median(found) for found in times)
    return 1e3 * hand, ours / hand


def measure_save(parameters: int, rounds: int) -> dict[str, float]:
    """Milliseconds of handing a state to the thread that writes it, beside a copy of its tensors.

    A step path of short operations goes on while it is written: `step` is the median of its steps
    in quiet, and `writing` that of those that the writing falls on; `worst` of the slowest ones.
    """
    names = ("weights", "ema", "exp_avg", "exp_avg_sq")
    big = {name: torch.randn(parameters) for name in names}
    state = RunState(
        step=0,
        weights={"w": big["weights"]},
        ema={"w": big["ema"]},
        ema_updates=1,
        optimiser={"w/exp_avg": big["exp_avg"], "w/exp_avg_sq": big["exp_avg_sq"]},
        best_step=0,
        best_loss=None,
        losses=tuple((k, 1.0, 1.0, 1e-3) for k in range(2000)),
        validations=(),
        settings={},
    )
    memory = {name: torch.zeros_like(value) for name, value in big.items()}
    a = torch.randn(192, 192)
    found: dict[str, list[float]] = {"copy": [], "save": [], "quiet": [], "writing": []}

    def steps(into: list[float], until: Callable[[], bool]) -> None:
        while not until():
            started = time.perf_counter()
            for _ in range(20):
                _ = a @ a
            into.append(time.perf_counter() - started)

    with TemporaryDirectory() as folder, Writer(Path(folder), keep=1) as writer:
        for number in range(-1, rounds):
            started = time.perf_counter()
            for name, value in big.items():
                memory[name].copy_(value)
            copied = time.perf_counter() - started
            started = time.perf_counter()
            writer.save(replace(state, step=number + 2))
            saved = time.perf_counter() - started
            if number < 0:
                writer.wait()  # its memory is new, and the system's pages with it
                continue
            thread = writer._thread
            steps(found["writing"], lambda thread=thread: not thread.is_alive())
            writer.wait()
            enough = time.perf_counter() + 1.0
            steps(found["quiet"], lambda enough=enough: time.perf_counter() > enough)
            found["copy"].append(copied)
            found["save"].append(saved)
    told = {name: 1e3 * statistics.median(values) for name, values in found.items()}
    told["worst quiet"] = 1e3 * max(found["quiet"])
    told["worst writing"] = 1e3 * max(found["writing"])
    beyond = [save - copy for save, copy in zip(found["save"], found["copy"], strict=True)]
    return told | {"beyond": 1e3 * statistics.median(beyond)}


def row(name: str, value: float, goal: float, unit: str) -> dict[str, object]:
    """As in the other benchmarks' files."""
    return {"name": name, "value": round(value, 4), "goal": goal, "better": "lower", "unit": unit}


def main() -> None:
    """Print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write rows of name, value, goal, better, unit")
    parser.add_argument("--quick", action="store_true", help="4 seconds a case instead of 20")
    parser.add_argument("--only", choices=("step", "save"), help="one of the two parts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, (size, channels, batch_size) in CASES.items() if options.only != "save" else ():
        with memory.kept():  # for both, as stages do: page faults depend on where memory lies
            hand, ratio = measure(size, channels, batch_size, 4 if options.quick else 20)
        print(f"{name:28} bare step {hand:7.2f} ms   ours / bare {ratio:.3f}   goal <= {GOAL}")
        rows.append(row(f"training step over a bare loop: {name}", ratio, GOAL, "ratio"))
    if options.only != "step":
        millions = 10 if options.quick else 100
        told = measure_save(millions * 10**6, 3 if options.quick else 5)
        print(f"checkpoint of {millions} million weights, average and moments, in ms: ", end="")
        print(", ".join(f"{name} {value:.1f}" for name, value in told.items()))
        name = f"checkpoint of {millions} M weights: stall beyond the copy"
        rows.append(row(name, told["beyond"], 20.0, "ms"))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
