"""Frechet distance: do features of samples have the mean and covariance of those of truths.

|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), as the FID has it, with declared features in place of
those of a network; each feature is in units of its standard deviation among truths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores._features import features
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class Frechet(Score):
    """Squared Frechet distance of features of members and truths, over all cases.

    Args:
        features: `spectral`: mean, log standard deviation, log power in octaves of wavenumbers;
            `projections`: eight means with fixed random weights.

    Source:
        Dowson, Landau (1982), doi:10.1016/0047-259X(82)90077-X; Heusel et al. (2017),
        arXiv:1706.08500.
    """

    features: Literal["spectral", "projections"] = "spectral"
    goal = "0"

    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """First and second moments of the features of members, then of the truth."""
        beside = (pairs.weights, pairs.periodic, self.features)
        truth = features(pairs.truth, *beside)
        count = pairs.members.shape[1]
        found = [features(pairs.members[:, number], *beside) for number in range(count)]
        moments = [sum(one) / count for one in zip(*map(_moments, found), strict=True)]
        return np.concatenate([*moments, *_moments(truth)], axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The distance of two normal laws with these moments."""
        ours, theirs = np.split(means, 2, axis=-1)
        # k (k + 1) numbers.
        size = round((np.sqrt(1 + 4 * ours.shape[-1]) - 1) / 2)
        (mean, spread), (wanted, target) = (_law(one, size) for one in (ours, theirs))
        scale = np.sqrt(np.maximum(np.einsum("...ii->...i", target), 0))
        scale = np.where(scale > 1e-9 * np.abs(wanted), scale, 1.0)
        mean, wanted = mean / scale, wanted / scale
        both = scale[..., :, None] * scale[..., None, :]
        spread, target = spread / both, target / both
        root = _root(target)
        across = np.linalg.eigvalsh(root @ spread @ root)
        trace = np.einsum("...ii->...", spread) + np.einsum("...ii->...", target)
        apart = ((mean - wanted) ** 2).sum(axis=-1)
        return np.asarray(apart + trace - 2 * np.sqrt(np.maximum(across, 0)).sum(axis=-1))

    def unit(self, unit: str) -> str:
        """None."""
        return "1"


def _moments(found: Float[np.ndarray, "case k"]) -> tuple[np.ndarray, np.ndarray]:
    return found, (found[:, :, None] * found[:, None, :]).reshape(len(found), -1)


def _law(means: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance."""
    mean = means[..., :size]
    second = means[..., size:].reshape(*means.shape[:-1], size, size)
    return mean, second - mean[..., :, None] * mean[..., None, :]


def _root(matrix: np.ndarray) -> np.ndarray:
    """Square root of symmetric matrices; what rounding left below zero counts as zero."""
    values, vectors = np.linalg.eigh(matrix)
    scaled = vectors * np.sqrt(np.maximum(values, 0))[..., None, :]
    return np.asarray(scaled @ np.swapaxes(vectors, -1, -2))
