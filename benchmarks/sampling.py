"""Cost of the ensemble engine and the store over the bare sampler calls, memory, and processes.

All but the part `processes` counts CPU time of this process on one thread, in which other work on
the machine hardly shows; what is compared takes turns, and the value is a ratio of medians. The
network is that of `pipelines/quickstart.yaml`: 37 x 49 cells, 16 rows at once, 10 calls a sample.

    overhead    what the engine, and the engine with its store, take beside the sampler's calls
    writing     wall time with the store written, over that with nothing written
    linear      CPU seconds a member, for 16, 64 and 256 members
    memory      peak RSS of a process, for 8 and 256 members, and for 10 and 1,000 leads (small net)
    processes   wall time of one process over that of two; needs two idle cores

    python -m benchmarks.sampling [--quick] [--only PART]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import torch

from benchmarks._timing import cpu_clock, interleaved
from diffsci.data.tasks.downscale import Downscale
from diffsci.diffusion.augmentation import pure_noise
from diffsci.diffusion.noise import MemberNoise
from diffsci.diffusion.samplers.dpmpp import DPMpp
from diffsci.forecasting.given import Given
from diffsci.forecasting.store.work import Writing
from diffsci.networks.unet import UNet
from diffsci.runtime import Device
from diffsci.stages.ensembles.growing import Wanted
from diffsci.stages.ensembles.job import Job
from diffsci.stages.ensembles.sampling import write_ensemble
from tests.forecasting import makers

CPU = Device(name="cpu", precision="fp32", threads=1)
SMALL = UNet(channels=(8,), blocks=1, groups=4, embedding=8)


def quickstart(cases: int, network=None):
    """A model of the quickstart's size with random weights, and so many cases."""
    fields = makers.weather_fields(times=cases + 1, sizes=(37, 49))
    network = network or UNet(channels=(24, 48, 96), blocks=2)
    model = makers.surrogate(
        fields, "weather", Downscale(factor=4), network=network, compute_batch=16
    )
    sample = replace(model.pipeline.sample, sampler=DPMpp(steps=10))
    model = replace(model, pipeline=replace(model.pipeline, sample=sample))
    return model, given(model, fields, cases)


def given(model, fields, cases, leads=0):
    rows = np.array([[0, row] for row in range(cases)])
    labels = model.pipeline.data.domain.cases(fields, rows, tuple(range(1, leads + 1)))
    known = torch.from_numpy(model.statistics.encode(fields.values[0, :cases]))
    return Given(
        cases=labels,
        known=model.pipeline.data.task.observe(known[:, None], model.grid),
        scalars=None,
    )


def rolling(leads: int):
    """A small model that forecasts, where all but the network is the larger part."""
    model = makers.forecasting(leads=leads, members=16, steps=1, network=SMALL, compute_batch=16)
    # Weights are random: without bounds it would explode.
    bounds = (("valid_min", "-3"), ("valid_max", "3"))
    model = replace(model, channels=tuple(replace(c, attributes=bounds) for c in model.channels))
    return model, given(model, makers.ring_fields(), 1, leads)


def written(model, known, members, store, batch=64):
    wanted = Wanted(members=members, seed=0, batch=batch)
    write_ensemble(model, model.engine(CPU), known, wanted, store)


def bare(model, known, members):
    """Calls of the sampler with the same network and conditions, and nothing else."""
    engine = model.engine(CPU)
    pairs = [(case, member) for case in range(len(known.cases)) for member in range(members)]
    schedule, task = engine.denoiser.schedule, engine.task
    for start in range(0, len(pairs), 16):
        cases = [case for case, _ in pairs[start : start + 16]]
        condition = task.condition(known.known[cases], engine.grid)
        seen = engine.statistics.scale_condition(condition)
        noise = MemberNoise(seed=0, cases=("c",) * 16, members=tuple(range(16)), leads=(0,) * 16)
        like = torch.empty(16, 1, *engine.grid.sizes)
        with torch.inference_mode():
            x_1 = pure_noise(schedule, noise(like, 0))
            engine.sampler(lambda x, t: engine.denoiser(x, t, seen, None), schedule, x_1, noise)  # noqa: B023


@dataclass(frozen=True, kw_only=True)
class Silent(DPMpp):
    """A sampler that calls nothing, so that what is left of the engine can be timed by itself."""

    def __call__(self, denoise, schedule, x_1, noise):
        return x_1


def overhead(quick: bool) -> None:
    cases, members = (4, 16) if quick else (16, 32)
    model, known = quickstart(cases)
    sample = replace(model.pipeline.sample, sampler=Silent(steps=10))
    silent = replace(model, pipeline=replace(model.pipeline, sample=sample))
    count = iter(range(10**6))
    with TemporaryDirectory() as folder:
        calls = {
            "noise alone": lambda: bare(silent, known, members),
            "engine": lambda: silent.values(silent.engine(CPU), known, range(members), 0),
            "engine and store": lambda: written(
                silent, known, members, Path(folder) / f"{next(count)}.zarr"
            ),
        }
        found = interleaved(calls, 5 if quick else 11, clock=cpu_clock(1))
    whole = min(interleaved({"": lambda: bare(model, known, members)}, 2, 1, cpu_clock(1))[""])
    print(f"  bare sampler calls   {whole:8.3f} s CPU for {cases * members} members")
    base = statistics.median(found["noise alone"])
    for name in ("engine", "engine and store"):
        more = statistics.median(found[name]) - base
        print(f"  {name:<20} {more:8.3f} s more, {more / whole:.2%}")


def writing(quick: bool) -> None:
    cases, members = (2, 16) if quick else (8, 32)
    model, known = quickstart(cases)
    count = iter(range(10**6))

    def once(store, quiet):
        with ExitStack() as stack:
            if quiet:
                for name in ("write", "commit"):
                    stack.enter_context(mock.patch.object(Writing, name, lambda *_: None))
                stack.enter_context(mock.patch("diffsci.stages.ensembles.growing.Growth.finish"))
            written(model, known, members, store)

    with TemporaryDirectory() as folder:
        calls = {
            "nothing written": lambda: once(Path(folder) / f"{next(count)}.zarr", True),
            "store written": lambda: once(Path(folder) / f"{next(count)}.zarr", False),
        }
        found = interleaved(calls, 3 if quick else 7)
    ratio = statistics.median(
        b / a for a, b in zip(found["nothing written"], found["store written"], strict=True)
    )
    print(f"  wall time with the store written, over without: {ratio:.3f}")


def linear(quick: bool) -> None:
    model, known = quickstart(1)
    with TemporaryDirectory() as folder:
        for members in (16, 64) if quick else (16, 64, 256):
            started = time.process_time()
            written(model, known, members, Path(folder) / f"{members}.zarr")
            each = (time.process_time() - started) / members
            print(f"  {members:>4} members: {1000 * each:7.2f} ms CPU a member")


def peak(model, known, members) -> float:
    """Peak RSS in MB of a fork that writes a store."""
    reading, end = os.pipe()
    child = os.fork()
    if not child:
        with TemporaryDirectory() as folder:
            written(model, known, members, Path(folder) / "f.zarr")
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        os.write(end, f"{found:.1f}".encode())
        os._exit(0)
    os.close(end)
    text = os.read(reading, 100)
    os.waitpid(child, 0)
    return float(text)


def memory(quick: bool) -> None:
    model, known = quickstart(1, SMALL)
    cases = {f"{members} members": (model, known, members) for members in (8, 256)}
    cases |= {f"{leads} leads": (*rolling(leads), 16) for leads in (10, 100 if quick else 1000)}
    found = {name: peak(*each) for name, each in cases.items()}
    values = list(found.items())
    for (name, first), (other, second) in (values[:2], values[2:]):
        print(f"  {name}: {first:.0f} MB, {other}: {second:.0f} MB, ratio {second / first:.3f}")


def processes(quick: bool) -> None:
    """By forks that take units in turn, without a launcher: what sharing alone gives."""
    cases, members = (4, 16) if quick else (16, 32)
    model, known = quickstart(cases)

    def forked(store, world):
        from diffsci.stages.ensembles import hands

        class Split(hands.Hands):
            def do(self, job: Job, units) -> None:
                children = []
                for rank in range(world):
                    child = os.fork()
                    if not child:
                        mine = units[rank::world]
                        job.run(iter(mine), len(mine))
                        os._exit(0)
                    children.append(child)
                for child in children:
                    os.waitpid(child, 0)

        wanted = Wanted(members=members, seed=0, batch=64)
        write_ensemble(model, model.engine(CPU), known, wanted, store, Split())

    count = iter(range(10**6))
    with TemporaryDirectory() as folder:
        calls = {
            f"{world} process": lambda world=world: forked(
                Path(folder) / f"{next(count)}.zarr", world
            )
            for world in (1, 2)
        }
        found = interleaved(calls, 3 if quick else 5, warm=1)
    ratio = statistics.median(
        one / two for one, two in zip(found["1 process"], found["2 process"], strict=True)
    )
    print(f"  two processes are {ratio:.2f} times as fast as one")


PARTS = {
    "overhead": overhead,
    "writing": writing,
    "linear": linear,
    "memory": memory,
    "processes": processes,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="Few rounds, for a look.")
    parser.add_argument("--only", choices=PARTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, part in PARTS.items():
        if given.only in (None, name):
            print(name, flush=True)
            part(given.quick)


if __name__ == "__main__":
    main()
