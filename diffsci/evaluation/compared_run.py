"""What a comparison reads of a run's folder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from diffsci.errors import StorageError
from diffsci.evaluation.rows import Row, by_place, read_rows
from diffsci.messages import counted

PARTS = ("scores.csv", "config.yaml", "run.json")
"""Files that make a folder a run that can be compared."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a comparison reads of a run's folder."""

    label: str
    folder: Path
    rows: tuple[Row, ...]
    config: Mapping[str, str]
    record: Mapping[str, object]

    def find(
        self, forecast: str, variable: str, score: str, lead: float | None = None
    ) -> Row | None:
        """The row asked for, or none."""
        return self._places.get((forecast, variable, score, lead))

    def model_rows(self, variable: str, score: str) -> list[Row]:
        """Rows of the model that have a value: over all leads, then at each."""
        return [
            row
            for row in self.rows
            if (row.forecast, row.variable, row.score) == ("model", variable, score)
            and math.isfinite(row.value)
        ]

    @cached_property
    def leads(self) -> tuple[float, ...]:
        """At which it was scored; empty where there is none."""
        return tuple(sorted({row.lead for row in self.rows if row.lead is not None}))

    @property
    def lead_unit(self) -> str:
        """Unit of the leads; empty where there are none, or none is told."""
        unit = str(self.record.get("lead_unit", ""))
        return "" if unit == "1" or not self.leads else unit

    @cached_property
    def _places(self) -> dict[tuple[str, str, str, float | None], Row]:
        return by_place(self.rows)

    def called(self) -> str:
        """The label, with the network calls of a member at a lead where the record says them."""
        calls = self.record.get("network_calls")
        return f"{self.label} ({counted(calls, 'call')})" if isinstance(calls, int) else self.label

    def milliseconds(self) -> float | None:
        """Of sampling a member of a case, at one lead; none where the record does not say."""
        stages = self.record.get("stages")
        stage = stages.get("sample") if isinstance(stages, Mapping) else None
        row = next((row for row in self.rows if row.forecast == "model"), None)
        if not isinstance(stage, Mapping) or row is None or not stage.get("seconds"):
            return None
        leads = max(1, len(self.leads))
        return 1000 * float(stage["seconds"]) / (row.members * row.count * leads)


def labels(runs: Sequence[Path]) -> list[str]:
    """The folder's name, with those above it where two are called the same."""
    resolved = [Path(folder).resolve() for folder in runs]
    depth = 1
    while True:
        found = [str(Path(*path.parts[-depth:])) for path in resolved]
        if len(set(found)) == len(found) or depth > max(len(path.parts) for path in resolved):
            return found
        depth += 1


def read_run(folder: Path, label: str) -> Run:
    """What a run's folder holds.

    Raises:
        StorageError: When it is no run with scores, naming what is missing.
    """
    if not folder.is_dir():
        raise StorageError(f"{folder}: there is no such folder; give the folder of a run")
    missing = [name for name in PARTS if not (folder / name).is_file()]
    if (folder / "scores.csv").is_file() and not (folder / "run.json").is_file():
        raise StorageError(
            f"{folder}: is a folder of `diffsci score`, not a run, which has run.json; `diffsci "
            "score FORECAST --truth PATH --baseline OTHER` lays forecasts side by side"
        )
    if missing:
        raise StorageError(
            f"{folder}: not a run with scores, {', '.join(missing)} is missing; "
            "finish it with `diffsci run` on its pipeline file, with an `evaluate` section"
        )
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        raise StorageError(
            f"{folder}: config.yaml or run.json cannot be read ({str(error).splitlines()[0]})"
        ) from error
    return Run(
        label=label,
        folder=folder,
        rows=read_rows(folder / "scores.csv"),
        config=dict(_flat(config if isinstance(config, dict) else {})),
        record=record if isinstance(record, dict) else {},
    )


def _flat(values: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            # Members of a family by their words, so that only what differs of one is told.
            value = {_word(item, place): item for place, item in enumerate(value)}
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", json.dumps(value, default=str)


def _word(item: object, place: int) -> str:
    word = item.get("use") if isinstance(item, Mapping) else item
    return word if isinstance(word, str) else str(place)
