"""Rows of conformal intervals: how often they held the truth, and how wide they are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from diffsci.data.fields import Channel
from diffsci.evaluation.blocks import BLOCK_BYTES, Values, blocks
from diffsci.evaluation.rows import CONFORMAL, Row
from diffsci.evaluation.table import Scores
from diffsci.grid import Grid


def rows(
    ends: Sequence[Values],
    levels: Sequence[float],
    truth: Values,
    scores: Scores,
    channels: Sequence[Channel],
    grid: Grid,
    most: int = BLOCK_BYTES,
) -> Iterator[Row]:
    """Coverage and mean width of each level, over all leads and at each, with intervals.

    Args:
        ends: Of each level, lower and upper in place of members; read block by block.
        levels: That they promise.
        truth: In the same unit; what is NaN by declaration counts for nothing.
        scores: Of the same cases, with their bootstrap.
        channels: What each channel is.
        grid: Whose cells weigh by their area.
        most: Bytes of a block.
    """
    members = next(row.members for row in scores.rows if row.forecast == "model")
    for both, level in zip(ends, levels, strict=True):
        name = f"{CONFORMAL}_{100 * level:g}"
        for number, channel in enumerate(channels):
            inside, width = _means(both, truth, number, grid, most)
            for word, unit, by_lead in (
                (name, "1", inside),
                (f"{name}_width", channel.unit, width),
            ):
                parts: list[tuple[float | None, np.ndarray]] = [(None, by_lead.mean(axis=1))]
                parts += [(lead, by_lead[:, k]) for k, lead in enumerate(scores.leads or ())]
                for lead, series in parts:
                    bounds = (0.0, math.inf if word.endswith("_width") else 1.0)
                    told = scores.bootstrap.interval(_mean, series[:, None], bounds)
                    yield Row(
                        forecast="model",
                        variable=channel.name,
                        score=word,
                        lead=lead,
                        value=float(series.mean()),
                        low=told.low,
                        high=told.high,
                        unit=unit,
                        members=members,
                        count=len(series),
                    )


def _means(
    both: Values, truth: Values, channel: int, grid: Grid, most: int
) -> tuple[Float[np.ndarray, "case lead"], Float[np.ndarray, "case lead"]]:
    """Area means of whether the truth lies within, and of the width, case by case."""
    size = (truth.shape[0], truth.shape[2])
    inside, width = np.empty(size), np.empty(size)
    for block in blocks({"ends": both.shape}, most):
        low, high = np.moveaxis(both.read(*block, channel), 1, 0)
        true = truth.read(*block, channel)[:, 0]
        held = np.where(np.isnan(true), np.nan, (low <= true) & (true <= high))
        inside[block], width[block] = _area_mean(held, grid), _area_mean(high - low, grid)
    return inside, width


def _area_mean(
    values: Float[np.ndarray, "case lead *space"], grid: Grid
) -> Float[np.ndarray, "case lead"]:
    space = tuple(range(2, values.ndim))
    there = ~np.isnan(values)
    total = (np.where(there, values, 0.0) * grid.cell_weights).sum(axis=space)
    return np.asarray(total / (there * grid.cell_weights).sum(axis=space))


def _mean(means: Float[np.ndarray, "*sets one"]) -> Float[np.ndarray, "*sets"]:
    return means[..., 0]
