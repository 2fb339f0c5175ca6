"""Features of fields: a few numbers that are declared, computed from the field alone.

No network and no download: `spectral` are the mean, the logarithm of the standard deviation and
that of the power in octaves of wavenumbers; `projections` are means with fixed random weights.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores.spectrum import power_spectrum

_OCTAVES = 6
_TINY = 1e-300


def features(
    fields: Float[np.ndarray, " field *space"],
    weights: Float[np.ndarray, "*space"],
    periodic: tuple[bool, ...],
    kind: Literal["spectral", "projections"],
) -> Float[np.ndarray, "field feature"]:
    """The features of each field.

    Args:
        fields: Any unit; a change of unit shifts or scales each feature.
        weights: Of the cells, mean 1.
        periodic: Which axes close on themselves.
        kind: Which features.
    """
    flat = fields.reshape(len(fields), -1)
    share = weights.reshape(-1) / weights.size
    if kind == "projections":
        directions = np.random.default_rng(0).standard_normal((flat.shape[1], 8))
        return np.asarray(flat @ (directions * np.sqrt(share)[:, None]))
    mean = flat @ share
    variance = (flat - mean[:, None]) ** 2 @ share
    power = power_spectrum(fields, periodic)[:, 1:]
    edges = [2**n - 1 for n in range(_OCTAVES + 1) if 2**n - 1 < power.shape[1]]
    bands = np.add.reduceat(power, edges, axis=1) if edges else power
    logs = np.log(np.maximum(np.concatenate([variance[:, None], bands], axis=1), _TINY))
    return np.concatenate([mean[:, None], logs], axis=1)
