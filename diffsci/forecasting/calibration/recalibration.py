"""Recalibration: members spread about their centre as widely as they were found to be wrong.

A member k becomes `c + shift + f (x_k - c)`. The centre c is the mean of the first so many members
of the case, which is a number of the calibration and not of the store: so what becomes of member k
does not depend on how many others were asked for, and a store may grow. `fitted_spread.py` tells
where the numbers come from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from diffsci.diffusion.basis import Basis
from diffsci.errors import ConfigError, StorageError

FORMAT = 1

Members = Float[np.ndarray, "case member lead channel *space"]

_UNTOLD = {"sample.persistent_noise": "0"}
"""What a key means that is told only where it is something else."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recalibration:
    """What was fitted on validation cases.

    Args:
        shift: Added to every member.
        spread: Factor of each band about the centre.
        edges: Wavenumbers (as `Basis.wavenumber`) at which the next band begins; empty: one band.
        centre: Members whose mean is the centre.
        levels: Of the intervals.
        radius: Half an interval's width in units of `scale_of` the raw members there.
        cases: How many it was fitted on.
        made_for: What decides how wrong members are: weights, sampler, guidance.
    """

    shift: Float[np.ndarray, "lead channel"]
    spread: Float[np.ndarray, "lead channel band"]
    edges: tuple[float, ...]
    centre: int
    levels: tuple[float, ...]
    radius: Float[np.ndarray, "level lead channel"]
    cases: int
    made_for: Mapping[str, Any] = field(default_factory=dict)

    @property
    def leads(self) -> int:
        """Forecast steps it knows; 1 where there are none."""
        return len(self.shift)

    def part(self, leads: slice, channels: Sequence[int]) -> Recalibration:
        """That of some leads and channels."""
        index = list(channels)
        return replace(
            self,
            shift=self.shift[leads][:, index],
            spread=self.spread[leads][:, index],
            radius=self.radius[:, leads][:, :, index],
        )

    def __call__(self, members: Members, basis: Basis | None = None) -> Members:
        """Members as they are to be, in the same unit; those that are NaN stay so.

        Args:
            members: As they were drawn, from the first on, `centre` of each case at least.
            basis: Of the grid; bands need it.
        """
        self._require_enough(members)
        return self._about(members, basis)

    def intervals(
        self, members: Members
    ) -> Float[np.ndarray, "level bound case lead channel *space"]:
        """Lower and upper ends of each interval, about the mean of the first members.

        Nothing of them was fitted but the radius: what else depended on the validation cases would
        cost the guarantee.

        Args:
            members: As they were drawn; the first `centre` alone are used, of any number.
        """
        self._require_enough(members)
        first = members[:, : self.centre]
        middle, scale = mean_of(first), scale_of(first)
        ends = [
            np.stack([middle - _wide(radius, scale) * scale, middle + _wide(radius, scale) * scale])
            for radius in self.radius
        ]
        return np.stack(ends).astype(np.float32)

    def _about(
        self,
        members: Members,
        basis: Basis | None,
    ) -> Members:
        made = np.empty_like(members, dtype=np.float32)
        first = members[:, : self.centre]
        middle = mean_of(first)
        factor = _wide(self.spread[..., 0], middle)
        # What all members agree on to the last bit was given to them: it is known, and no forecast.
        known = (first == first[:, :1]).all(axis=1)
        shifted = middle + np.where(known, 0.0, _wide(self.shift, middle))
        for number in range(members.shape[1]):
            off = members[:, number] - middle
            if self.edges:
                assert basis is not None
                off = _each(off, self.spread, self.edges, basis)
            else:
                off = factor * off
            made[:, number] = shifted + off
        return made

    def _require_enough(self, members: Members) -> None:
        assert members.shape[1] >= self.centre, "the centre is the mean of more members than these"
        assert members.shape[2:4] == self.shift.shape, "leads and channels are not those fitted"

    def require_for(self, made_for: Mapping[str, Any], leads: int) -> None:
        """Refuse to correct what it was not fitted for.

        Args:
            made_for: Of the ensemble.
            leads: Forecast steps of the ensemble.

        Raises:
            ConfigError: Naming what differs, and the way out.
        """
        way = "; sample.calibrated=false leaves members as the model made them"
        for key in sorted({*self.made_for, *made_for}):
            old, new = (each.get(key, _UNTOLD.get(key)) for each in (self.made_for, made_for))
            if old != new:
                raise ConfigError(
                    f"sample: the calibration of this model was fitted with {key} {old}, and it is "
                    f"{new} now{way}"
                )
        if leads > self.leads:
            raise ConfigError(
                f"sample.leads: got {leads}, and the calibration of this model was fitted up to "
                f"step {self.leads}{way}"
            )

    @cached_property
    def digest(self) -> str:
        """Of all that decides the members."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """A document that `from_json` takes back to the same bits."""
        plain = {
            "format": FORMAT,
            "centre": self.centre,
            "cases": self.cases,
            "edges": list(self.edges),
            "levels": list(self.levels),
            **{name: getattr(self, name).tolist() for name in _ARRAYS},
            "made_for": dict(self.made_for),
        }
        return json.dumps(plain, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str, where: str) -> Recalibration:
        """What `to_json` gave.

        Raises:
            StorageError: For a newer format, or what is no calibration.
        """
        try:
            plain = json.loads(text)
            if plain["format"] > FORMAT:
                raise StorageError(
                    f"{where}: format {plain['format']} is newer than {FORMAT}, which this diffsci "
                    "reads; update diffsci"
                )
            arrays = {name: np.array(plain[name], dtype=np.float64) for name in _ARRAYS}
            arrays["radius"] = arrays["radius"].reshape(-1, *arrays["shift"].shape)
            return cls(
                centre=int(plain["centre"]),
                cases=int(plain["cases"]),
                edges=tuple(plain["edges"]),
                levels=tuple(plain["levels"]),
                made_for=dict(plain["made_for"]),
                **arrays,
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{where}: is no calibration ({error!r}); fit it again") from None


_ARRAYS = ("shift", "spread", "radius")

_FLOOR = 0.1
"""Share of a field's mean spread that its cells have at least, in quadrature."""


def mean_of(members: Members) -> Float[np.ndarray, "case lead channel *space"]:
    """Mean over the members that are not NaN, float64.

    One member after the other is added: no bit depends on what else is in the array.
    """
    total = np.zeros((len(members), *members.shape[2:]))
    count = np.zeros_like(total)
    for number in range(members.shape[1]):
        there = ~np.isnan(members[:, number])
        total += np.where(there, members[:, number], 0.0)
        count += there
    with np.errstate(invalid="ignore"):
        return np.asarray(total / np.where(count > 0, count, np.nan))


def variance_of(members: Members) -> Float[np.ndarray, "case lead channel *space"]:
    """Unbiased variance over the members that are not NaN, float64, added up as `mean_of` does."""
    middle = mean_of(members)
    total, count = np.zeros_like(middle), np.zeros_like(middle)
    for number in range(members.shape[1]):
        off = members[:, number] - middle
        there = ~np.isnan(off)
        total += np.where(there, off, 0.0) ** 2
        count += there
    return np.asarray(total / np.where(count > 1, count - 1, np.nan))


def scale_of(members: Members) -> Float[np.ndarray, "case lead channel *space"]:
    """What intervals count in: the spread of each cell, and a share of its field's.

    Where members agree exactly, as that it does not rain, an interval is not to be a point.
    """
    found = variance_of(members)
    space = tuple(range(3, found.ndim))
    there = ~np.isnan(found)
    total = np.where(there, found, 0.0).sum(axis=space, keepdims=True)
    mean = total / np.maximum(there.sum(axis=space, keepdims=True), 1)
    return np.asarray(np.sqrt(found + _FLOOR**2 * mean))


def filtered(
    fields: Float[np.ndarray, "case lead channel *space"],
    factors: Float[np.ndarray, "lead channel band"],
    edges: Sequence[float],
    basis: Basis,
) -> Float[np.ndarray, "case lead channel *space"]:
    """Fields whose bands of wavenumber are multiplied."""
    band = torch.bucketize(basis.wavenumber, torch.tensor(edges, dtype=torch.float64), right=True)
    waves = basis.forward(torch.from_numpy(fields.astype(np.float64)))
    return basis.inverse(torch.from_numpy(factors)[..., band] * waves).numpy()


def _each(
    fields: Float[np.ndarray, "case lead channel *space"],
    factors: Float[np.ndarray, "lead channel band"],
    edges: Sequence[float],
    basis: Basis,
) -> Float[np.ndarray, "case lead channel *space"]:
    """`filtered` field by field, so that no bit of a member depends on what lies beside it.

    Products of matrices may round otherwise where they have more rows.
    """
    made = np.empty_like(fields, dtype=np.float64)
    for case, lead, channel in np.ndindex(fields.shape[:3]):
        one = (slice(case, case + 1), slice(lead, lead + 1), slice(channel, channel + 1))
        made[one] = filtered(fields[one], factors[one[1:]], edges, basis)
    return made


def _wide(
    values: Float[np.ndarray, "lead channel"], like: Float[np.ndarray, "case lead channel *space"]
) -> Float[np.ndarray, "lead channel *ones"]:
    """Numbers of each lead and channel, beside fields."""
    return values.reshape(*values.shape, *[1] * (like.ndim - 3))
