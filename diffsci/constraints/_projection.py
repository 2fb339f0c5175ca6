"""All constraints together: the nearest state that meets them, in float64.

With P the projection onto the subspaces and A the rows, x' = P x + P W A^T G^-1 (b - A P x), where
G = A P W A^T: the conditional mean given both. Bounds are met together with these by Dykstra's
alternating projections, which converge to the nearest state of the intersection.

Source: Boyle and Dykstra (1986), A method for finding projections onto the intersection of convex
sets, doi:10.1007/978-1-4613-9940-7_3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci import families
from diffsci.constraints._fitting import check_bounds, check_size, inverse
from diffsci.constraints.base import (
    Constraint,
    Equations,
    Interval,
    Setting,
    Subspace,
    squared_scales,
)
from diffsci.errors import ConfigError, NumericsError

_LEFT = 1e-9
"""In scales of channels: how far bounds and equations may be from each other at the end."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Projection:
    """Brings states onto all constraints.

    Args:
        setting: What states they hold for.
        subspaces: Of that kind.
        rows: The A of all equations, in float64.
        lift: P W A^T of each row.
        inverse: G^-1, or its pseudo-inverse where rows say the same.
        values: The b; a row is NaN where it is that of the given frame.
        low: Least values; -inf where there is none.
        high: Largest values.
        names: Member of each row.
    """

    setting: Setting
    subspaces: tuple[Subspace, ...]
    rows: Float[Tensor, "row channel *space"]
    lift: Float[Tensor, "row channel *space"]
    inverse: Float[Tensor, "row row"]
    values: Float[Tensor, " row"]
    low: Float[Tensor, "channel ..."]
    high: Float[Tensor, "channel ..."]
    names: tuple[str, ...]

    @classmethod
    def of(cls, constraints: Sequence[Constraint], setting: Setting) -> Projection:
        """Checked: none is singular, and none contradicts another.

        Args:
            constraints: Members of the family.
            setting: What states they hold for.

        Raises:
            ConfigError: Naming those that do not fit the states, or each other.
            DataError: For a file that does not fit.
        """
        for each in constraints:
            each.check(setting)
        equations = [each for each in constraints if isinstance(each, Equations)]
        subspaces = tuple(each for each in constraints if isinstance(each, Subspace))
        check_size(equations, setting)
        rows = np.concatenate(
            [np.zeros((0, *setting.shape)), *[each.rows(setting) for each in equations]]
        )
        counts = [len(each.rows(setting)) for each in equations]
        names = [families.name_of(each) for each in equations]
        values = np.concatenate([np.zeros(0), *[_values(each, setting) for each in equations]])
        low, high = _limits(constraints, setting)
        made = torch.from_numpy(rows)
        lift = squared_scales(setting, made) * made
        for each in subspaces if len(lift) else ():
            lift = each.project(lift, setting)
        gram = torch.einsum("ir,jr->ij", made.flatten(1), lift.flatten(1))
        found = cls(
            setting=setting,
            subspaces=subspaces,
            rows=made,
            lift=lift,
            inverse=torch.zeros_like(gram),
            values=torch.from_numpy(values),
            low=low,
            high=high,
            names=tuple(np.repeat(names, counts).tolist()) if names else (),
        )
        solved = inverse(found, (gram + gram.mT) / 2)
        check_bounds(found)
        return cls(**{**found.__dict__, "inverse": solved})

    @property
    def needs_given(self) -> bool:
        """Whether some rows keep what a given frame has."""
        return bool(torch.isnan(self.values).any())

    @property
    def bounded(self) -> bool:
        """Whether there are least or largest values."""
        return bool(torch.isfinite(self.low).any() or torch.isfinite(self.high).any())

    def target(
        self, given: Float[Tensor, "batch channel *space"] | None
    ) -> Float[Tensor, "batch row"]:
        """The b of each example.

        Args:
            given: The last given frame, physical; none where nothing is asked of it.
        """
        if given is None:
            return self.values[None]
        own = given.double().flatten(1) @ self.rows.flatten(1).mT.to(given.device)
        values = self.values.to(own.device)
        return torch.where(torch.isnan(values), own, values)

    def __call__(
        self,
        states: Float[Tensor, "batch channel *space"],
        given: Float[Tensor, "batch channel *space"] | None = None,
        *,
        rounds: int = 2000,
        exact: bool = True,
    ) -> Float[Tensor, "batch channel *space"]:
        """The nearest states that meet all, float64.

        Args:
            states: Physical.
            given: The last given frame, physical.
            rounds: Most alternations between bounds and the rest.
            exact: Whether to refuse what is not met at the end.

        Raises:
            NumericsError: Where bounds and the rest have nothing in common.
        """
        x, b = states.double(), self.target(given)
        x = self._linear(x, b)
        if not self.bounded:
            return x
        scale = squared_scales(self.setting, x).sqrt()
        low, high = self.low.to(x.device), self.high.to(x.device)
        more, left = torch.zeros_like(x), torch.zeros(())
        for _ in range(rounds):
            inside = torch.clamp(x + more, low, high)
            more = x + more - inside
            x = self._linear(inside, b)
            left = ((x - inside) / scale).nan_to_num().abs().max()
            if not left > _LEFT:
                return inside
        if exact:
            words = ", ".join(dict.fromkeys([*self.names, *map(families.name_of, self.subspaces)]))
            raise NumericsError(
                f"constraints: {words} and the bounds are {float(left):.1e} std from each other "
                f"after {rounds} rounds: they contradict each other, or nearly; widen the bounds"
            )
        return inside

    def _linear(self, x: Tensor, b: Tensor) -> Tensor:
        for each in self.subspaces:
            x = each.project(x, self.setting)
        if not len(self.rows):
            return x
        rows, lift, inverse = (part.to(x.device) for part in (self.rows, self.lift, self.inverse))
        # Twice: the second takes what rounding has left of the first.
        for _ in range(2):
            left = b.to(x.device) - x.flatten(1) @ rows.flatten(1).mT
            x = x + ((left @ inverse) @ lift.flatten(1)).reshape(x.shape)
        return x

    def off(
        self,
        states: Float[Tensor, "batch channel *space"],
        given: Float[Tensor, "batch channel *space"] | None = None,
    ) -> Float[Tensor, " batch"]:
        """How far states are from meeting all: root mean square of what is to be changed, in std.

        Of a mean it is the mean's error over the channel's scale; of a velocity what of it points
        along its own waves.
        """
        x = states.double()
        b = self.target(given)
        change = self._linear(x, b) - x
        if self.bounded:
            low, high = self.low.to(x.device), self.high.to(x.device)
            outside = torch.clamp(x, low, high) - x
            change = torch.where(change.abs() > outside.abs(), change, outside)
        return (
            ((change / squared_scales(self.setting, x).sqrt()) ** 2).flatten(1).mean(dim=1).sqrt()
        )


def _values(each: Equations, setting: Setting) -> np.ndarray:
    values = each.values(setting)
    return np.full(len(each.rows(setting)), np.nan) if values is None else values


def _limits(constraints: Sequence[Constraint], setting: Setting) -> tuple[Tensor, Tensor]:
    """The tightest of all bounds."""
    low = np.full(len(setting.channels), -np.inf)
    high = np.full(len(setting.channels), np.inf)
    for each in constraints:
        if isinstance(each, Interval):
            for number, (least, most) in enumerate(each.limits(setting.channels)):
                low[number] = max(low[number], -np.inf if least is None else least)
                high[number] = min(high[number], np.inf if most is None else most)
    for name, least, most in zip(setting.channels, low, high, strict=True):
        if least > most:
            raise ConfigError(
                f"constraints: bounds of {name} contradict each other: at least {least:g}, at most "
                f"{most:g}"
            )
    shape = (-1, *[1] * len(setting.grid.sizes))
    return torch.from_numpy(low).reshape(shape), torch.from_numpy(high).reshape(shape)
