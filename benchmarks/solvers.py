"""One picture of each solver's trajectories for docs/solvers.md, and what a time unit costs.

python benchmarks/solvers.py docs/images
"""

import sys
import time
from pathlib import Path

import matplotlib
import torch

from diffsci import families

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

LINES = {
    "kuramoto_sivashinsky": {"frames": 300},
    "burgers": {},
    "advection_diffusion": {},
}
PLANES = {
    "kolmogorov": ("vorticity", {"frames": 3, "output_step": 2.0, "spin_up": 20.0}),
    "gray_scott": ("B", {"frames": 3, "output_step": 400.0}),
    "shallow_water": (
        "eta",
        {"frames": 3, "output_step": 4.0, "dt": 0.05, "solver_points": 48, "points": 48},
    ),
}


def made(name, changes):
    """The first trajectory, and CPU milliseconds a trajectory and time unit."""
    member = families.load("solvers", name)
    solver = member(trajectories=member.together, **changes)
    began = time.process_time()
    dataset = solver()
    span = solver.spin_up + solver.output_step * (solver.frames - 1)
    return solver, dataset, 1e3 * (time.process_time() - began) / solver.trajectories / span


def line(axis, name, changes):
    solver, dataset, cost = made(name, changes)
    (field,) = solver.stored_fields
    axis.pcolormesh(dataset.time, dataset.x, dataset[field][0].T, cmap="RdBu_r", shading="nearest")
    axis.set(title=f"{name}: {field}", xlabel=f"time ({solver.time_unit})", ylabel="x")
    return cost


def plane(axes, name, field, changes):
    solver, dataset, cost = made(name, changes)
    if field == "vorticity":
        stored = torch.stack([torch.from_numpy(dataset[n].values[0]) for n in "uv"], dim=1)
        values = solver.resumed(stored, solver.points)[:, 0].numpy()
    else:
        values = dataset[field].values[0]
    for axis, frame, moment in zip(axes, values, dataset.time.values, strict=True):
        axis.imshow(frame, origin="lower", cmap="RdBu_r" if field != "B" else "viridis")
        axis.set(title=f"{field}, time {moment:g}", xticks=[], yticks=[])
    return cost


def main(folder):
    torch.set_num_threads(1)
    for name in (*LINES, *PLANES):
        one = name in LINES
        figure, axes = plt.subplots(1, 1 if one else 3, figsize=(6, 2.2), layout="constrained")
        cost = line(axes, name, LINES[name]) if one else plane(axes, name, *PLANES[name])
        figure.savefig(folder / f"solver_{name}.png", dpi=70)
        print(f"{name:22} {cost:8.2f} ms of CPU a trajectory and time unit")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
