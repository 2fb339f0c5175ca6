"""How good an ensemble is after few network calls: every sampler, on one trained network.

Takes finished runs, draws the same members of the same test cases (same noise) by every sampler at
rising numbers of calls, and scores them: fair CRPS for runs that are given a field, and for runs
that generate, the unbiased squared maximum mean discrepancy (MMD) to the test samples, with a
Gaussian kernel of the median distance. Where `diffusers` is installed, its DPM-Solver++ and UniPC
schedulers walk the same noise levels with the same network in the same process.

    python benchmarks/few_calls.py RUN... [--cases 25] [--members 8] [--out docs/few_calls.md]

The page, its figure and a JSON with all numbers are written; two times the standard error of the
difference to the last column's best says what can be told apart.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import torch

import diffsci
from diffsci import families
from diffsci.diffusion.augmentation import level, step_times
from diffsci.forecasting.given import Given
from diffsci.runtime import Device
from diffsci.stages.prepare import prepare

matplotlib.use("Agg")
CALLS = (4, 8, 12, 16, 256)
TO_THE_LIMIT = ("ancestral small", "ancestral exact", "edm, churn 10", "dpmpp", "dpmpp stochastic")
"""Those that take the most calls too: other paths that end where `dpmpp` ends need not."""
SAMPLERS = {
    "ancestral small": ("ancestral", {"variance": "small"}),
    "ancestral exact": ("ancestral", {"variance": "exact"}),
    "ddim": ("ddim", {}),
    "heun": ("heun", {}),
    "edm, churn 10": ("edm", {"churn": 10.0}),
    "dpmpp": ("dpmpp", {}),
    "dpmpp 3": ("dpmpp", {"multistep": 3}),
    "dpmpp stochastic": ("dpmpp", {"stochastic": True}),
    "ab 2": ("ab", {"multistep": 2}),
    "ab 3": ("ab", {"multistep": 3}),
    "unipc 1": ("unipc", {"multistep": 1}),
    "unipc 2": ("unipc", {"multistep": 2}),
    "unipc 3": ("unipc", {"multistep": 3}),
    "refiner": ("refiner", {}),
}
Score = Callable[[np.ndarray], np.ndarray]


class Peer:
    """A scheduler of `diffusers` on our noise levels, as our samplers are called.

    Its x is ours over sqrt(1 + sigma^2): it thinks in variance-preserving terms. All its settings
    are its own defaults, but for the levels and that the model gives x_0.
    """

    needs_covariance = False

    def __init__(self, make: Callable, steps: int) -> None:
        self.make, self.calls = make, steps

    def __call__(self, denoise: Callable, schedule: Callable, x_1: torch.Tensor, noise: Callable):
        scheduler = self.make()
        scheduler.set_timesteps(self.calls)
        times = step_times(schedule, self.calls, "karras")
        at = level(schedule, times)
        scheduler.sigmas = at.noise_to_signal.float()
        scheduler.timesteps = torch.arange(self.calls, 0, -1)
        # From our units of x, whatever the schedule, to its own.
        x = x_1 / at.norm[0]
        for i, name in enumerate(scheduler.timesteps):
            estimate = denoise(x * at.norm[i], times[i].to(x))
            x = scheduler.step(estimate, name, x, return_dict=False)[0]
        return x * at.norm[-1]


def peers() -> dict[str, Callable[[int], Peer]]:
    """The peers that are installed, by name."""
    try:
        from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
    except ImportError:
        return {}
    makers = {
        "diffusers DPM-Solver++": lambda: DPMSolverMultistepScheduler(prediction_type="sample"),
        "diffusers UniPC": lambda: UniPCMultistepScheduler(prediction_type="sample"),
    }
    return {name: lambda steps, make=make: Peer(make, steps) for name, make in makers.items()}


def sampler_of(name: str, calls: int) -> object | None:
    """A sampler with exactly so many calls, or none."""
    word, fields = SAMPLERS[name]
    try:
        kind = families.load("samplers", word)
    except diffsci.errors.ConfigError:
        return None
    for steps in (calls, calls // 2):
        try:
            made = kind(steps=steps, **fields)
        except diffsci.errors.ConfigError:
            continue
        if made.calls == calls:
            return made
    return None


def fair_crps(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of each case: mean over leads, channels and cells of the fair CRPS."""
    count = members.shape[1]
    error = np.abs(members - truth[:, None]).mean(axis=1)
    order = np.sort(members, axis=1)
    weight = 2 * np.arange(1, count + 1) - count - 1
    spread = np.tensordot(order, weight, axes=([1], [0])) / (count * (count - 1))
    return (error - spread).reshape(len(truth), -1).mean(axis=1)


def squared_mmd(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Unbiased squared MMD, by the witness of each sample: their mean is the score."""
    x, y = samples.reshape(len(samples), -1), truth.reshape(len(truth), -1)
    x, y = torch.from_numpy(x).double(), torch.from_numpy(y).double()
    width = torch.cdist(y, y).median() ** 2
    kernel = [torch.exp(-(torch.cdist(a, b) ** 2) / width) for a, b in ((x, x), (x, y), (y, y))]
    inner = (kernel[0].sum(1) - 1) / (len(x) - 1)
    rest = (kernel[2].sum() - len(y)) / (len(y) * (len(y) - 1))
    return (inner - 2 * kernel[1].mean(1) + rest).numpy()


def study(run: Path, cases: int, members: int) -> list[dict]:
    """Scores of one run: name of the sampler -> calls -> score of each case, or of each sample."""
    model = diffsci.load(run)
    roots = tuple(map(Path, json.loads((run / "run.json").read_text())["roots"]))
    prepared = prepare(model.pipeline, roots)
    evaluation = prepared.evaluation
    chosen = np.linspace(0, len(evaluation) - 1, min(cases, len(evaluation))).round().astype(int)
    given = Given(
        cases=some(evaluation.cases, chosen),
        known=None if evaluation.given is None else evaluation.given[chosen],
        scalars=None if evaluation.scalars is None else evaluation.scalars[chosen],
    )
    every = evaluation.truth.read()
    scores: dict[str, Score] = {"fair CRPS": lambda drawn: fair_crps(drawn, every[chosen])}
    if model.pipeline.data.task.condition_channels(1) == 0:
        scores["squared MMD to the test samples"] = lambda drawn: squared_mmd(
            drawn.reshape(-1, *drawn.shape[2:]), every
        )
    if model.variance is None:
        model = with_table(model, prepared)
    # Plain models: guidance would be one more influence.
    engine = replace(model.engine(), guidance=None, compute_batch=64)
    makers = {name: lambda calls, name=name: sampler_of(name, calls) for name in SAMPLERS}
    makers |= peers()
    found: dict[str, dict[str, dict[int, list[float]]]] = {score: {} for score in scores}
    for name, make in makers.items():
        for calls in CALLS:
            sampler = make(calls)
            if sampler is None or (calls > 100 and name not in TO_THE_LIMIT):
                continue
            table = model.variance if sampler.needs_covariance else None
            one = replace(engine, sampler=sampler, variance=table)
            drawn = model.values(one, given, range(members), 0)
            for score, function in scores.items():
                values = function(drawn)
                found[score].setdefault(name, {})[calls] = values.tolist()
                print(f"{run.name}: {name}, {calls} calls: {score} {values.mean():.5f}", flush=True)
    return [
        {
            "run": model.pipeline.name,
            "score": score,
            "unit": model.channels[0].unit if score == "fair CRPS" else "",
            "cases": len(chosen),
            "members": members,
            "device": Device.of(model.pipeline.runtime).precision,
            "scores": by,
        }
        for score, by in found.items()
    ]


def with_table(model, prepared):
    """The model with the table of its posterior variance."""
    from diffsci.stages.ensembles.reverse_variance import with_variance

    examples = prepared.valid or prepared.examples
    return with_variance(model, examples, Device.of(model.pipeline.runtime))


def some(cases, chosen):
    """The chosen cases."""
    return replace(
        cases,
        rows=cases.rows[chosen],
        keys=tuple(cases.keys[i] for i in chosen),
        trajectories=cases.trajectories[chosen],
        times=cases.times[chosen] if len(cases.times) else cases.times,
        labels={name: values[chosen] for name, values in cases.labels.items()},
    )


def by_calls(study: dict) -> dict[str, dict[int, np.ndarray]]:
    """Scores by sampler and number of calls, which JSON has as text."""
    return {
        name: {int(calls): np.asarray(values) for calls, values in by.items()}
        for name, by in study["scores"].items()
    }


def rows_of(study: dict) -> list[str]:
    """A table: score of each sampler over the number of calls."""
    scores = by_calls(study)
    head = f"| sampler | {' | '.join(map(str, CALLS))} |"
    lines = [head, "|---" * (len(CALLS) + 1) + "|"]
    for name, by in scores.items():
        cells = [f"{by[c].mean():.4g}" if c in by else "" for c in CALLS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def ratios(study: dict, calls: int = 8, limit: int = 256) -> list[str]:
    """Score at few calls over that at many, with the standard error of the difference."""
    lines = [f"| sampler | score at {calls} over its own at {limit} | over dpmpp's at {limit} |"]
    lines.append("|---|---|---|")
    scores = by_calls(study)
    ends = {name: by[limit] for name, by in scores.items() if limit in by}
    for name, by in scores.items():
        if calls not in by:
            continue
        few, cells = by[calls], []
        for many in (ends.get(name), ends["dpmpp"]):
            if many is None:
                cells.append("")
                continue
            error = (few - many).std(ddof=1) / math.sqrt(len(few)) / abs(many.mean())
            cells.append(f"{few.mean() / many.mean():.4f} +- {error:.4f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def draw(studies: list[dict], file: Path) -> None:
    """Fair CRPS over calls, one panel a run."""
    from matplotlib import pyplot as plt

    studies = [one for one in studies if one["score"] == "fair CRPS"]
    figure, axes = plt.subplots(
        1, len(studies), figsize=(6.4 * len(studies), 5.0), layout="constrained", squeeze=False
    )
    for axis, one in zip(axes[0], studies, strict=True):
        for number, (name, by) in enumerate(one["scores"].items()):
            calls = sorted(map(int, by))
            means = [np.mean(by[c if c in by else str(c)]) for c in calls]
            style = "--" if name.startswith("diffusers") else "-"
            marker = "osv^D*PX"[number % 8]
            axis.plot(calls, means, style, marker=marker, ms=4, lw=1.2, label=name)
        low = min(np.mean(v) for by in one["scores"].values() for v in by.values())
        axis.set(
            xscale="log",
            xlabel="network calls",
            ylabel=f"{one['score']} {one['unit']}".strip(),
            title=one["run"],
            ylim=(0.98 * low, 1.25 * low),
        )
        axis.set_xticks(CALLS, [str(c) for c in CALLS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=7, ncols=2)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--cases", type=int, default=25)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("docs/few_calls.md"))
    chosen = parser.parse_args()
    logging.getLogger("diffsci").setLevel(logging.WARNING)
    studies = [one for run in chosen.runs for one in study(run, chosen.cases, chosen.members)]
    file = chosen.out.with_suffix(".json")
    file.write_text(json.dumps(studies), encoding="utf-8")
    print("\n".join(page(studies, chosen.out)))


def page(studies: list[dict], out: Path) -> list[str]:
    """Write the page and its figure; gives the tables."""
    picture = out.parent / "images" / "few_calls.png"
    picture.parent.mkdir(exist_ok=True)
    draw(studies, picture)
    lines: list[str] = []
    for one in studies:
        lines += [
            "",
            f"## {one['run']}: {one['score']}{', ' + one['unit'] if one['unit'] else ''}",
            "",
            f"{one['cases']} test cases, {one['members']} members, {one['device']}, no guidance; "
            "columns are network calls.",
            "",
            *rows_of(one),
            "",
            "Few calls against many, with the standard error of the difference over the cases:",
            "",
            *ratios(one),
        ]
    out.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")
    return lines


HEAD = """# Few calls: samplers on trained networks

<!-- Written by `python benchmarks/few_calls.py RUN...`; do not edit by hand. -->

The [proof](proof.md) page holds samplers to exact denoisers. Here the same samplers run on trained
networks: the same members (same noise) of the same test cases, so that differences are the
samplers' own. `diffusers` rows are its DPM-Solver++ and UniPC schedulers with their own default
settings, on the same noise levels, wrapped around the same network in the same process.

![score over network calls](images/few_calls.png)
"""


if __name__ == "__main__":
    main()
