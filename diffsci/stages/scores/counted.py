"""The truth, and how many of its values were missing where scores looked."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from diffsci.data.fields import Channel
from diffsci.evaluation.blocks import Values

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Counted(Values):
    """Values of which the missing ones are counted as they are read.

    Args:
        values: The truth, as a single member.
        missing: Cells without a value of each case, lead and channel that was read.
    """

    values: Values
    missing: Int[np.ndarray, "case lead channel"] = field(repr=False)

    @classmethod
    def of(cls, values: Values) -> Counted:
        """With nothing read yet."""
        cases, _, leads, channels = values.shape[:4]
        return cls(values=values, missing=np.zeros((cases, leads, channels), dtype=np.int64))

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """That of the truth."""
        return self.values.shape

    def read(
        self, cases: slice, leads: slice, channel: int
    ) -> Float[np.ndarray, "case member lead *space"]:
        """Those values, counted; what is read again counts once."""
        found = self.values.read(cases, leads, channel)
        space = tuple(range(3, found.ndim))
        self.missing[cases, leads, channel] = np.isnan(found[:, :1]).sum(axis=space)[:, 0]
        return found

    def told(self, channels: tuple[Channel, ...]) -> tuple[str, ...]:
        """What scores left out because the truth has gaps that move, and warnings that say so.

        Gaps that stay were told before, as cells (`foreign.beyond`).
        """
        found = []
        every = int(np.prod(self.shape)) // len(channels)
        for number, channel in enumerate(channels):
            missing = self.missing[..., number]
            static = channel.missing == "static"
            if not missing.any() or (static and (missing == missing.flat[0]).all()):
                continue
            text = f"{channel.name} has no truth in {int(missing.sum()):,} of {every:,} values"
            if static:
                text += ", though its gaps are declared static: how many there are changes"
            log.warning("%s: scored without them", text)
            found.append(text)
        return tuple(found)
