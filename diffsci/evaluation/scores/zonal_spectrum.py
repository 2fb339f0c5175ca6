"""Zonal log-spectral distance: power of waves along the last dim, row by row.

Rows are averaged by their area, so that those near a pole, where a wave of a given number is
short, count little. A row that does not close on itself is windowed, as in `spectrum`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import DataError
from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score
from diffsci.evaluation.scores.spectrum import log_distance, power_spectrum


def zonal_spectrum(
    fields: Float[Array, " field *space"],
    weights: Float[Array, "*space"],
    periodic: tuple[bool, ...] = (),
) -> Float[Array, "field wave"]:
    """Mean over rows of the power of each number of waves along the last dim.

    Args:
        fields: Any unit; any number of space axes.
        weights: Of the cells.
        periodic: Which axes close on themselves; empty: none.

    Returns:
        Square of the fields' unit; of periodic rows the sum is their mean variance.
    """
    width = fields.shape[-1]
    rows = power_spectrum(fields.reshape(-1, width), periodic[-1:])
    share = weights.reshape(-1, width).mean(axis=1)
    rows = rows.reshape(len(fields), len(share), -1)
    found: np.ndarray = _arrays.lib(rows).einsum("frw,r->fw", rows, share / share.sum())
    return found


@dataclass(frozen=True, kw_only=True)
class ZonalSpectrum(Score):
    """Log-spectral distance of members and truth along the last dim; 0.1 is about 10 % of power."""

    goal = "0"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """Mean power of members, then power of the truth, of 1 wave to half the cells of a row."""
        last = pairs.truth.shape[-1] // 2
        if last < 1:
            raise DataError("zonal_spectrum: rows of one cell have no waves; leave this score out")
        count = pairs.members.shape[1]
        members = _arrays.beside(np.zeros((len(pairs.truth), last)), pairs.truth)
        for number in range(count):
            found = zonal_spectrum(pairs.members[:, number], pairs.weights, pairs.periodic)
            members += found[:, 1 : last + 1] / count
        truth = zonal_spectrum(pairs.truth, pairs.weights, pairs.periodic)[:, 1 : last + 1]
        return _arrays.lib(truth).concatenate([members, truth], axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """Root mean square of the log ratio."""
        return log_distance(means)

    def unit(self, unit: str) -> str:
        """None."""
        return "1"
