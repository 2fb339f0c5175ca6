"""Where a store comes from, as its global attributes say it."""

from __future__ import annotations

import json
from typing import Any

import diffsci
from diffsci.running.folder import digest_of
from diffsci.running.going_on import of_before

_EXTENT = ("members", "leads", "cases", "every", "store")
"""How much is sampled and how it is stored, not what: a store that grew says what it said."""


def of_cases(digest: str) -> dict[str, str]:
    """The global attribute that says which test part the cases are of."""
    return {"diffsci_test_data": digest[:16]}


def provenance(plain: dict[str, Any], seed: int) -> dict[str, Any]:
    """Global attributes that say where a store comes from.

    Args:
        plain: The resolved pipeline.
        seed: Of the members' noise.
    """
    plain = of_before(plain)  # So that a digest is that of before there were some keys.
    sampler = plain["sample"]["sampler"] or {"use": "none: one call a member"}
    kind = "diffusion model" if plain["sample"]["sampler"] else "model of one call"
    made_from = {key: plain[key] for key in ("data", "model", "train", "seed")}
    share = plain["sample"].get("persistent_noise", 0.0)
    guided = {key: plain["sample"][key] for key in ("guidance", "observed")}
    made_from["sample"] = {k: v for k, v in plain["sample"].items() if k not in _EXTENT}
    return {
        "title": f"{plain['name']}: ensemble made by diffsci",
        "source": f"diffsci {diffsci.__version__}, {kind}",
        "history": "made by `diffsci run` or `diffsci sample`",
        "diffsci_run": plain["name"],
        "diffsci_config": digest_of(made_from),
        "diffsci_sampler": ", ".join(f"{key}={value}" for key, value in sampler.items()),
        **({"diffsci_guidance": json.dumps(guided)} if any(guided.values()) else {}),
        **({"diffsci_persistent_noise": share} if share else {}),
        "diffsci_seed": seed,
        "diffsci_seed_scheme": "Philox4x32-10 keyed by (seed, case), counters (draw, lead, member)",
    }
