"""Speed of our network beside four others of as many parameters, and beside a bare convolution.

All run in one process with the same threads on the same input, level per example, and take turns
(see `_timing.py`): forward in inference mode, and a training step (forward, mean squared error,
backward, AdamW). `default` is what a user of each gets without asking: of diffsci what
`runtime: auto` resolves to, of the others float32 as torch lays it out. `tuned` is bf16 autocast
with channels last, set by hand; `--compile` adds torch.compile to that. The rate of the machine is
that of the best of a few 3-wide convolutions in bf16, channels last, timed in the same rounds.

    python -m benchmarks.networks [--case 2d,1d,3d,global,boundaries] [--compile] [--json FILE]
        [--docs docs/performance.md]

A project that is not installed is left out; `--ours JSON` gives our network other fields. On a busy
machine `--cpu --threads 1` is nearer the truth than a clock on the wall.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks._network_cases import CASES, EDGES, Case, grid_of, ours
from benchmarks._pages import write_between
from benchmarks._peers import CHANNELS, PEERS, parameters
from benchmarks._timing import (
    Call,
    Clock,
    Way,
    convolutions,
    cpu_clock,
    flop,
    forward_call,
    interleaved,
    medians,
    step_call,
)
from diffsci.runtime import Device
from diffsci.sections import Runtime

PARITY = 0.02
"""Parameters may differ by this share."""


@dataclass
class Lane:
    """One network in one way, and what was measured of it."""

    name: str
    mode: str
    way: Way
    build: Callable[[], nn.Module]
    parameters: int
    flop: tuple[int, int]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Unique in a case."""
        return f"{self.name}, {self.mode}"


def our_way(threads: int) -> Way:
    """What `runtime: auto` is on this machine."""
    device = Device.of(Runtime(threads=threads, device="cpu"))
    return Way(precision=device.precision, channels_last=device.memory_format == "channels_last")


def require_parity(counts: dict[str, int]) -> None:
    """Refuse to compare networks of unlike size: all within 2 % of the first.

    Raises:
        SystemExit: Naming those that are not.
    """
    first = next(iter(counts.values()))
    off = {name: n for name, n in counts.items() if abs(n / first - 1) > PARITY}
    if off:
        listed = ", ".join(f"{name} has {n:,} ({n / first - 1:+.1%})" for name, n in off.items())
        raise SystemExit(
            f"parameters: {next(iter(counts))} has {first:,}, {listed}; expected within "
            f"{PARITY:.0%}: choose other widths"
        )


def lanes_of(
    case: Case, ours_fields: dict, threads: int, compiled: bool, alone: bool
) -> list[Lane]:
    """Every network that is there, in every way."""
    grid = grid_of(case.cells, case.boundary)
    builds: dict[str, Callable[[], nn.Module]] = {"diffsci": lambda: ours(ours_fields, grid)}
    for name, peer in PEERS.items() if not alone else ():
        if case.dims not in peer.dims:
            print(f"{name}: has no U-Net for {case.dims} dims")
        elif peer.missing:
            print(f"{name}: {peer.missing}")
        else:
            builds[name] = partial(peer.build, case.cells)
    counts = {name: parameters(build()) for name, build in builds.items()}
    print(", ".join(f"{name} {n:,}" for name, n in counts.items()) + " parameters", flush=True)
    require_parity(counts)
    tuned = Way(precision="bf16", channels_last=case.dims > 1)
    x, level = torch.randn(case.batch, CHANNELS, *case.cells), torch.randn(case.batch)
    found = []
    for name, build in builds.items():
        ways = {"default": our_way(threads) if name == "diffsci" else Way(), "tuned": tuned}
        if compiled:
            ways["compiled"] = Way(
                precision="bf16", channels_last=tuned.channels_last, compiled=True
            )
        counted = (
            flop(forward_call_for_count(build(), x, level)),
            flop(step_call(build(), x, level, Way())),
        )
        for mode, way in ways.items():
            low = PEERS[name].build_low if name in PEERS and way.precision == "bf16" else None
            own = partial(low, case.cells) if low else build
            found.append(Lane(name, mode, way, own, counts[name], counted))
    return found


def forward_call_for_count(module: nn.Module, x: torch.Tensor, level: torch.Tensor) -> Call:
    """A forward that the counter can follow: inference mode hides parts of composite operators."""

    def call() -> torch.Tensor:
        with torch.no_grad():
            return module.eval()(x, level)

    return call


@dataclass
class Rates:
    """FLOP per second of the machine's best convolution: forward, and with backward."""

    forward: float
    both: float
    forward_by: str
    both_by: str


def measure(case: Case, lanes: list[Lane], rounds: int, clock: Clock) -> Rates:
    """Time all lanes and the convolutions in turn; a lane that fails says so and is left out."""
    x, level = torch.randn(case.batch, CHANNELS, *case.cells), torch.randn(case.batch)
    calls: dict[str, Call] = {}
    for lane in list(lanes):
        try:
            both = {
                "forward": forward_call(lane.build(), x, level, lane.way),
                "step": step_call(lane.build(), x, level, lane.way),
            }
            for call in both.values():
                call()
        except Exception as error:  # whatever a peer or a compiler raises
            lines = str(error).strip().splitlines() or [""]
            print(f"{lane.key}: failed: {type(error).__name__}: {lines[0][:150]}", flush=True)
            lanes.remove(lane)
            continue
        calls |= {f"{lane.key}: {what}": call for what, call in both.items()}
    machine = convolutions(2) | (convolutions(case.dims) if case.dims == 3 else {})
    for name, convolution in machine.items():
        for what, call in zip(("forward", "step"), convolution.calls(), strict=True):
            calls[f"{name}: {what}"] = call
    work = {name: flop(calls[f"{name}: step"]) for name in machine}
    found = medians(interleaved(calls, rounds, clock=clock))
    for lane in lanes:
        lane.seconds = {what: found[f"{lane.key}: {what}"] for what in ("forward", "step")}
    # Backward, to input and to filter, does twice the work of forward.
    forward = {name: work[name] / 3 / found[f"{name}: forward"] for name in machine}
    both = {name: work[name] / found[f"{name}: step"] for name in machine}
    best, best_both = max(forward, key=forward.__getitem__), max(both, key=both.__getitem__)
    return Rates(forward[best], both[best_both], best, best_both)


def rows_of(lanes: list[Lane], rates: Rates) -> list[dict]:
    """Everything that is told of each lane; ratios are to our default."""
    base = lanes[0].seconds
    rows = []
    for lane in lanes:
        forward, step = lane.seconds["forward"], lane.seconds["step"]
        work, work_step = lane.flop
        rows.append(
            {
                "name": lane.name,
                "mode": lane.mode,
                "way": str(lane.way),
                "parameters": lane.parameters,
                "gflop_forward": work / 1e9,
                "gflop_step": work_step / 1e9,
                "ms_forward": 1e3 * forward,
                "ms_step": 1e3 * step,
                "forward_over_ours": forward / base["forward"],
                "step_over_ours": step / base["step"],
                "share_forward": work / forward / rates.forward,
                "share_step": work_step / step / rates.both,
                "ms_per_gflop_forward": 1e3 * forward / (work / 1e9),
                "ms_per_gflop_step": 1e3 * step / (work_step / 1e9),
            }
        )
    return rows


def table(rows: list[dict], rates: Rates) -> list[str]:
    """Markdown: forward / training step in each cell."""
    lines = [
        "| network | parameters | GFLOP | ms forward | ms step | forward, over ours | step, over "
        "ours | share of rate | ms per GFLOP |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']}, {row['mode']} ({row['way']}) | {row['parameters']:,} "
            f"| {row['gflop_forward']:.2f} / {row['gflop_step']:.2f} "
            f"| {row['ms_forward']:.1f} | {row['ms_step']:.1f} "
            f"| {row['forward_over_ours']:.2f} | {row['step_over_ours']:.2f} "
            f"| {row['share_forward']:.2f} / {row['share_step']:.2f} "
            f"| {row['ms_per_gflop_forward']:.2f} / {row['ms_per_gflop_step']:.2f} |"
        )
    lines += [
        "",
        f"Rate of the machine: forward {rates.forward / 1e9:.0f} GFLOP/s ({rates.forward_by}), "
        f"with backward {rates.both / 1e9:.0f} GFLOP/s ({rates.both_by}).",
    ]
    return lines


def goals(case: str, rows: list[dict]) -> list[dict]:
    """The numbers that we hold ourselves to, in the form of all our benchmarks."""
    mine = [row for row in rows if row["name"] == "diffsci"]
    others = [row for row in rows if row["name"] != "diffsci"]
    found = []

    def add(name: str, value: float, goal: float) -> None:
        row = {"name": f"{case}: {name}", "value": round(value, 4), "goal": goal}
        found.append(row | {"better": "higher", "unit": "ratio"})

    add("forward over the convolution rate", mine[0]["share_forward"], 0.80)
    add("training step over the convolution rate", mine[0]["share_step"], 0.68)
    for what in ("forward", "step"):
        default = [row for row in others if row["mode"] == "default"]
        if default:
            value = min(row[f"{what}_over_ours"] for row in default)
            add(f"{what} of the fastest default over ours", value, 1.9)
        theirs = [row for row in default if row["name"].startswith("diffusers")]
        if theirs:
            value = min(row[f"{what}_over_ours"] for row in theirs)
            add(f"{what} of diffusers' default over ours", value, 2.8)
        best = [row[f"ms_per_gflop_{what}"] for row in others if row["mode"] != "default"]
        if best:
            own = mine[0][f"ms_per_gflop_{what}"]
            add(f"{what} of the best tuned over ours, per FLOP", min(best) / own, 1.0)
    return found


def boundaries(
    fields: dict, threads: int, rounds: int, clock: Clock
) -> tuple[list[str], list[dict]]:
    """What sides cost: forward and step of our default over those with zeros beyond."""
    case, way, calls = CASES["2d"], our_way(threads), {}
    x, level = torch.randn(case.batch, CHANNELS, *case.cells), torch.randn(case.batch)
    for name, sides in EDGES.items():
        grid = grid_of(case.cells, sides)
        calls[f"{name}: forward"] = forward_call(ours(dict(fields), grid), x, level, way)
        calls[f"{name}: step"] = step_call(ours(dict(fields), grid), x, level, way)
    found = medians(interleaved(calls, rounds, clock=clock))
    lines = ["| sides | ms forward | over zero | ms step | over zero |", "|---|--:|--:|--:|--:|"]
    rows = []
    for name in EDGES:
        forward, step = found[f"{name}: forward"], found[f"{name}: step"]
        over = forward / found["zero: forward"]
        lines.append(
            f"| {name} | {1e3 * forward:.1f} | {over:.3f} | {1e3 * step:.1f} "
            f"| {step / found['zero: step']:.3f} |"
        )
        row = {"name": f"forward with {name} over zero sides", "value": round(over, 4)}
        rows.append(row | {"goal": 1.10, "better": "lower", "unit": "ratio"})
    return lines, rows[1:]


def compared(name: str, options: argparse.Namespace) -> tuple[list[str], list[dict], list[dict]]:
    """A case's table, its goals and its rows."""
    case = CASES[name]
    fields = {**case.ours, **json.loads(options.ours)}
    lanes = lanes_of(case, fields, options.threads, options.compile, options.alone)
    rates = measure(case, lanes, options.rounds, options.clock)
    rows = rows_of(lanes, rates)
    return table(rows, rates), goals(name, rows), rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--case", default="2d,1d,3d,global,boundaries")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--quick", action="store_true", help="3 rounds")
    parser.add_argument("--cpu", action="store_true", help="CPU time: for a machine that is busy")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--alone", action="store_true", help="without the other projects")
    parser.add_argument("--ours", default="{}", metavar="JSON", help="fields of our network")
    parser.add_argument("--json", type=Path, help="write rows of name, value, goal, better, unit")
    parser.add_argument("--docs", type=Path, help="write the tables into this page")
    options = parser.parse_args(arguments)
    options.clock = cpu_clock(options.threads) if options.cpu else time.perf_counter
    options.rounds = 3 if options.quick else options.rounds
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    written: list[dict] = []
    names = options.case.split(",")
    unknown = [name for name in names if name not in {*CASES, "boundaries"}]
    if unknown:
        raise SystemExit(f"--case: unknown {unknown}; expected {[*CASES, 'boundaries']}")
    for name in names:
        head = f"{name}: {CASES[name]}" if name in CASES else name
        told = f"{options.threads} threads, medians of {options.rounds} rounds"
        told = f"torch {torch.__version__}, {told}" + (", CPU time" if options.cpu else "")
        print(f"\n{head}, {told}", flush=True)
        if name == "boundaries":
            fields = {**CASES["2d"].ours, **json.loads(options.ours)}
            lines, found = boundaries(fields, options.threads, options.rounds, options.clock)
        else:
            lines, found, rows = compared(name, options)
            written += [{"case": name, **row} for row in rows]
        print("\n".join(lines))
        for goal in found:
            sign = ">=" if goal["better"] == "higher" else "<="
            print(f"{goal['name']}: {goal['value']:.3f}, goal {sign} {goal['goal']}")
        written += found
        if options.docs:
            write_between(options.docs, f"networks {name}", [*lines, "", f"Input {head}; {told}."])
    if options.json:
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
