"""Rows: members of cases, as the engine takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from diffsci.forecasting.observations import Observations


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Some (case, member) pairs, in the order in which they are to be computed.

    Args:
        given: What is known of each row's case (see `Task.observe`); none for `generate`.
        scalars: Encoded scalars of each row's case.
        cases: Stable key of each row's case.
        members: Member number of each row.
        observed: What is observed of each row's case, where anything is.
        times: Valid time of each row at each lead, whole blocks of them; none without forcings.
        edges: Rims of the states of each row at each lead, where the task is given them.
    """

    given: Tensor | None
    scalars: Float[Tensor, "row parameter"] | None
    cases: tuple[str, ...]
    members: tuple[int, ...]
    observed: Observations | None = None
    times: np.ndarray | None = None
    edges: Float[Tensor, "row lead channel cell"] | None = None

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, index: list[int]) -> Rows:
        """The rows at these positions."""
        return Rows(
            given=None if self.given is None else self.given[index],
            scalars=None if self.scalars is None else self.scalars[index],
            cases=tuple(self.cases[i] for i in index),
            members=tuple(self.members[i] for i in index),
            observed=None if self.observed is None else self.observed.take(index),
            times=None if self.times is None else self.times[index],
            edges=None if self.edges is None else self.edges[index],
        )
