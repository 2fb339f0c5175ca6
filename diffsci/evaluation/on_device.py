"""Statistics on a device of torch: a slab goes there, all scores of it are made, and come back.

What the device holds does not grow with cases, leads or, for scores of cells, with the field: at
most one slab in float64 and what a score makes on the way, some five times as much. Scores of
fields need whole ones, of one case at least. Numbers differ from numpy's by rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float

from diffsci.evaluation import masking
from diffsci.evaluation.blocks import slabs
from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores.base import Pairs, Score

log = logging.getLogger(__name__)

SLAB_BYTES = 256_000_000
"""Of a slab in float64: work enough for a GPU at each call, and little of its memory."""


@dataclass(frozen=True, kw_only=True)
class OnDevice:
    """Scores that are computed there.

    Args:
        name: Of the device, as torch names it.
    """

    name: str

    def able(self, measures: Mapping[str, Score]) -> dict[str, Score]:
        """Scores that are computed there; the log names those that are not."""
        there = {}
        # MPS has no float64, in which scores are computed.
        if not self.name.startswith("mps"):
            usable = (item for item in measures.items() if item[1].scope != "set")
            there = {word: score for word, score in usable if score.anywhere}
        here = [word for word in measures if word not in there]
        for place, words in ((f"on {self.name}", there), ("by the CPU", here)):
            if words:
                log.info("evaluate: %s: %s", place, ", ".join(words))
        return there

    def statistics(
        self, pairs: Pairs, measures: Mapping[str, Score]
    ) -> dict[str, Float[np.ndarray, "case statistic"]]:
        """Of each score; see `Score.statistics`.

        Args:
            pairs: Arrays of numpy, members of any precision.
            measures: Word -> score, none of which needs other cases.
        """
        found: dict[str, np.ndarray] = {}
        if not measures:
            return found
        wide = any(score.scope != "cells" for score in measures.values())
        for rows, part in masking.filled(pairs):
            one = 8 * int(np.prod(part.members.shape[1:]))
            for group in slabs(len(rows), one, SLAB_BYTES):
                made = self._group(_of_cases(part, group), measures, wide)
                for word, block in made.items():
                    shape = (len(pairs.truth), block.shape[1])
                    found.setdefault(word, np.empty(shape))[rows[group]] = block
        return found

    def _group(
        self, pairs: Pairs, measures: Mapping[str, Score], wide: bool
    ) -> dict[str, Float[np.ndarray, "case statistic"]]:
        """Of cases that go there together; whole where some score sees fields, else in slabs."""
        size = pairs.truth.shape[1]
        row_bytes = 8 * int(pairs.members[:, :, 0].size)
        held = self._moved(pairs) if wide else None
        sums: dict[str, _arrays.Array] = {}
        for slab in slabs(size, row_bytes, SLAB_BYTES):
            cut = self._moved(pairs.cut(slab)) if held is None else held.cut(slab)
            for word, score in measures.items():
                if score.scope == "cells":
                    # A mean over all cells is that over slabs, each by its share of the rows.
                    more = score.statistics(cut) * ((slab.stop - slab.start) / size)
                    sums[word] = sums[word] + more if word in sums else more
        if held is not None:
            fields = {word: score for word, score in measures.items() if score.scope != "cells"}
            sums |= {word: score.statistics(held) for word, score in fields.items()}
        return {word: _arrays.host(block) for word, block in sums.items()}

    def _moved(self, pairs: Pairs) -> Pairs:
        """On the device, in float64; it travels in its own precision."""

        def there(values: np.ndarray) -> torch.Tensor:
            # A view may run backwards, be read-only or of another byte order: torch takes none.
            own = np.require(values, values.dtype.newbyteorder("="), ("C", "W"))
            return torch.from_numpy(own).to(self.name).to(torch.float64)

        return replace(
            pairs,
            members=there(pairs.members),
            truth=there(pairs.truth),
            weights=there(pairs.weights),
            climate=None if pairs.climate is None else pairs.climate.changed(there),
        )


def _of_cases(pairs: Pairs, cases: slice) -> Pairs:
    """Some cases, without the training fields, which only scores of sets take."""
    labels = None if pairs.labels is None else pairs.labels[cases]
    members, truth = pairs.members[cases], pairs.truth[cases]
    return replace(pairs, members=members, truth=truth, labels=labels, train=None)
