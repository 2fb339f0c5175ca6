"""Cost of the training loop over a bare torch loop: same network, loss, optimiser, EMA, clipping.

Both loops run in one process on one thread, one step of each in turn; the value is the ratio of the
medians of their CPU time, in which other work on the machine hardly shows. The loop does more in
its step (order and noise from counters, finite check, records). Small fields and a small network
are the hard case.

    python benchmarks/training.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

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
from diffsci.training.loop import train

CASES = {
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
                torch._foreach_lerp_(average, parameters, 1 - section.ema)
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


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write rows of name, value, goal, better, unit")
    parser.add_argument("--quick", action="store_true", help="4 seconds a case instead of 20")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, (size, channels, batch_size) in CASES.items():
        hand, ratio = measure(size, channels, batch_size, 4 if options.quick else 20)
        print(f"{name:28} bare step {hand:7.2f} ms   ours / bare {ratio:.3f}   goal <= 1.05")
        rows.append(
            {
                "name": f"training step over a bare loop: {name}",
                "value": round(ratio, 4),
                "goal": 1.05,
                "better": "lower",
                "unit": "ratio",
            }
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
