"""What a comparison reads of a run's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from diffsci.evaluation.rows import Row, by_place
from diffsci.messages import counted


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
        leads = len({each.lead for each in self.rows if each.lead is not None})
        return 1000 * float(stage["seconds"]) / (row.members * row.count * max(1, leads))
