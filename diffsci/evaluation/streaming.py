"""Streaming: the statistics of all scores in one pass over forecasts and truth, block by block.

A score of single cells sees slabs of rows: its statistics are means over cells, so those of a field
are the means of the slabs', weighed by their size. Other scores see whole fields, one case at a
time where these are large. What is held does not grow with cases and leads, but for the statistics
themselves. Slabs are worked on by threads; they are added in their order, so that the bits do not
depend on how many there are. Where a device of torch is given, scores that can be are computed
there; see `on_device.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from diffsci.data.fields import Channel
from diffsci.errors import DataError, NumericsError
from diffsci.evaluation import masking
from diffsci.evaluation.blocks import Values, blocks, slabs
from diffsci.evaluation.checks import check_finite
from diffsci.evaluation.scores.base import Climate, Pairs, Score
from diffsci.grid import Grid

if TYPE_CHECKING:
    from diffsci.evaluation.on_device import OnDevice

Found = dict[tuple[str, str, str], np.ndarray]
"""Forecast, variable, score -> `[lead, case, statistic]`."""

_SLAB_BYTES = 32_000_000
"""Of a slab in float64; smaller fields are scored whole."""

_SET_BYTES = 4_000_000_000
"""Of all cases of one variable and lead, for scores that need all of them at once."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What is the same for all forecasts.

    Args:
        channels: What each channel is.
        grid: Where the values sit.
        leads: Of each forecast step; 0 alone without leads.
        labels: Class of each case.
        train: Training fields, for scores that compare with them.
        train_labels: Their classes.
        keys: Names of the cases, for messages.
        sources: Name of a forecast, or `truth` -> its file, where it has one.
        lead_unit: Unit of the leads, for messages; empty without leads.
    """

    channels: Sequence[Channel]
    grid: Grid
    leads: tuple[float, ...]
    labels: np.ndarray | None = None
    train: Float[np.ndarray, "example channel *space"] | None = None
    train_labels: np.ndarray | None = None
    keys: Sequence[str] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    lead_unit: str = ""

    def spot(self, lead: int, cell: tuple[int, ...]) -> str:
        """Lead and coordinates of a value in words.

        Args:
            lead: Number of the step.
            cell: Number along each dim of space.
        """
        grid = self.grid
        hours = f" ({self.leads[lead]:g} {self.lead_unit})" if self.lead_unit else ""
        if grid.places is not None:
            names = ("latitude", "longitude")
            at = [f"{name} {getattr(grid.places, name)[cell]:g}" for name in names]
        else:
            lines = zip(grid.dims, grid.coordinates, cell, strict=True)
            at = [f"{dim} {values[number]:g}" for dim, values, number in lines]
        return f"{hours}, {', '.join(at)}"

    def pairs(self, index: int, levels: tuple[float, ...], whole: bool) -> Pairs:
        """Of one channel, without members and truth yet.

        Args:
            index: Of the channel.
            levels: Quantiles of the training set to make.
            whole: Whether some score needs the training fields themselves.
        """
        grid, train = self.grid, None
        if self.train is not None:
            train = self.train[:, index].astype(np.float64)
        sphere = grid.geometry == "sphere" and grid.dims[0] == "latitude"
        nothing = np.empty((0, 1, *grid.sizes))
        return Pairs(
            members=nothing,
            truth=nothing[:, 0],
            weights=grid.cell_weights,
            labels=self.labels,
            train=train if whole else None,
            train_labels=self.train_labels,
            periodic=tuple(sides[0] == "periodic" for sides in grid.boundary),
            climate=None if train is None else Climate.of(train, levels),
            latitudes=np.array(grid.coordinates[0]) if sphere else None,
        )


def statistics(
    forecasts: Mapping[str, Values],
    truth: Values,
    measures: Mapping[str, Score],
    beside: Beside,
    most: int,
    device: str | None = None,
) -> Found:
    """Statistics of every forecast, variable and score.

    Args:
        forecasts: Name -> members.
        truth: As a single member.
        measures: Name -> score.
        beside: What belongs to both.
        most: Bytes of a block.
        device: Of torch, for scores that can be computed there; none takes numpy alone.

    Raises:
        DataError: When the truth or a forecast of a file has a value that is not finite, or a set
            is too large.
        NumericsError: When a forecast that was computed has one, naming variable, case and lead.
    """
    found: Found = {}
    levels = tuple({level for score in measures.values() for level in score.quantile_levels})
    together = {word: score for word, score in measures.items() if score.scope == "set"}
    apart = {word: score for word, score in measures.items() if score.scope != "set"}
    away = None if device is None else _away(device)
    there = away.able(measures) if away else {}
    apart = {word: score for word, score in apart.items() if word not in there}
    ready = [beside.pairs(index, levels, bool(together)) for index in range(truth.shape[3])]
    shapes = {name: values.shape for name, values in forecasts.items()}
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as threads:
        for cases, leads in blocks(shapes, most):
            for index, bare in enumerate(ready):
                for name, members, true in _read(forecasts, truth, beside, index, (cases, leads)):
                    for step in range(true.shape[1]):
                        pairs = _pairs(bare, members[:, :, step], true[:, step], cases)
                        made = _apart(pairs, apart, threads)
                        made |= away.statistics(pairs, there) if away else {}
                        for word, values in made.items():
                            key = (name, beside.channels[index].name, word)
                            _into(found, key, values, truth.shape, leads.start + step, cases)
    for index, bare in enumerate(ready):
        for word, score in together.items():
            for name, source in forecasts.items():
                key = (name, beside.channels[index].name, word)
                for lead in range(truth.shape[2]):
                    _check_set(word, source.shape)
                    every = (slice(0, truth.shape[0]), slice(lead, lead + 1))
                    ((_, members, true),) = _read({name: source}, truth, beside, index, every)
                    pairs = _pairs(bare, members[:, :, 0].astype(np.float64), true[:, 0], every[0])
                    _into(found, key, masking.statistics(score, pairs), truth.shape, lead, every[0])
    for (name, channel, word), all_leads in list(found.items()):
        found[name, channel, word] = measures[word].along(all_leads, beside.leads)
    return found


def _away(device: str) -> OnDevice:
    # Imported here: without a device scores need no torch, which takes seconds.
    from diffsci.evaluation.on_device import OnDevice

    return OnDevice(name=device)


def _read(
    forecasts: Mapping[str, Values],
    truth: Values,
    beside: Beside,
    index: int,
    block: tuple[slice, slice],
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Each forecast's members of a block, and the truth, which is read once; both are checked."""
    cases, leads = block
    channel = beside.channels[index]
    true = np.asarray(truth.read(cases, leads, index)[:, 0])
    where = (cases.start, leads.start, beside.keys, beside.leads)
    gaps = masking.allowed(true, channel, where)
    part = len(true) < truth.shape[0] or true.shape[1] < truth.shape[2]
    gaps = None if gaps is None else gaps[:, None]
    files = beside.sources
    check_finite(
        "truth", true[:, None], channel, where, DataError, gaps, part, beside.spot,
        files.get("truth", ""),
    )  # fmt: skip
    for name, values in forecasts.items():
        members = np.asarray(values.read(cases, leads, index))
        file = files.get(name, "")
        check_finite(name, members, channel, where, NumericsError, gaps, part, beside.spot, file)
        yield name, members, true


def _pairs(bare: Pairs, members: np.ndarray, truth: np.ndarray, cases: slice) -> Pairs:
    labels = None if bare.labels is None else bare.labels[cases]
    return replace(bare, members=members, truth=truth.astype(np.float64), labels=labels)


def _apart(
    pairs: Pairs, measures: Mapping[str, Score], threads: ThreadPoolExecutor
) -> dict[str, Float[np.ndarray, "case statistic"]]:
    """Statistics of scores that need no other case; of cells in slabs."""
    cells = {word: score for word, score in measures.items() if score.scope == "cells"}
    fields = {word: score for word, score in measures.items() if score.scope == "field"}
    found: dict[str, np.ndarray] = {}
    for rows, part in masking.filled(pairs):

        def of_slab(slab: slice, part: Pairs = part) -> dict[str, np.ndarray]:
            cut = part.rows(slab)
            return {word: score.statistics(cut) for word, score in cells.items()}

        size = pairs.truth.shape[1]
        cut = list(slabs(size, 8 * part.members[:, :, :1].size, _SLAB_BYTES))
        made = list(threads.map(of_slab, cut)) if cells else []
        whole = replace(part, members=part.members.astype(np.float64)) if fields else part
        for word, score in measures.items():
            if word in cells:
                # A mean over all cells is that over slabs, each by its share of the rows.
                block = made[0][word] * ((cut[0].stop - cut[0].start) / size)
                for slab, more in zip(cut[1:], made[1:], strict=True):
                    block = block + more[word] * ((slab.stop - slab.start) / size)
            else:
                block = score.statistics(whole)
            into = found.setdefault(word, np.empty((len(pairs.truth), block.shape[1])))
            into[rows] = block
    return found


def _into(
    found: Found,
    key: tuple[str, str, str],
    values: np.ndarray,
    shape: tuple[int, ...],
    lead: int,
    cases: slice,
) -> None:
    """Put statistics in their place."""
    into = found.setdefault(key, np.empty((shape[2], shape[0], values.shape[1])))
    into[lead, cases] = values


def _check_set(word: str, shape: tuple[int, ...]) -> None:
    size = 8 * shape[0] * shape[1] * int(np.prod(shape[4:]))
    if size > _SET_BYTES:
        raise DataError(
            f"{word}: compares all cases with each other, which are {size / 1e9:.0f} GB; leave it "
            "out, or score fewer cases"
        )
