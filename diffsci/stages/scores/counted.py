"""The truth, and how many of its values were missing where scores looked."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import numpy as np
from jaxtyping import Bool, Float, Int

from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.evaluation.blocks import Through, Values

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Counted(Through):
    """Values of which the missing ones are counted as they are read.

    Args:
        values: The truth, as a single member.
        missing: Cells without a value of each case, lead and channel that was read.
        static: Channel number -> cells without a value in the first field, where gaps must stay.
        names: Of cases, leads and channels, for messages.
    """

    missing: Int[np.ndarray, "case lead channel"] = field(repr=False)
    static: Mapping[int, Bool[np.ndarray, "*space"]] = field(repr=False)
    names: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ())

    @classmethod
    def of(
        cls,
        values: Values,
        channels: tuple[Channel, ...],
        keys: tuple[str, ...],
        leads: tuple[float, ...] | None,
        lead_unit: str,
    ) -> Counted:
        """With nothing read yet but the gaps of the first field, where they are static."""
        first = (slice(0, 1), slice(0, 1))
        return cls(
            values=values,
            missing=np.zeros((values.shape[0], *values.shape[2:4]), dtype=np.int64),
            static={
                number: np.isnan(values.read(*first, number)[0, 0, 0])
                for number, channel in enumerate(channels)
                if channel.missing == "static"
            },
            names=(
                keys,
                tuple(f"{lead:g} {lead_unit}".strip() for lead in leads or ()),
                tuple(channel.name for channel in channels),
            ),
        )

    def read(
        self, cases: slice, leads: slice, channel: int
    ) -> Float[np.ndarray, "case member lead *space"]:
        """Those values, counted; what is read again counts once.

        Raises:
            DataError: Where gaps that are declared static are not those of the first field.
        """
        found = self.values.read(cases, leads, channel)
        space = tuple(range(2, found.ndim - 1))
        empty = np.isnan(found[:, 0])
        self.missing[cases, leads, channel] = empty.sum(axis=space)
        if channel in self.static:
            changed = (empty != self.static[channel]).any(axis=space)
            # A field of nothing at all is told where scores are made.
            changed &= ~empty.all(axis=space)
            if changed.any():
                case, lead = (int(number) for number in np.argwhere(changed)[0])
                self._refuse(
                    (cases.start or 0) + case, (leads.start or 0) + lead, channel, empty[case, lead]
                )
        return found

    def _refuse(
        self, case: int, lead: int, channel: int, empty: Bool[np.ndarray, "*space"]
    ) -> NoReturn:
        keys, leads, channels = self.names
        first, here = (
            f"case {keys[number]}" + (f", lead {leads[step]}" if leads else "")
            for number, step in ((0, 0), (case, lead))
        )
        raise DataError(
            f"truth: the gaps of {channels[channel]} are declared static, and they change: "
            f"{int(empty.sum()):,} of {empty.size:,} cells have no value in {here}, "
            f"{int(self.static[channel].sum()):,} in the first, {first}; nothing was scored; where "
            "gaps may move, `--missing moving`, or `missing: moving` of the variable"
        )

    def told(self, channels: tuple[Channel, ...]) -> tuple[str, ...]:
        """What scores left out because the truth has gaps that move, and warnings that say so.

        Gaps that stay were told before, as cells (`aligning`).
        """
        found = []
        every = int(np.prod(self.shape)) // len(channels)
        for number, channel in enumerate(channels):
            missing = self.missing[..., number]
            if not missing.any() or number in self.static:
                continue
            text = f"{channel.name} has no truth in {int(missing.sum()):,} of {every:,} values"
            log.warning("%s: scored without them", text)
            found.append(text)
        return tuple(found)
