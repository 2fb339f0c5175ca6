"""Energy score: the CRPS of whole fields, with a distance of fields in place of that of numbers.

E|X - y| - E|X - X'| / 2 with |d| the root of the area mean of d^2. Unlike the mean CRPS of all
cells it sees whether they hang together, though it mostly sees the mean (Pinson, Tastu 2013).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score


@dataclass(frozen=True, kw_only=True)
class Energy(Score):
    """Fair energy score of whole fields, by the area-weighted root mean square distance.

    Source:
        Gneiting, Raftery (2007), Strictly proper scoring rules, doi:10.1198/016214506000001437.
    """

    goal = "0"
    equitable = True
    fewest_members = 2
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """The score of each case; the distance itself with one member."""
        cases, count = pairs.members.shape[:2]
        xp = _arrays.lib(pairs.members)
        weight = xp.sqrt(pairs.weights / math.prod(pairs.weights.shape)).reshape(-1)
        members = pairs.members.reshape(cases, count, -1)
        truth = pairs.truth.reshape(cases, 1, -1)
        error = apart = _arrays.beside(np.zeros(cases), pairs.truth)
        for number in range(count):
            member = members[:, number : number + 1]
            error = error + xp.linalg.norm((member - truth) * weight, axis=-1)[:, 0] / count
            # One pair at a time: of large fields all at once would be as large as the ensemble.
            for other in range(number + 1, count):
                pair = (members[:, other] - member[:, 0]) * weight
                apart = apart + xp.linalg.norm(pair, axis=-1)
        if count == 1:
            return error[:, None]
        # Each pair was counted once: E|X - X'| / 2 is their sum over m (m - 1).
        return (error - apart / (count * (count - 1)))[:, None]

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """The mean itself."""
        return means[..., 0]

    def unit(self, unit: str) -> str:
        """That of the variable."""
        return unit
