"""Infill: some cells are given, the others are sampled around them, and what is given is kept.

Which cells are given is drawn for each example, by a declared pattern, or read from a data set of
masks. Cells that are missing in the data are never given. What is known reaches the network as its
values, 0 (the mean) elsewhere, and as a mask of ones and zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diffsci.data.fields import Channel, Fields
from diffsci.data.tasks.base import Task
from diffsci.errors import DataError, require
from diffsci.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Infill(Task):
    """Sample the cells that are hidden from those that are known.

    Args:
        pattern: What is hidden: `boxes`, single `cells`, or whole `lines` along a dim.
        share: Least and largest share of the cells that are hidden.
        boxes: How many boxes, where these are hidden.
        masks: Entry or path of a data set that says which cells are known, in place of a pattern.
        variable: Its variable; what is neither 0 nor missing there is known.
        match: Whether a mask is that of the same `time`, or any of them, by `chance`.
        draws: Masks that are drawn for each training field.
        seed: Of the masks.
    """

    pattern: Literal["boxes", "cells", "lines"] = "boxes"
    share: tuple[float, float] = (0.25, 0.25)
    boxes: int = 1
    masks: str | None = None
    variable: str = "known"
    match: Literal["chance", "time"] = "chance"
    draws: int = 16
    seed: int = 0

    has_leads = False
    parts = ((0,),)

    def __post_init__(self) -> None:
        low, high = self.share
        require(0 < low <= high < 1, "share", self.share, "two shares, 0 < least <= largest < 1")
        for name in ("boxes", "draws"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")

    @property
    def frames(self) -> int:
        """One."""
        return 1

    @property
    def given_frames(self) -> int:
        """None: cells of the frame are given, not the frame."""
        return 0

    def check(self, fields: Fields) -> None:
        """Needs cells to hide beside cells to keep."""
        if int(np.prod(fields.grid.sizes)) < 2:
            raise DataError(f"{fields.source}: a field of one cell has nothing to fill in")

    def condition_channels(self, channels: int) -> int:
        """A mask and the known values of each channel."""
        return 2 * channels

    def given_states(self, channels: int) -> tuple[int, int]:
        """The known values, which come after the mask."""
        return channels, 2 * channels

    def vectors(self, channels: tuple[Channel, ...]) -> tuple[int, ...]:
        """See `Task.vectors`: a mask is the same on both sides of a pole."""
        count = len(channels)
        marked = [number for number, channel in enumerate(channels) if channel.vector]
        return (*marked, *(2 * count + number for number in marked))

    def hide(
        self,
        window: Float[Tensor, "n frame channel *space"],
        numbers: Int[np.ndarray, " n"],
        masks: Bool[Tensor, "n *space"] | None = None,
    ) -> Float[Tensor, "n frame channel *space"]:
        """See `Task.hide`."""
        if masks is None:
            drawn = [self._drawn(int(number), window.shape[3:]) for number in numbers]
            masks = ~torch.from_numpy(np.stack(drawn))
        return torch.where(masks[:, None, None], window, torch.nan)

    def _drawn(self, number: int, sizes: tuple[int, ...]) -> Bool[np.ndarray, "*space"]:
        """Cells that are hidden: a function of seed and number."""
        random = np.random.default_rng([self.seed, number])
        share = random.uniform(*self.share)
        hidden = np.zeros(sizes, dtype=bool)
        if self.pattern == "boxes":
            side = (share / self.boxes) ** (1 / len(sizes))
            for _ in range(self.boxes):
                extents = [min(max(1, round(side * n)), max(1, n - 1)) for n in sizes]
                starts = [
                    int(random.integers(n - extent + 1))
                    for n, extent in zip(sizes, extents, strict=True)
                ]
                box = zip(starts, extents, strict=True)
                hidden[tuple(slice(start, start + extent) for start, extent in box)] = True
        else:
            shape = list(sizes)
            if self.pattern == "lines":
                dim = int(random.choice(np.flatnonzero(np.array(sizes) > 1)))
                shape = [n if dim == axis else 1 for axis, n in enumerate(sizes)]
            chosen = random.random(shape) < share
            if chosen.all() or not chosen.any():
                chosen.flat[int(random.integers(chosen.size))] = not chosen.any()
            hidden |= chosen
        return hidden

    def observe(
        self, window: Float[Tensor, "n frame channel *space"], grid: Grid
    ) -> Float[Tensor, "n given *space"]:
        """Where a value is known, and the values; NaN is what is not known."""
        state = window[:, 0]
        return torch.cat([(~state.isnan()).to(state), state.nan_to_num(nan=0.0)], dim=1)

    def condition(
        self, given: Tensor | None, grid: Grid, part: int = 0
    ) -> Float[Tensor, "n given *space"] | None:
        """The same."""
        return given

    def shown(self, given: Tensor | None, grid: Grid) -> Float[Tensor, "n channel *space"] | None:
        """The known values, and the mean elsewhere."""
        assert given is not None
        return given[:, given.shape[1] // 2 :]

    def kept(self, given: Tensor | None, channels: int) -> Bool[Tensor, "n channel *space"] | None:
        """See `Task.kept`."""
        assert given is not None
        return given[:, :channels] > 0.5

    def target(
        self,
        window: Float[Tensor, "n frame channel *space"],
        condition: Tensor | None,
        part: int = 0,
    ) -> Float[Tensor, "n channel *space"]:
        """The whole state: what is known too, or its noise would surprise the network."""
        return window[:, 0]

    def restore(
        self, target: Float[Tensor, "n channel *space"], condition: Tensor | None
    ) -> Float[Tensor, "n channel *space"]:
        """What was sampled, with the known values in their places."""
        assert condition is not None
        known, values = condition.tensor_split([target.shape[1]], dim=1)
        return torch.where(known > 0.5, values[:, : target.shape[1]], target)
