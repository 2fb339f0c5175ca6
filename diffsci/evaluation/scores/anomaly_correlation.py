"""Anomaly correlation: does the ensemble mean depart from the climate where the truth does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class AnomalyCorrelation(Score):
    """Correlation of the anomalies of ensemble mean and truth from the training mean of each cell.

    Sums over space and cases are taken before the ratio, uncentred, as WMO has it.

    Source:
        WMO (2019), Manual on the Global Data-processing and Forecasting System, WMO-No. 485,
        appendix 2.2.34.
    """

    goal = "1"
    bounds = (-1.0, 1.0)
    scope = "cells"
    anywhere = True
    needs_train = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """Area means of the product of the anomalies, and of their squares."""
        usual = pairs.usual("anomaly_correlation")
        forecast, truth = pairs.members.mean(axis=1) - usual, pairs.truth - usual
        products = (forecast * truth, forecast**2, truth**2)
        return _arrays.lib(truth).stack([pairs.average(product) for product in products], axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The product over the roots of the squares; NaN where nothing departs."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(means[..., 0] / np.sqrt(means[..., 1] * means[..., 2]))

    def unit(self, unit: str) -> str:
        """None."""
        return "1"
