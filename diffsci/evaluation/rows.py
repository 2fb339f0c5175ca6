"""Rows of `scores.csv`: the format in which scores leave a run and come back to be compared."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from diffsci.errors import StorageError
from diffsci.files import write_text


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of `scores.csv`.

    Args:
        forecast: `model`, or a baseline's name.
        variable: Name of the channel.
        score: Name of the score.
        lead: In the `lead_unit` of `run.json`; none: over all leads.
        value: The score; NaN, and an empty cell in the file, where it is undefined, as spread is
            with a single member.
        low: Lower end of the bootstrap interval; NaN with a single case.
        high: Upper end.
        unit: Unit of the score, `1` where it has none.
        members: Members of the forecast.
        count: Cases it is averaged over.
    """

    forecast: str
    variable: str
    score: str
    lead: float | None
    value: float
    low: float
    high: float
    unit: str
    members: int
    count: int


HEADER = tuple(item.name for item in fields(Row))
"""Columns of `scores.csv`."""


CONFORMAL = "conformal"
"""How the names of scores of conformal intervals begin; the level in percent follows."""


CONSTRAINT = "constraint"
"""The score of how far states are from a constraint, whose name stands as the variable."""


def conformal_level(score: str) -> float | None:
    """The level of a coverage row by its name, such as 0.9 of `conformal_90`; none for others."""
    head, _, rest = score.partition("_")
    try:
        return float(rest) / 100 if head == CONFORMAL else None
    except ValueError:
        return None


def by_place(rows: Sequence[Row]) -> dict[tuple[str, str, str, float | None], Row]:
    """Each row by its forecast, variable, score and lead."""
    return {(row.forecast, row.variable, row.score, row.lead): row for row in rows}


def write_rows(rows: Sequence[Row], folder: Path) -> tuple[Path, Path]:
    """`scores.csv` of all rows and `scores.json` of those over all leads, in `folder`.

    Raises:
        StorageError: When they cannot be written.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(HEADER)
    for row in rows:
        lines.writerow([_cell(value) for value in astuple(row)])
    table, summary = folder / "scores.csv", folder / "scores.json"
    write_text(table, text.getvalue())
    write_text(summary, json.dumps(overall(rows), indent=2, allow_nan=False) + "\n")
    return table, summary


def overall(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Forecast, variable, score -> value over all leads; what is undefined or infinite is none."""
    plain: dict[str, dict[str, dict[str, float | None]]] = {}
    for row in rows:
        if row.lead is None:
            values = plain.setdefault(row.forecast, {}).setdefault(row.variable, {})
            values[row.score] = row.value if math.isfinite(row.value) else None
    return plain


def _cell(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    # 9 digits: more than any bootstrap interval resolves, and equal on every platform.
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _number(cell: str) -> float:
    return float(cell) if cell else math.nan


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a `scores.csv`.

    Raises:
        StorageError: When the columns are others, or a value is no number.
    """
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    if not lines or tuple(lines[0]) != HEADER:
        found = ",".join(lines[0]) if lines else "an empty file"
        raise StorageError(f"{path}: columns are {found}, expected {','.join(HEADER)}")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            forecast, variable, score, lead, value, low, high, unit, members, count = line
            rows.append(
                Row(
                    forecast=forecast,
                    variable=variable,
                    score=score,
                    lead=float(lead) if lead else None,
                    value=_number(value),
                    low=_number(low),
                    high=_number(high),
                    unit=unit,
                    members=int(members),
                    count=int(count),
                )
            )
        except ValueError:
            raise StorageError(
                f"{path} line {number}: {','.join(line)} is no row of scores; run `evaluate` again"
            ) from None
    return tuple(rows)
