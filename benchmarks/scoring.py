"""Time of scores beside xskillscore and `scores`, side by side in one process, one thread.

Each is called in turn on the same ensemble, in float64, and gives a number for each case; the value
is the ratio of the medians of CPU time. The numbers must agree before they are timed.

    python benchmarks/scoring.py [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import operator
import statistics
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


def main() -> None:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write rows of name, value, goal, better, unit")
    options = parser.parse_args()
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
