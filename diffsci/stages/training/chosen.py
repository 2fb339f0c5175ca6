"""Which average of the weights is the model of a run, as its folder tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHOSEN = "chosen.json"
"""In the run folder: `average`, `step`, `by`, `validation`, `crps`, and the `others` that lost."""


def described(chosen: Mapping[str, Any]) -> str:
    """What `chosen.json` says, for people."""
    parts = [f"{chosen['average']} of step {chosen['step']}"]
    if chosen.get("by"):
        parts.append(f"by the lowest {chosen['by']}")
    if chosen.get("validation") is not None:
        parts.append(f"validation {chosen['validation']:.4g}")
    if chosen.get("crps") is not None:
        parts.append(f"CRPS {chosen['crps']:.4g}")
    others = [f"{loss:.4g} of {decay}" for decay, loss in chosen.get("others", {}).items()]
    return ", ".join(parts) + (f" (others: {', '.join(others)})" if others else "")
