"""Whether constraints fit each other: rows that follow from others, or contradict them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci import families
from diffsci.constraints.base import Equations, Setting, squared_scales
from diffsci.errors import ConfigError

if TYPE_CHECKING:
    from diffsci.constraints._projection import Projection

_MOST_BYTES = 1_000_000_000
_SINGULAR = 1e-10
"""Of the largest eigenvalue of rows of unit length: what is below follows from the others."""


def check_size(equations: Sequence[Equations], setting: Setting) -> None:
    """Refuse rows that do not fit into memory.

    Raises:
        ConfigError: Naming the member.
    """
    cells = int(np.prod(setting.shape))
    for each in equations:
        values = each.values(setting)
        count = len(values) if values is not None else 0
        if count * cells * 16 > _MOST_BYTES:
            raise ConfigError(
                f"constraints: {families.name_of(each)} has {count} rows of {cells} values, more "
                f"than fit into {_MOST_BYTES / 1e9:g} GB; take fewer rows, or a smaller grid"
            )


def inverse(made: Projection, gram: Float[Tensor, "row row"]) -> Float[Tensor, "row row"]:
    """G^-1 on what rows say of their own.

    Raises:
        ConfigError: For a row that can never be met, and for rows that contradict each other.
    """
    if not len(gram):
        return gram
    own = squared_scales(made.setting, made.rows)
    whole = (own * made.rows**2).flatten(1).sum(dim=1)
    free = gram.diagonal() / whole
    if bool((free < _SINGULAR).any()):
        row = int(free.argmin())
        words = ", ".join(map(families.name_of, made.subspaces))
        raise ConfigError(
            f"constraints: {made.names[row]} is singular beside {words}: where that holds, its row "
            f"{row} is zero for every state; leave one of them out"
        )
    size = gram.diagonal().sqrt()
    values, vectors = torch.linalg.eigh(gram / size / size[:, None])
    same = values < _SINGULAR * values[-1]
    if bool(same.any()):
        _check_consistent(made, vectors[:, same] / size[:, None])
    turned = vectors / size[:, None]
    weights = torch.where(same, 0.0, 1 / torch.where(same, 1.0, values))
    found: Tensor = (turned * weights) @ turned.mT
    return found


def _check_consistent(made: Projection, empty: Float[Tensor, "row other"]) -> None:
    """Combinations of rows that are zero for all states must be zero for their values too."""
    known = torch.nan_to_num(made.values)
    fixed = ~torch.isnan(made.values)
    for combination in empty.mT:
        part = combination.abs() > 1e-6 * combination.abs().max()
        words = sorted({made.names[row] for row in part.nonzero().flatten().tolist()})
        mixed = bool(fixed[part].any()) and not bool(fixed[part].all())
        sum_of = float((combination * known).sum())
        size = float((combination.abs() * known.abs()).sum())
        if mixed or abs(sum_of) > 1e-9 * max(size, 1e-300):
            raise ConfigError(
                f"constraints: {' and '.join(words)} contradict each other: they give the same "
                "combination of values two different sizes; leave one of them out"
            )


def check_bounds(made: Projection) -> None:
    """Refuse equations that no state within the bounds can meet."""
    if not made.bounded or not len(made.rows):
        return
    low = made.low.expand(made.setting.shape)
    high = made.high.expand(made.setting.shape)
    least, most = _least(made.rows, low, high), -_least(-made.rows, low, high)
    for row, value in enumerate(made.values.tolist()):
        # A NaN is that of a frame that is given, which is known only then.
        slack = 1e-9 * (1 + abs(value))
        if value < float(least[row]) - slack or value > float(most[row]) + slack:
            raise ConfigError(
                f"constraints: {made.names[row]} and bounds contradict each other: its row {row} "
                f"asks for {value:g}, and within the bounds it is {float(least[row]):g} to "
                f"{float(most[row]):g}"
            )


def _least(rows: Tensor, low: Tensor, high: Tensor) -> Float[Tensor, " row"]:
    """The smallest values of rows for states within bounds."""
    zero = torch.zeros_like(rows)
    ends = torch.where(rows > 0, rows * low, zero) + torch.where(rows < 0, rows * high, zero)
    return ends.flatten(1).sum(dim=1)
