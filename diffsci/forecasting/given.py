"""What is known of some cases before an ensemble of them is made, ready for the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.data.examples.cases import Evaluation
from diffsci.data.fields import Cases
from diffsci.errors import DataError
from diffsci.forecasting.observations import Observations, of_truth
from diffsci.sections import Observing


@dataclass(frozen=True, kw_only=True)
class Given:
    """What is known of some cases, ready for the engine.

    Args:
        cases: Their labels.
        known: Normalised, as `Task.observe` gives it; none for `generate`.
        scalars: Encoded, one row per case.
        observed: What guides their samples, where anything does.
        ensemble: Whether `known` has an axis of members after that of the cases: member k begins
            from state k, and where there are fewer, from the first again. So have `edges`.
        kept: Values that members have as they were given, physical units, NaN elsewhere; none
            where nothing is kept.
        edges: Rims of the normalised states at each lead, where the task is given them.
    """

    cases: Cases
    known: Tensor | None
    scalars: Tensor | None
    observed: Observations | None = None
    ensemble: bool = False
    kept: np.ndarray | None = None
    edges: Tensor | None = None

    def with_kept(
        self, pairs: Sequence[tuple[int, int]], values: Float[np.ndarray, "row lead channel *space"]
    ) -> Float[np.ndarray, "row lead channel *space"]:
        """Physical values of some rows, bit for bit as given where a value was given.

        Args:
            pairs: Place of the case, and number of the member, of each row.
            values: What was sampled; NaN, where a member failed, stays NaN.
        """
        if self.kept is None:
            return values
        own = self.kept[[case for case, _ in pairs]][:, None]
        return np.where(np.isnan(own) | np.isnan(values), values, own)

    def of(self, pairs: Sequence[tuple[int, int]]) -> Tensor | None:
        """What is known of each row: place of its case, and number of its member."""
        return self._rows(self.known, pairs)

    def edges_of(self, pairs: Sequence[tuple[int, int]]) -> Tensor | None:
        """The rims of each row."""
        return self._rows(self.edges, pairs)

    def _rows(self, known: Tensor | None, pairs: Sequence[tuple[int, int]]) -> Tensor | None:
        if known is None:
            return None
        cases = [case for case, _ in pairs]
        if not self.ensemble:
            return known[cases]
        return known[cases, [member % known.shape[1] for _, member in pairs]]

    @classmethod
    def of_tests(cls, evaluation: Evaluation, observing: Observing | None) -> Given:
        """The test cases, with observations of their truth where these are asked for."""
        observed = None
        if observing is not None:
            observed = _of_blocks(observing, evaluation)
        return cls(
            cases=evaluation.cases,
            known=evaluation.given,
            scalars=evaluation.scalars,
            observed=observed,
            kept=evaluation.kept,
            edges=evaluation.edges,
        )


def _of_blocks(observing: Observing, evaluation: Evaluation) -> Observations:
    """Observations of all cases, whose truth is read some cases at a time."""
    cases = evaluation.cases
    parts = [
        of_truth(observing, block, replace(cases, keys=cases.keys[part]))
        for part, block in evaluation.truth.blocks()
    ]
    return replace(parts[0], values=torch.cat([part.values for part in parts]))


def together(parts: Sequence[Given]) -> Given:
    """Several cases of one model as one.

    Raises:
        DataError: Where two have one key, and so would have the same noise.
    """
    cases = [part.cases for part in parts]
    keys = tuple(key for each in cases for key in each.keys)
    if len(set(keys)) < len(keys):
        raise DataError("two cases have one label: give each sample of the file its own")
    known = [part.known for part in parts if part.known is not None]
    edges = [part.edges for part in parts if part.edges is not None]
    scalars = [part.scalars for part in parts if part.scalars is not None]
    kept = [part.kept for part in parts if part.kept is not None]
    labels = {
        name: np.concatenate([each.labels[name] for each in cases]) for name in cases[0].labels
    }
    joined = replace(
        cases[0],
        rows=np.concatenate([each.rows for each in cases]),
        keys=keys,
        trajectories=np.concatenate([each.trajectories for each in cases]),
        times=np.concatenate([each.times for each in cases]),
        labels=labels,
        # Each part counts in times of its own; valid times are counted on from the starts.
        stamps=None,
    )
    return Given(
        cases=joined,
        known=torch.cat(known) if known else None,
        edges=torch.cat(edges) if edges else None,
        scalars=torch.cat(scalars) if scalars else None,
        kept=np.concatenate(kept) if kept else None,
    )
