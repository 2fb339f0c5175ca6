"""The loss by level: means over the last hundred steps or so, in bins of log(noise / signal).

The mean loss hides where a model is bad. Each step adds the weighted squared errors of its batch to
the bins of their levels; sums and counts then fade by 1 % a step. The sums of a step travel with
the two numbers that are read in each step anyway, so no device waits and no rank reduces once more.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

BINS = 12
_LOW, _HIGH = math.log(0.002), math.log(80.0)
_WIDTH = (_HIGH - _LOW) / BINS
CENTRES = tuple(math.exp(_LOW + (place + 0.5) * _WIDTH) for place in range(BINS))
"""Of noise_std / signal_scale, evenly in its logarithm; the first and last bin have open ends."""

KEPT = 0.99
_FORGOTTEN = 1e-3

Faded = tuple[float, ...]
"""Sums of the bins, then their counts."""

NOTHING: Faded = (0.0,) * (2 * BINS)


@lru_cache(maxsize=8)
def _edges_and_places(device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Borders of the bins, and their numbers: the same in each step, so made once."""
    edges = torch.tensor([_LOW + place * _WIDTH for place in range(1, BINS)], dtype=dtype)
    return edges.to(device), torch.arange(BINS, device=device)


def sums(
    error: Float[Tensor, " batch"], log_sigma: Float[Tensor, " batch"]
) -> Float[Tensor, " sums_and_counts"]:
    """Sum of the errors in each bin, then how many there are, on their device; no gradient."""
    edges, places = _edges_and_places(log_sigma.device, log_sigma.dtype)
    inside = torch.bucketize(log_sigma, edges, right=True)[:, None] == places
    # Not a product: an infinite error would make a NaN of the other bins.
    errors = torch.where(inside, error[:, None], 0)
    return torch.cat([errors, inside.to(error)], dim=1).sum(dim=0)


def faded(before: Faded, added: list[float]) -> Faded:
    """Sums and counts after one more step."""
    return tuple(KEPT * old + new for old, new in zip(before, added, strict=True))


def means(kept: Faded) -> dict[float, float]:
    """Mean error of each bin that was drawn from lately (in the last 700 steps), by its centre."""
    rows = zip(CENTRES, kept[:BINS], kept[BINS:], strict=True)
    return {centre: total / count for centre, total, count in rows if count > _FORGOTTEN}
