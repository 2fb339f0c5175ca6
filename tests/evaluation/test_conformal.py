"""Rows of conformal intervals, by hand, and in blocks as in one piece."""

from dataclasses import replace

import numpy as np
import pytest

from diffsci.evaluation.blocks import Lazy, of
from diffsci.evaluation.conformal import rows
from tests.evaluation.toys import AIR, globe, results, table


def test_coverage_and_width_are_area_means_and_blocks_change_nothing():
    found = results(globe(), leads=(6.0, 12.0), cases=5)
    truth = found.truth[:, None].astype(np.float64)
    # The truth lies within in the northern rows alone, and one cell is missing.
    lower = truth + np.where(np.array(globe().coordinates[0]) > 40, -1.0, 0.5)[:, None]
    truth[2, 0, 1, 0, 0, 0] = np.nan
    ends = np.concatenate([lower, lower + 1.5], axis=1)
    made = list(rows([of(ends)], [0.9], of(truth), table(found, "crps"), (AIR,), globe()))
    assert [(row.score, row.lead) for row in made] == [
        (f"conformal_90{end}", lead) for end in ("", "_width") for lead in (None, 6.0, 12.0)
    ]
    weights = globe().cell_weights
    north = (np.array(globe().coordinates[0]) > 40)[:, None] * weights
    share = north.sum() / weights.sum()
    hole = (north.sum() - north[0, 0]) / (weights.sum() - weights[0, 0])
    # All cases are alike at the first lead, so that all resamples are.
    assert (made[1].low, made[1].value, made[1].high) == pytest.approx((share, share, share))
    assert made[2].value == pytest.approx((4 * share + hole) / 5)
    assert all(row.value == pytest.approx(1.5) for row in made[3:]) and made[3].unit == "K"

    def lazy(values):
        return Lazy(shape=values.shape, reads=lambda c, n, k: values[c, :, n, k])

    told = table(found, "crps")
    again = list(rows([lazy(ends)], [0.9], lazy(truth), told, (AIR,), globe(), most=1))
    assert [replace(row, value=0.0, low=0.0, high=0.0) for row in made] == [
        replace(row, value=0.0, low=0.0, high=0.0) for row in again
    ]
    for one, other in zip(made, again, strict=True):
        assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))
