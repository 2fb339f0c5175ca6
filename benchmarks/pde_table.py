"""The tables of the four problems from finished runs: three objectives and the rows to beat.

    diffsci run pipelines/pde/ks_objectives.yaml
    python -m benchmarks.pde_table runs/ks_objectives [...] [--into docs]

Each folder holds the run folders of a sweep's points. Forecasts are read from them; reference
rows, costs, the dressed forecast and long rollouts are computed here, on one thread, and kept in
`pde.json` beside the points (delete it to compute them anew). Times are of the processor, of a
state among 64, measured in this process: steps of the network and of the solvers side by side.
Folders of one problem are trainings of other seeds: their rows are one, the median of each number.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

import diffsci
from benchmarks import _pde_rates, _pde_seeds, _pde_words
from benchmarks import _pde_scores as of
from benchmarks._pde_task import (
    COARSE,
    Task,
    as_drawn,
    freed,
    members_of,
    references,
    residuals_of,
    solver_cost,
    stable_share,
    step_cost,
    task_of,
)

Rows = dict[str, dict[str, object]]


def scores(task: Task, members: np.ndarray, later: bool = False) -> dict[str, object]:
    """What the problem asks of a row.

    Args:
        task: The problem.
        members: Of the row.
        later: Whether its leads begin with the second one of the task.
    """
    truth, leads = task.truth, task.leads
    if later:
        truth, leads = truth[:, 1:], tuple(np.array(leads[1:]) - leads[0])
    given = task.given
    near = {t: int(np.abs(np.array(leads) - t).argmin()) for t in _moments(task)}
    found: dict[str, object] = {
        "members": members.shape[1],
        "cases": members.shape[0],
        "vrmse_1": of.vrmse(members, truth, 0).mean(axis=0).tolist(),
        "vrmse_20": of.vrmse(members, truth, min(19, len(leads) - 1)).mean(axis=0).tolist(),
        "at": {f"{leads[k]:g}": of.ensemble(members, truth, k) for k in near.values()},
        "bands": of.bands(members, truth, slice(len(leads) // 2, None)),
    }
    if task.word == "kuramoto_sivashinsky":
        found |= of.times(members, truth, leads)
    if task.word == "kolmogorov":
        found |= of.times(of.vorticity(members), of.vorticity(truth), leads)
        found["divergence"] = of.divergence(members)
        late = slice(len(leads) // 2, None)
        found["energy_bias"] = of.bias_of_power(members, truth, late)
        found["enstrophy_bias"] = of.bias_of_power(of.vorticity(members), of.vorticity(truth), late)
    if task.word == "shallow_water":
        found["mass_error"] = of.mass_error(members, given)
        drift = of.energy(members).mean() / of.energy(truth).mean() - 1
        found["energy_drift"] = float(drift)
    return found


def _moments(task: Task) -> tuple[float, ...]:
    """Leads at which ensembles are scored."""
    if task.word == "kuramoto_sivashinsky":
        return (task.leads[0], 10.4, 30.4, 60.0)
    return (task.leads[0], task.leads[min(9, len(task.leads) - 1)], task.leads[-1])


def table_of(folder: Path, known: Rows, references: dict[object, Rows]) -> dict[str, object]:
    """All rows of a problem, and their costs.

    Args:
        folder: Of the sweep.
        known: Rows that were made before; those of finished points alone are added.
        references: Rows without training, by task, that were made for another training.
    """
    points = sorted(path.parent for path in folder.glob("*/report.html"))
    if not points:
        sys.exit(f"{folder}: no finished point; run its sweep first")
    rows = dict(known)
    lacking = [path for path in points if path.name not in rows]
    if not lacking and "persistence" in rows:
        return {}
    task = task_of(points[0])
    # Trainings of the same cases share them.
    same = (task.word, task.leads, task.prepared.digests["test"], len(task.truth))
    if "persistence" not in rows:
        rows |= references.get(same) or reference_rows(task)
    trained = {path.name for path in points}
    references[same] = {n: row for n, row in rows.items() if n.partition(",")[0] not in trained}
    for path in lacking:
        rows |= point_rows(task, path)
    return {"problem": task.word, "step": task.leads[0], "rows": rows}


def reference_rows(task: Task) -> Rows:
    """Those that need no network, and what a step of the equation costs."""
    rows = {
        name: scores(task, members, later=name == "linear extrapolation")
        for name, members in references(task).items()
    }
    for points in (*COARSE[task.word], task.solver.grid_points):
        rows.setdefault(f"equation on {points} points", {})["ms_a_step"] = solver_cost(task, points)
    return rows


def point_rows(task: Task, path: Path) -> Rows:
    """A trained model, without its constraints, and dressed where it makes one forecast."""
    model = diffsci.load(path)
    members = members_of(path, model)
    raw = as_drawn(model)
    row = scores(task, members)
    row["calls"] = model.pipeline.sample.calls
    row["ms_a_step"] = step_cost(task, raw)
    row["train_steps"] = model.pipeline.train.steps
    if task.word == "kuramoto_sivashinsky":
        row["stable"] = stable_share(task, raw)
    if task.word == "gray_scott":
        row["one_step_by_rate"] = _pde_rates.rows(raw)
    rows = {path.name: row}
    if (path / "forecast-raw.zarr").exists():
        rows[f"{path.name}, as drawn"] = scores(task, members_of(path, model, "forecast-raw.zarr"))
    if (free := freed(task, model)) is not None:
        rows[f"{path.name}, not constrained"] = scores(task, free)
    if members.shape[1] == 1:
        wide = of.dressed(members, residuals_of(task, model), 8)
        rows[f"{path.name}, dressed"] = scores(task, wide)
    return rows


def training_seconds(folder: Path) -> dict[str, float]:
    """By point: those of `seconds.json` where it is there, else by the clock, from `run.json`.

    What a point began from is counted with it.
    """
    kept = folder / "seconds.json"
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/run.json")}
    own = {name: each["stages"]["train"]["seconds"] for name, each in found.items()}
    if kept.exists():
        own |= json.loads(kept.read_text())
    sources = {name: each.get("from") for name, each in found.items()}
    begun = {name: Path(at["folder"]).parent.name for name, at in sources.items() if at}
    return {name: seconds + own.get(begun.get(name, ""), 0.0) for name, seconds in own.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, help="folder of the pages whose tables are replaced")
    parser.add_argument("--summary", type=Path, help="page whose marked summary is replaced")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[tuple[dict[str, object], dict[str, float]]]] = {}
    references: dict[object, Rows] = {}
    for folder in asked.folders:
        made = measured(folder, references)
        found.setdefault(made["problem"], []).append((made, training_seconds(folder)))
    every = []
    for problem, trainings in found.items():
        made = _pde_seeds.merged([made for made, _ in trainings])
        seconds = _pde_seeds.middle([seconds for _, seconds in trainings])
        text = "\n".join(_pde_words.lines(made, seconds))
        print(f"{problem}\n\n{text}\n")
        if asked.into is not None:
            put(text, problem, asked.into / f"{problem}.md")
        every.append(made)
    if asked.summary is not None:
        put("\n".join(_pde_words.summary(every)), "summary", asked.summary)


def measured(folder: Path, references: dict[object, Rows]) -> dict[str, object]:
    """What a folder's `pde.json` holds, with rows of points that have finished since."""
    kept = folder / "pde.json"
    known = json.loads(kept.read_text())["rows"] if kept.exists() else {}
    if made := table_of(folder, known, references):
        kept.write_text(json.dumps(made, indent=1))
    return dict(json.loads(kept.read_text()))


def put(text: str, problem: str, page: Path) -> None:
    """Replace what stands between the two marks of a word on a page."""
    if not page.is_file():
        sys.exit(f"{page}: is not there; --into takes the folder of the pages, --summary a page")
    first, last = f"<!-- pde_table {problem} -->", f"<!-- end {problem} -->"
    before, found, rest = page.read_text().partition(first)
    _, ended, after = rest.partition(last)
    if not (found and ended):
        sys.exit(f"{page}: has no lines {first} and {last}, between which the table goes")
    page.write_text(f"{before}{first}\n\n{text}\n\n{last}{after}")


if __name__ == "__main__":
    main()
