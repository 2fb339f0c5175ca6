"""The table of a sweep: one line a point, with what makes it differ and what became of it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from diffsci import config
from diffsci.errors import DiffsciError
from diffsci.evaluation.rows import overall, read_rows
from diffsci.files import write_text
from diffsci.messages import counted
from diffsci.points import Point, as_written
from diffsci.stages.sweep_status import RECORD, TABLE

SHOWN = 4
"""Scores in the lines that are printed; the file has all."""

NOTED = 12
"""Scores in the note of the sweep's MLflow run."""

_ROOM = 7000
"""Characters of that table: MLflow keeps 8000 of a note."""


class SweepTable:
    """The record and the table in a sweep's folder, as far as it has come.

    Args:
        folder: Of the sweep.
        loaded: Its pipeline.
        record: What is kept of the sweep itself.
    """

    def __init__(self, folder: Path, loaded: config.Loaded, record: dict[str, Any]) -> None:
        self.folder, self.points, self.record = folder, loaded.points, record
        self.failed: dict[str, DiffsciError] = {}
        keys = dict.fromkeys(key for point in self.points for key in _values(point))
        # A point that leaves a key as it is has the value of the file.
        self._usual = {key: _at(loaded.plain, key) for key in keys}

    @property
    def names(self) -> list[str]:
        """Of all points."""
        return [point.name for point in self.points]

    def write(self) -> None:
        """Write both files anew.

        Raises:
            StorageError: When the disk does not take them.
        """
        rows = [self._row(point) for point in self.points]
        self.record["points"] = {
            point.name: {"overrides": list(point.overrides), "status": row["status"]}
            for point, row in zip(self.points, rows, strict=True)
        }
        write_text(self.folder / RECORD, json.dumps(self.record, indent=2) + "\n")
        columns = dict.fromkeys(key for row in rows for key in row)
        text = io.StringIO()
        lines = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
        lines.writeheader()
        lines.writerows(rows)
        write_text(self.folder / TABLE, text.getvalue())

    def note(self) -> str:
        """What makes each point differ, its status and its scores, as a table in Markdown."""
        rows = [self._row(point) for point in self.points]
        scores = self._told(rows)[1][:NOTED]
        columns = ["point", *self._usual, "status", *scores]
        dashes = ["---" if name not in scores else "---:" for name in columns]
        lines = [columns, dashes, *([row.get(key, "") or "-" for key in columns] for row in rows)]
        texts = [f"| {' | '.join(cell.replace('|', ' ') for cell in line)} |" for line in lines]
        head = f"Sweep of {counted(len(rows), 'point')}; scores of the model, over all leads.\n"
        kept, size = [head], 0
        for number, text in enumerate(texts):
            size += len(text) + 1
            if size > _ROOM:
                left = len(texts) - number
                told = f"{left} more {'point is' if left == 1 else 'points are'}"
                kept.append(f"\n{told} in {TABLE}.")
                break
            kept.append(text)
        return "\n".join(kept)

    def _told(self, rows: list[dict[str, str]]) -> tuple[list[str], list[str]]:
        """Columns of seconds, and of scores."""
        others = {"point", "status", *self._usual}
        told = dict.fromkeys(key for row in rows for key in row if key not in others)
        seconds = [key for key in told if key.endswith("_seconds")]
        return seconds, [key for key in told if key not in seconds]

    def lines(self) -> list[str]:
        """Points, their status, seconds and first scores, in columns for people."""
        rows = [self._row(point) for point in self.points]
        seconds, scores = self._told(rows)
        columns = ["point", "status", *seconds, *scores[:SHOWN]]
        cells = [columns, *([row.get(key, "") or "-" for key in columns] for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]

    def _row(self, point: Point) -> dict[str, str]:
        """One line of the table."""
        row = {"point": point.name, **self._usual, **_values(point)}
        place = self.folder / point.name
        run = json.loads((place / "run.json").read_text()) if (place / "run.json").exists() else {}
        row["status"] = "failed" if point.name in self.failed else run.get("status", "waiting")
        for stage, entry in run.get("stages", {}).items():
            row[f"{stage}_seconds"] = f"{entry['seconds']:.1f}"
        if (place / "scores.csv").exists():
            of_model = overall(read_rows(place / "scores.csv")).get("model", {})
            for variable, scores in of_model.items():
                for score, value in scores.items():
                    row[f"{variable}.{score}"] = "" if value is None else f"{value:.6g}"
        return row


def _values(point: Point) -> dict[str, str]:
    """What makes a point differ, as a user would write it."""
    pairs = (text.partition("=") for text in point.overrides)
    return {key: as_written(json.loads(text)) for key, _, text in pairs}


def _at(plain: dict[str, Any], key: str) -> str:
    """A value of the file, as a user would write it; empty where a section is not there."""
    value: Any = plain
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            return ""
        value = value[part]
    # A member with its options written out is the word that names it.
    return as_written(value["use"] if isinstance(value, dict) and "use" in value else value)
