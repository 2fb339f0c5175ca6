"""Time of scores beside xskillscore and `scores`, side by side in one process, one thread.

Each is called in turn on the same ensemble, in float64, and gives a number for each case; the value
is the ratio of the medians of CPU time. The numbers must agree before they are timed.

    python benchmarks/scoring.py [--rounds N] [--json FILE]
    python benchmarks/scoring.py --streamed FOLDER [--json FILE]

The second scores a store of 50 members x 721 x 1440 cells x 10 leads, which takes some minutes and
2.3 GB in FOLDER, and tells the most memory that the process which scores it has held.
"""

from __future__ import annotations

import argparse
import json
import operator
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scores
import xarray as xr
import xskillscore

from diffsci.evaluation.scores.base import Pairs
from diffsci.evaluation.scores.brier import Brier
from diffsci.evaluation.scores.crps import Crps
from diffsci.evaluation.scores.rank_histogram import RankHistogram

MEMBERS, CASES, SPACE = 16, 100, (37, 49)


def ensemble() -> tuple[np.ndarray, np.ndarray]:
    """Members and truth of one law."""
    random = np.random.default_rng(0)
    return random.normal(size=(CASES, MEMBERS, *SPACE)), random.normal(size=(CASES, *SPACE))


def lanes() -> dict[str, dict[str, Callable[[], np.ndarray]]]:
    """Score -> name -> a call that gives it for each case."""
    members, truth = ensemble()
    pairs = Pairs(members=members, truth=truth, weights=np.ones(SPACE))
    dims = ("case", "member", "y", "x")
    forecast = xr.DataArray(members, dims=dims)
    observed = xr.DataArray(truth, dims=("case", "y", "x"))
    space = ["y", "x"]
    return {
        "fair CRPS": {
            "diffsci": lambda: Crps().statistics(pairs)[:, 0],
            "scores": lambda: scores.probability.crps_for_ensemble(
                forecast, observed, "member", method="fair", preserve_dims="case"
            ).values,
        },
        "CRPS of the empirical distribution": {
            "diffsci": lambda: Crps(fair=False).statistics(pairs)[:, 0],
            "scores": lambda: scores.probability.crps_for_ensemble(
                forecast, observed, "member", method="ecdf", preserve_dims="case"
            ).values,
            "xskillscore": lambda: xskillscore.crps_ensemble(observed, forecast, dim=space).values,
        },
        "fair Brier": {
            "diffsci": lambda: Brier(threshold=0.5).statistics(pairs)[:, 0],
            "scores": lambda: scores.probability.brier_score_for_ensemble(
                forecast, observed, "member", [0.5], preserve_dims="case", fair_correction=True,
                event_threshold_operator=operator.gt,
            ).values[:, 0],
        },
        "rank histogram": {
            "diffsci": lambda: RankHistogram().statistics(pairs),
            "xskillscore": lambda: xskillscore.rank_histogram(observed, forecast, dim=space).values
            / np.prod(SPACE),
        },
    }  # fmt: skip


def measure(calls: dict[str, Callable[[], np.ndarray]], rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of each, in turn; the same numbers are asked for first."""
    ours = calls["diffsci"]()
    for name, call in calls.items():
        # Sums in another order.
        assert np.allclose(call(), ours, rtol=1e-9, atol=1e-12), name
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.process_time()
            call()
            found[name].append(1e3 * (time.process_time() - started))
    return {name: statistics.median(times) for name, times in found.items()}


STREAMED = {"members": 50, "latitude": 721, "longitude": 1440, "leads": 10}
CHILD = """
import resource, sys, time
from diffsci.stages.scores.standalone import score
score(sys.argv[1] + "/forecast.zarr", sys.argv[1] + "/truth.zarr")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, time.process_time())
"""


def store(folder: Path) -> None:
    """A forecast and its truth, one lead in a chunk; the same noise at each lead, but moved."""
    count, rows, columns, leads = STREAMED.values()
    noise = np.random.default_rng(0).normal(size=(count, rows, columns)).astype("f4")
    hours = (np.arange(1, leads + 1) * np.timedelta64(6, "h")).astype("timedelta64[ns]")
    space = {
        "latitude": np.linspace(90, -90, rows),
        "longitude": np.arange(columns) * 360 / columns,
    }
    for name, dims in (("forecast", ("time", "number")), ("truth", ("time",))):
        path = folder / f"{name}.zarr"
        for lead, hour in enumerate(hours):
            values = 280 + np.roll(noise, 7 * lead, axis=2)[None]
            # A truth of the same law, which is none of the members.
            values = values if name == "forecast" else 560 - values[:, 0, ::-1]
            found = xr.Dataset(
                {"2m_temperature": ((*dims, *space), values, {"units": "K"})},
                {"time": np.array(["2020-01-01"], "M8[ns]"), **space},
            ).expand_dims(prediction_timedelta=[hour], axis=len(dims))
            if lead == 0:
                raw = {"2m_temperature": {"compressors": None}}
                found.to_zarr(path, mode="w", encoding=raw, consolidated=False)
            else:
                found.to_zarr(path, append_dim="prediction_timedelta", consolidated=False)


def streamed(folder: Path) -> list[dict[str, object]]:
    """Memory and CPU time of the usual scores of a store that is larger than both goals."""
    if not (folder / "truth.zarr").exists():
        store(folder)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)], check=True, capture_output=True, text=True
    )
    held, seconds = map(float, done.stdout.split())
    told = "x".join(str(size) for size in STREAMED.values())
    print(f"{told}: {held / 2**30:.2f} GiB held at most (goal < 2), {seconds:.0f} s of CPU time")
    row = {"name": f"streamed {told}, memory", "value": round(held / 2**30, 3), "goal": 2.0}
    return [{**row, "better": "lower", "unit": "GiB"}]


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write rows of name, value, goal, better, unit")
    parser.add_argument("--streamed", type=Path, metavar="FOLDER", help="score a large store there")
    options = parser.parse_args()
    if options.streamed:
        rows = streamed(options.streamed)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))
        return
    goals = {"scores": 1.0, "xskillscore": 5.0}
    rows = []
    print(f"{MEMBERS} members, {CASES} cases, {SPACE[0]} x {SPACE[1]} cells")
    for score, calls in lanes().items():
        times = measure(calls, options.rounds)
        for name in list(calls)[1:]:
            ratio = times[name] / times["diffsci"]
            told = f"{score}, {name} over diffsci"
            print(f"{told:<58} {times['diffsci']:8.1f} ms {ratio:6.2f}   goal >= {goals[name]:g}")
            rows.append(
                {"name": told, "value": round(ratio, 3), "goal": goals[name], "better": "higher",
                 "unit": "1"}
            )  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
