"""What a network learns in equal steps, and in equal seconds: ours and azula's U-Net, in our loop.

All contenders of a seed see the same batches, levels and noise, and take their steps in turn, so
that other work on the machine slows all alike. Compared is the loss of the averaged weights on the
validation part, at fixed levels and noise. Seconds are the median of a step's, times the steps.

    python -m benchmarks.network_quality [--pipeline quickstart] [--steps N] [--seeds 3]
        [--network NAME=JSON ...] [--json FILE] [--docs docs/performance.md]

`--network wide='{"channels": [48, 96], "blocks": 1}'` adds a network of the pipeline with other
fields; `{"use": "azula", "embedding": 64}` azula's with as many parameters as the first contender.
Without any, contenders are ours in the default precision, ours in fp32, and azula's. A field
`precision` of a network is that of the run; `size` sets the parameters azula's should have,
and its `channels` are proportions. `--large` takes our network of `networks.py`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from benchmarks._network_cases import FLAT
from benchmarks._pages import write_between
from benchmarks._peers import Azula, parameters
from benchmarks._timing import Clock, cpu_clock
from diffsci import config
from diffsci.forecasting.denoiser_of import denoiser_of
from diffsci.networks.base import Network
from diffsci.runtime import Device
from diffsci.sections import Pipeline
from diffsci.stages.prepare import Prepared, prepare
from diffsci.training.loop import Step, train

USUAL = {"ours": {}, "ours fp32": {"precision": "fp32"}, "azula": {"use": "azula"}}


@dataclass
class Contender:
    """A network in a precision, and what it did: by seed, (steps, loss) of each validation."""

    name: str
    network: Network
    device: Device
    parameters: int
    curves: list[list[tuple[int, float]]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def step_seconds(self) -> float:
        """Median over the steps of all seeds."""
        return statistics.median(self.seconds)

    @property
    def finals(self) -> list[float]:
        """Validation loss after all steps, by seed."""
        return [curve[-1][1] for curve in self.curves]

    def mean_curve(self) -> list[tuple[int, float]]:
        """Mean over seeds."""
        return [
            (rows[0][0], statistics.fmean(loss for _, loss in rows))
            for rows in zip(*self.curves, strict=True)
        ]


def contender(
    name: str, fields: dict, file: str, prepared: Prepared, runtime: list[str], size: int | None
) -> Contender:
    """From a network's fields; `use: azula` is made as large as `size` parameters."""
    fields = dict(fields)
    precision = fields.pop("precision", "auto")
    if fields.get("use") == "azula":
        size = fields.pop("size", size)
        fields.pop("use")
        loaded = config.load(file, runtime)
        dropout = getattr(loaded.pipeline.model.network, "dropout", 0.0)
        depth = len(getattr(loaded.pipeline.model.network, "channels", (0,) * 3))
        channels = tuple(fields.pop("channels", (64 * 2**level for level in range(depth))))
        spec = Azula(**{"dropout": dropout, **fields, "channels": channels})
        network: Network = spec.as_large_as(size, prepared.ports)
    else:
        texts = [f"model.network={fields.pop('use')}"] if "use" in fields else []
        texts += [f"model.network.{key}={json.dumps(value)}" for key, value in fields.items()]
        loaded = config.load(file, [*runtime, *texts])
        network = loaded.pipeline.model.network
    section = replace(loaded.pipeline.runtime, precision=precision)
    return Contender(
        name=name,
        network=network,
        device=Device.of(section),
        parameters=parameters(network.build(prepared.ports)),
    )


def steps_of(one: Contender, pipeline: Pipeline, prepared: Prepared, seed: int) -> Iterator[Step]:
    """Its steps, as the training stage makes them."""
    assert pipeline.model is not None and pipeline.train is not None
    pipeline = replace(pipeline, model=replace(pipeline.model, network=one.network))
    torch.manual_seed(seed)
    denoiser = denoiser_of(pipeline, prepared.ports)
    return train(
        denoiser,
        prepared.examples,
        pipeline.train,
        objective=pipeline.train.objective,
        seed=seed,
        device=one.device,
        grid=prepared.ports.grid,
        valid=prepared.valid,
    )


def race(
    contenders: list[Contender], pipeline: Pipeline, prepared: Prepared, seed: int, clock: Clock
) -> None:
    """One seed: step by step in turn; who begins changes from step to step."""
    runs = [steps_of(one, pipeline, prepared, seed) for one in contenders]
    for one in contenders:
        one.curves.append([])
    for number in range(pipeline.train.steps):
        for place in range(len(runs)):
            which = (number + place) % len(runs)
            started = clock()
            one, step = contenders[which], next(runs[which])
            # The loop's own seconds leave validation out; steps with one are not timed by CPU.
            if clock is time.perf_counter:
                one.seconds.append(step.seconds)
            elif step.validation is None:
                one.seconds.append(clock() - started)
            if step.validation is not None:
                one.curves[-1].append((step.step, step.validation))
        if contenders[0].curves[-1] and contenders[0].curves[-1][-1][0] == number + 1:
            found = ", ".join(f"{c.name} {c.curves[-1][-1][1]:.5f}" for c in contenders)
            print(f"  seed {seed}, step {number + 1}: {found}", flush=True)


def ratio(one: list[float], other: list[float]) -> tuple[float, float]:
    """Ratio of the means, and its standard error from the differences of paired seeds."""
    value = statistics.fmean(one) / statistics.fmean(other)
    if len(one) < 2:
        return value, math.nan
    residues = [a - value * b for a, b in zip(one, other, strict=True)]
    return value, statistics.stdev(residues) / math.sqrt(len(one)) / statistics.fmean(other)


def steps_until(curve: list[tuple[int, float]], loss: float) -> float:
    """Steps after which a curve first reaches a loss, linear between validations; else inf."""
    before: tuple[int, float] | None = None
    for at, value in curve:
        if value <= loss:
            if before is None:
                return at
            return before[0] + (at - before[0]) * (before[1] - loss) / (before[1] - value)
        before = (at, value)
    return math.inf


def summary(contenders: list[Contender], steps: int) -> list[dict]:
    """Of each, against the last one: loss at equal steps, seconds, and seconds to its loss."""
    last = contenders[-1]
    target = last.mean_curve()[-1][1]
    rows = []
    for one in contenders:
        value, error = ratio(one.finals, last.finals)
        seconds = one.step_seconds * steps
        to_loss = one.step_seconds * steps_until(one.mean_curve(), target)
        rows.append(
            {
                "name": one.name,
                "parameters": one.parameters,
                "precision": one.device.precision,
                "loss": statistics.fmean(one.finals),
                "losses": one.finals,
                "loss_ratio": value,
                "loss_ratio_error": error,
                "ms_per_step": 1e3 * one.step_seconds,
                "seconds": seconds,
                "seconds_to_loss_of_last": to_loss,
                "speedup_at_equal_loss": last.step_seconds * steps / to_loss,
                "curve": [[s, one.step_seconds * s, loss] for s, loss in one.mean_curve()],
            }
        )
    return rows


def table(rows: list[dict]) -> list[str]:
    """Markdown."""
    last = rows[-1]["name"]
    lines = [
        f"| network | parameters | ms a step | validation loss | over {last}'s | seconds | "
        f"seconds to {last}'s loss | times as fast |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        error = row["loss_ratio_error"]
        told = f"{row['loss_ratio']:.4f}" + ("" if math.isnan(error) else f" ± {error:.4f}")
        lines.append(
            f"| {row['name']} ({row['precision']}) | {row['parameters']:,} | "
            f"{row['ms_per_step']:.1f} | {row['loss']:.5f} | {told} | {row['seconds']:.1f} | "
            f"{row['seconds_to_loss_of_last']:.1f} | {row['speedup_at_equal_loss']:.2f} |"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pipeline", default="quickstart", help="quickstart, digits, or a file")
    parser.add_argument("--steps", type=int, help="default: the pipeline's own")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--every", type=int, help="steps between validations; default: 12 in all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--network", action="append", default=[], metavar="NAME=JSON")
    parser.add_argument("--large", action="store_true", help="with 3.5 million parameters")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for the pipeline")
    parser.add_argument("--cpu", action="store_true", help="CPU time: for a machine that is busy")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", type=Path, help="write the table into this page")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    named = Path(f"pipelines/{options.pipeline}.yaml")
    file = str(named if named.exists() else options.pipeline)
    runtime = [f"runtime.threads={options.threads}", *options.set]
    large = FLAT if options.large else {}
    runtime += [f"model.network.{key}={json.dumps(value)}" for key, value in large.items()]
    loaded = config.load(file, runtime)
    prepared = prepare(loaded.pipeline, loaded.roots)
    steps = options.steps or loaded.pipeline.train.steps
    section = replace(
        loaded.pipeline.train, steps=steps, validate_every=options.every or max(1, steps // 12)
    )
    pipeline = replace(loaded.pipeline, train=section)
    parts = [text.partition("=") for text in options.network]
    asked = [(name, json.loads(fields)) for name, _, fields in parts] or list(USUAL.items())
    contenders: list[Contender] = []
    for name, fields in asked:
        size = contenders[0].parameters if contenders else None
        contenders.append(contender(name, fields, file, prepared, runtime, size))
        print(f"{name}: {contenders[-1].parameters:,} parameters, {contenders[-1].network}")
    clock = cpu_clock(options.threads) if options.cpu else time.perf_counter
    for seed in range(options.seeds):
        race(contenders, pipeline, prepared, seed, clock)
    rows = summary(contenders, steps)
    told = f"{pipeline.name}, {steps} steps, {options.seeds} seeds, {options.threads} threads"
    lines = [*table(rows), "", f"Pipeline {told}{', CPU time' if options.cpu else ''}."]
    print("\n".join(["", *lines]))
    if options.docs:
        name = f"quality {pipeline.name}" + (" large" if options.large else "")
        write_between(options.docs, name, lines)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
