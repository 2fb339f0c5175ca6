"""The tables of benchmarks/pde_table.py in words: what it measured, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

Row = dict[str, object]

_TIMED = ("kuramoto_sivashinsky", "kolmogorov")
"""Problems whose skill is how long they are followed; of others it is an error after 20 steps."""


_BY_RATE = "one_step_by_rate"
_OBJECTIVES = ("deterministic", "crps", "diffusion")


def skill(problem: str, row: Row) -> float | None:
    """What rows are ranked by, more is better: time followed, or minus the late VRMSE."""
    if problem in _TIMED:
        return row.get("time")
    late = row.get("vrmse_20")
    return None if late is None else -fmean(late)


def lines(made: dict[str, object], seconds: dict[str, float]) -> Iterator[str]:
    """The table of scores, then that of costs.

    Args:
        made: What `pde.json` holds.
        seconds: Of the processor, that training took, by point.
    """
    problem, rows = made["problem"], made["rows"]
    moments = list(next(row["at"] for row in rows.values() if "at" in row))
    head = ["row", *_heads(problem), f"CRPS at {' / '.join(moments)}", "SSR", "bands"]
    yield from _table([head, *([name, *_cells(problem, row)] for name, row in _scored(rows))])
    yield ""
    yield from _table(list(_costs(problem, rows, seconds)))
    rated = {name: row["one_step_by_rate"] for name, row in rows.items() if _BY_RATE in row}
    if rated:
        yield ""
        yield from _table(list(_rates(rated)))


def _rates(rated: dict[str, dict[str, dict[str, float]]]) -> Iterator[list[str]]:
    """VRMSE of a step by feed rate, references once."""
    first = next(iter(rated.values()))
    feeds = list(first["model"])
    yield ["VRMSE of a step, feed", *feeds]
    for word in ("persistence", "linear extrapolation"):
        yield [word, *(f"{first[word][feed]:.3g}" for feed in feeds)]
    for name, each in rated.items():
        for word, told in (("model", name), ("shuffled", f"{name}, rates of another")):
            found = each[word]
            yield [told, *(f"{found[feed]:.3g}" if feed in found else "" for feed in feeds)]


def summary(every: list[dict[str, object]]) -> Iterator[str]:
    """One table of all problems: what each objective's ensemble is worth, and its calls."""
    table = [["problem", "row", "calls", "ms a step", "CRPS", "SSR"]]
    for made in every:
        for name, row in _scored(made["rows"]):
            own = name.partition(",")[0]
            if own not in _OBJECTIVES or name.endswith(("not constrained", "as drawn")):
                continue
            cost = made["rows"][own]
            at = " / ".join(row["at"])
            head = f"{made['problem']}, at {at}"
            cells = [
                f"{cost['calls']:g}",
                f"{cost['ms_a_step']:.2g}",
                *_cells(made["problem"], row)[-3:-1],
            ]
            table.append([head, name, *cells])
    yield from _table(table)


def _scored(rows: dict[str, Row]) -> list[tuple[str, Row]]:
    return [(name, row) for name, row in rows.items() if "at" in row]


def _heads(problem: str) -> list[str]:
    if problem == "kuramoto_sivashinsky":
        return ["followed for", "mean curve", "VRMSE, a step", "stable"]
    if problem == "kolmogorov":
        return ["followed for", "mean curve", "VRMSE, a step", "divergence", "energy", "enstrophy"]
    if problem == "shallow_water":
        return ["VRMSE, a step", "VRMSE, 20 steps", "mass error", "energy"]
    return ["VRMSE, a step", "VRMSE, 20 steps"]


def _cells(problem: str, row: Row) -> list[str]:
    one, late = (" / ".join(f"{v:.3g}" for v in row[f"vrmse_{n}"]) for n in (1, 20))
    cells = {
        "followed for": _followed(row),
        "mean curve": f"{row.get('time_of_curve', 0):.1f}",
        "VRMSE, a step": one,
        "VRMSE, 20 steps": late,
        "stable": f"{row['stable']:.0%}" if "stable" in row else "",
        "divergence": f"{row.get('divergence', 0):.1e}",
        "energy": _percent(row.get("energy_bias", row.get("energy_drift", 0.0))),
        "enstrophy": _percent(row.get("enstrophy_bias", 0.0)),
        "mass error": f"{row.get('mass_error', 0):.1e}",
    }
    at = row["at"].values()
    crps = " / ".join(f"{each['crps']:.3g}" for each in at)
    ratio = " / ".join("-" if each["ssr"] != each["ssr"] else f"{each['ssr']:.2f}" for each in at)
    bands = " / ".join(f"{each:.2f}" for each in row["bands"])
    return [*(cells[head] for head in _heads(problem)), crps, ratio, bands]


def _followed(row: Row) -> str:
    """Time followed and its standard error over cases; of several trainings, the range too."""
    told = f"{row.get('time', 0):.1f} +- {row.get('time_error', 0):.1f}"
    if "time_range" not in row:
        return told
    least, most = row["time_range"]
    return f"{told} ({least:.1f} to {most:.1f})"


def _percent(share: object) -> str:
    return f"{100 * float(share):+.1f} %"  # type: ignore[arg-type]


def _costs(problem: str, rows: dict[str, Row], seconds: dict[str, float]) -> Iterator[list[str]]:
    """Calls and milliseconds of each row, and steps after which training is won back."""
    equations = {n: r for n, r in rows.items() if n.startswith("equation") and "ms_a_step" in r}
    finest = list(equations)[-1]
    yield [
        "row",
        "calls",
        "ms a step",
        "training, s",
        "as good",
        "its ms",
        "steps to win back training",
    ]
    for name, row in equations.items():
        yield [name, "-", f"{row['ms_a_step']:.3g}", "-", "", "", ""]
    for name, row in rows.items():
        if "calls" not in row:
            continue
        own = skill(problem, row)
        good = [n for n, r in equations.items() if (skill(problem, r) or float("-inf")) >= own]
        rival = min(good, key=lambda n: equations[n]["ms_a_step"], default=finest)
        theirs, mine = equations[rival]["ms_a_step"], row["ms_a_step"]
        spent = seconds.get(name)
        never = mine >= theirs
        steps = (
            "never" if never else "-" if spent is None else f"{1e3 * spent / (theirs - mine):,.0f}"
        )
        told = "-" if spent is None else f"{spent:.0f}"
        yield [name, f"{row['calls']:g}", f"{mine:.3g}", told, rival, f"{theirs:.3g}", steps]


def _table(rows: list[list[str]]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield "| " + " | ".join(row) + " |"
        if number == 0:
            yield "|---" * len(row) + "|"
