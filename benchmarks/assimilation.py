"""B1-DA: a hidden Kuramoto-Sivashinsky trajectory from 10, 3 and 1 % of its values, 1 % off.

python benchmarks/assimilation.py RUN TRUTH.zarr TRAIN.zarr [--frames 640] [--members 8]

Prints RMSE / std, fair CRPS / std, spread over skill, the share inside the central 90 % interval,
and processor seconds, for the analysis of all observations, for interpolation in space and time,
for the climatology, and for an ensemble transform Kalman filter with the true equation and 64
members, which knows what came before alone.
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import diffsci
from diffsci.diffusion.guidance.posterior import Posterior
from diffsci.evaluation.ensemble_filter import filtered
from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.coverage import Coverage
from diffsci.forecasting.assimilation.analysis import Analyst
from diffsci.forecasting.assimilation.observation_table import read_table
from diffsci.forecasting.assimilation.reference_analyses import climatological, interpolated
from diffsci.forecasting.assimilation.sighting import placed
from diffsci.runtime import Device
from diffsci.sections import Runtime
from diffsci.solvers.kuramoto_sivashinsky import KuramotoSivashinsky

SHARES = (0.1, 0.03, 0.01)
SPIN_UP = 100
"""Frames that are not scored: the filter begins from the climatology."""


def told(path, truth, share, std, seed):
    """A table of the observations of a trajectory `[frame, x]`."""
    random = np.random.default_rng([seed, round(1e4 * share)])
    seen = np.argwhere(random.random(truth.shape) < share)
    noise = 0.01 * std * random.standard_normal(len(seen))
    lines = ["time,x,value,error"]
    for (frame, cell), error in zip(seen, noise, strict=True):
        value = truth[frame, cell] + error
        lines.append(f"{0.2 * frame:.6g},{0.5 * cell},{value:.8g},{0.01 * std:.6g}")
    path.write_text("\n".join(lines) + "\n")
    return seen


def scores(members, truth, std):
    """`[member, frame, x]` against `[frame, x]`."""
    m = len(members)
    error = (members.mean(axis=0) - truth)[SPIN_UP:]
    rmse = np.sqrt((error**2).mean())
    if m == 1:
        return rmse / std, np.abs(error).mean() / std, np.nan, np.nan
    part = members[:, SPIN_UP:]
    spread = np.sqrt((m + 1) / m * part.var(axis=0, ddof=1).mean())
    weight = 2 * np.arange(1, m + 1) - m - 1
    pairs = np.tensordot(weight, np.sort(part, axis=0), axes=1) / (m * (m - 1))
    crps = (np.abs(part - truth[SPIN_UP:]).mean(axis=0) - pairs).mean()
    flat = part.transpose(1, 0, 2).astype(np.float64)
    found = Coverage(levels=(0.9,)).statistics(
        Pairs(members=flat, truth=truth[SPIN_UP:].astype(np.float64), weights=np.ones(128))
    )
    return rmse / std, crps / std, spread / rmse, float(found.mean())


def filter_of(truth, seen, values, std, climate, inflation, members=64):
    """The ensemble filter with the equation itself, on the stored points."""
    solver = replace(KuramotoSivashinsky(points=128, refine=1), dt=0.1)
    random = np.random.default_rng(5)
    start = climate[random.integers(len(climate), size=members)].astype(np.float64)

    def forecast(states):
        u = torch.from_numpy(states)[:, None]
        return solver.integrate(u, frames=2)[:, 1, 0].numpy()

    def observe(frame, states):
        rows = np.flatnonzero(seen[:, 0] == frame)
        cells = seen[rows, 1]
        return states[:, cells], values[rows], np.full(len(rows), 0.01 * std)

    return np.stack(list(filtered(start, forecast, observe, len(truth), inflation)), axis=1)


def rows(asked, analyst, truth, climate, share, case):
    """Name, `[member, frame, x]` and processor seconds of each way to the trajectory."""
    std, model, frames = float(climate.std()), analyst.model, asked.frames
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "observations.csv"
        seen = told(path, truth, share, std, case)
        table = read_table(path, model.grid.dims)
    at = placed(table, model.channels, model.grid, analyst.step, 0.0)
    ways = {
        "analysis": lambda: analyst.analysis(at, 0, frames, asked.members, case)[:, :, 0],
        "interpolation": lambda: interpolated(at, frames, model)[:, :, 0],
        "climatology": lambda: climatological(model, frames, 16, case)[:, :, 0],
        "ensemble Kalman filter, true equation, 64": lambda: filter_of(
            truth, seen, at.values, std, climate, asked.inflation
        ),
    }
    for name, way in ways.items():
        if asked.filter_only and "filter" not in name:
            continue
        began = time.process_time()
        made = way()
        yield name, made, time.process_time() - began


def main():
    options = argparse.ArgumentParser()
    options.add_argument("run")
    options.add_argument("truth")
    options.add_argument("train")
    options.add_argument("--frames", type=int, default=640)
    options.add_argument("--members", type=int, default=8)
    options.add_argument("--cases", type=int, default=1)
    options.add_argument("--iterations", type=int, default=8)
    options.add_argument("--overlap", type=int, default=16)
    options.add_argument("--inflation", type=float, default=1.02)
    options.add_argument("--filter-only", action="store_true")
    asked = options.parse_args()
    torch.set_num_threads(1)
    truths = xr.open_zarr(asked.truth).u.values[: asked.cases, : asked.frames]
    climate = xr.open_zarr(asked.train).u.values[:, ::20].reshape(-1, 128)
    std = float(climate.std())
    model = diffsci.load(asked.run)
    device = Device.of(Runtime(device="cpu", threads=1, precision="fp32"))
    guidance = Posterior(iterations=asked.iterations)
    analyst = Analyst(model=model, device=device, guidance=guidance, overlap=asked.overlap)
    print("| observed | row | RMSE / std | CRPS / std | spread / skill | inside 90 % | s |")
    print("|---|---|---|---|---|---|---|")
    for share in SHARES:
        found = {}
        for case, truth in enumerate(truths):
            for name, made, spent in rows(asked, analyst, truth, climate, share, case):
                found.setdefault(name, []).append((*scores(made, truth, std), spent))
        for name, each in found.items():
            rmse, crps, ratio, inside, spent = np.mean(each, axis=0)
            line = f"{rmse:.3f} | {crps:.3f} | {ratio:.2f} | {inside:.2f} | {spent:.0f}"
            print(f"| {100 * share:g} % | {name} | {line} |", flush=True)


if __name__ == "__main__":
    main()
