"""Precision: what a store keeps of its values, by declaration and never by itself.

Rounding to N bits of the significand makes an error of at most 2^-(N+1), relative; bits that are
cleared compress to nothing. Packing to 16-bit integers makes an absolute error of at most the one
that was declared. Both are stated in the attributes of each variable.

Source: Klöwer et al. (2021), Compressing atmospheric data into its real information content,
doi:10.1038/s43588-021-00156-2, for the rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from diffsci.errors import ConfigError, NumericsError
from diffsci.sections.storing import Storing

_HIDDEN = 23
"""Bits of the significand of float32 that are stored."""

_FILL = -32768
"""The packed integer that stands for NaN."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is kept of one variable.

    Args:
        dtype: As it is stored.
        bits: Of the significand; 23 keeps all.
        accuracy: Largest error of packing; none where it is not packed.
        offset: What is packed as 0.
    """

    dtype: str = "float32"
    bits: int = _HIDDEN
    accuracy: float | None = None
    offset: float = 0.0

    def encode(self, name: str, values: Float32[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "..."]:
        """What is stored for some values; NaN stays NaN.

        Raises:
            NumericsError: For values that do not fit.
        """
        if self.accuracy is not None:
            return self._packed(name, values)
        if self.dtype == "float16":
            largest = float(np.finfo(np.float16).max)
            _require_within(name, values, -largest, largest, "float16", "bits:10")
            return values.astype(np.float16)
        return rounded(values, self.bits)

    def _packed(self, name: str, values: np.ndarray) -> np.ndarray:
        assert self.accuracy is not None
        step, reach = 2 * self.accuracy, -_FILL - 1
        low, high = self.offset - reach * step, self.offset + reach * step
        what = f"16-bit integers with an accuracy of {self.accuracy:g}"
        _require_within(name, values, low, high, what, "a larger accuracy")
        found = np.rint((values.astype(np.float64) - self.offset) / step)
        return np.where(np.isnan(found), _FILL, found).astype(np.int16)

    @property
    def encoding(self) -> dict[str, Any]:
        """For xarray's writer."""
        if self.accuracy is None:
            return {"dtype": self.dtype, "_FillValue": np.dtype(self.dtype).type(np.nan)}
        packing = {"scale_factor": 2 * self.accuracy, "add_offset": self.offset}
        return {"dtype": "int16", "_FillValue": np.int16(_FILL), **packing}

    @property
    def attributes(self) -> dict[str, str]:
        """What readers are told."""
        if self.accuracy is not None:
            return {"precision": f"packed: absolute error at most {self.accuracy:g}"}
        if self.dtype == "float16":
            return {"precision": "float16: relative error at most 4.9e-4 above 6.1e-5"}
        if self.bits < _HIDDEN:
            error = 2.0 ** -(self.bits + 1)
            told = f"rounded to {self.bits} bits of the significand: relative error at most"
            return {"precision": f"{told} {error:.2g}"}
        return {}


def kept_of(
    storing: Storing, variables: Collection[str], means: Mapping[str, float]
) -> dict[str, Kept]:
    """What is kept of each variable.

    Args:
        storing: As asked for.
        variables: Names of those of the store.
        means: Typical value of each, about which it is packed.

    Raises:
        ConfigError: For a variable that is not there.
    """
    unknown = sorted(set(storing.accuracy) - set(variables))
    if unknown:
        raise ConfigError(
            f"sample.store.accuracy.{unknown[0]}: no such variable; there are "
            f"{', '.join(sorted(variables))}"
        )
    found = {}
    for name in variables:
        accuracy = storing.accuracy.get(name)
        if accuracy is not None:
            step = 2 * accuracy
            offset = float(np.rint(means[name] / step) * step)
            found[name] = Kept(dtype="int16", accuracy=accuracy, offset=offset)
        elif storing.precision == "float16":
            found[name] = Kept(dtype="float16")
        else:
            _, _, bits = storing.precision.partition(":")
            found[name] = Kept(bits=int(bits or _HIDDEN))
    return found


def rounded(values: Float32[np.ndarray, "*shape"], bits: int) -> Float32[np.ndarray, "*shape"]:
    """Values with so many bits of the significand, to nearest, ties to even.

    Rounding again changes nothing.
    """
    drop = _HIDDEN - bits
    if drop <= 0:
        return values
    integers = np.ascontiguousarray(values).view(np.uint32)
    half = np.uint32((1 << (drop - 1)) - 1)
    odd = (integers >> np.uint32(drop)) & np.uint32(1)
    mask = np.uint32(0xFFFFFFFF ^ ((1 << drop) - 1))
    found = ((integers + half + odd) & mask).view(np.float32)
    # The bits of NaN would wrap around; an infinity has none to round.
    return np.where(np.isfinite(values), found, values)


def _require_within(
    name: str, values: np.ndarray, low: float, high: float, what: str, instead: str
) -> None:
    found = values[np.isfinite(values)] if not np.isfinite(values).all() else values
    if found.size and (found.min() < low or found.max() > high):
        raise NumericsError(
            f"sample.store: {name} reaches from {found.min():g} to {found.max():g}, and {what} "
            f"hold {low:g} to {high:g}; take {instead}"
        )
