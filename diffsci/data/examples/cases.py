"""Cases: what of the test part an ensemble is made for, what is given there, and the truth."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from diffsci.data.domains.base import Domain
from diffsci.data.examples.asking import kept_of, nameless, steps_of, with_known
from diffsci.data.examples.rims import rim, taken
from diffsci.data.examples.seeing import Seeing, number_of
from diffsci.data.examples.truth import Truth
from diffsci.data.examples.windows import scalars_of
from diffsci.data.fields import Cases, Fields
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.base import Task, windows
from diffsci.errors import DataError

log = logging.getLogger(__name__)

_BLOCK = 256


def choose_rows(
    fields: Fields, task: Task, leads: int = 1, every: int = 1, cases: int | None = None
) -> Int[np.ndarray, "case 2"]:
    """Trajectory and time index of each case's last given frame (its only frame without leads).

    Args:
        fields: The test part.
        task: What is given.
        leads: Forecast steps; without meaning where the task has no leads.
        every: Take every n-th possible start of each trajectory.
        cases: At most so many of those, evenly spread.

    Raises:
        DataError: When there is no case at all.
    """
    needed = task.given_frames + leads * task.step if task.has_leads else task.frames
    rows = windows(fields, needed)
    if len(rows) == 0:
        raise DataError(
            f"{fields.source}: no case: it takes {needed} consecutive times without a gap, and the "
            f"part has {len(fields.times)}; lower `sample.leads`, or widen the part"
        )
    rows = rows + np.array([0, max(task.given_frames - 1, 0)])
    rows = np.asarray(rows[(rows[:, 1] - rows[:, 1].min()) % every == 0])
    if cases is not None and cases < len(rows):
        rows = rows[np.round(np.linspace(0, len(rows) - 1, cases)).astype(np.int64)]
    return rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What an ensemble is made from, and what it is scored against.

    Args:
        cases: What the case axis is.
        given: Normalised, what the task observes; none where nothing is given.
        scalars: Normalised scalars of each case; none where there are none.
        truth: Physical units; the lead axis has length 1 where the task has none. NaN where a value
            was given, so that scores count what was asked for.
        kept: Values that members have as they were given, physical units, NaN elsewhere; none
            where nothing is kept.
        edges: Rims of the normalised states at each lead, where the task is given them.
    """

    cases: Cases
    given: Float[Tensor, "case ..."] | None
    scalars: Float[Tensor, "case parameter"] | None
    truth: Truth
    kept: Float32[np.ndarray, "case channel *space"] | None = None
    edges: Float[Tensor, "case lead channel cell"] | None = None

    def __len__(self) -> int:
        return len(self.cases)

    def tell_fewer(self, asked: int | None) -> None:
        """Warn where a part has fewer cases than `sample.cases` asks for."""
        if asked is not None and len(self) < asked:
            log.warning(
                "sample.cases: %d are asked for, and data.split.test has %d: all of them are taken",
                asked,
                len(self),
            )


def cases_given(
    fields: Fields,
    task: Task,
    domain: Domain,
    statistics: Statistics,
    leads: int = 1,
    every: int = 1,
    cases: int | None = None,
) -> Evaluation:
    """The cases of the test part: labels, what is given, and the truth; see `choose_rows`."""
    rows = choose_rows(fields, task, leads, every, cases)
    steps = steps_of(task, leads)
    chosen = domain.cases(fields, rows, steps)
    gives = task.condition_channels(len(fields.channels)) > 0
    if not gives and fields.scalars is None:
        chosen = nameless(chosen)
    scalars = scalars_of(fields, statistics)
    ahead = np.array(steps or (0,), dtype=np.int64)
    given = _given(fields, task, statistics, rows, chosen.keys)
    truth, kept, edges = Truth(fields=fields, rows=rows, ahead=ahead), None, None
    cells = task.kept(given, len(fields.channels)) if given is not None else None
    if cells is not None:
        known = cells.numpy()
        kept, chosen = kept_of(truth, known, chosen.keys), with_known(chosen, known)
        truth = replace(truth, known=known)
    if task.boundary:
        # Of each block the rims are kept alone, which are far smaller.
        parts = (torch.from_numpy(statistics.encode(block)) for _, block in truth.blocks())
        edges = torch.cat([taken(block, fields.grid, task.boundary) for block in parts])
        truth = replace(truth, rim=rim(fields.grid, task.boundary).numpy())
    return Evaluation(
        cases=chosen,
        given=given,
        scalars=None if scalars is None else scalars[torch.from_numpy(rows[:, 0])],
        truth=truth,
        kept=kept,
        edges=edges,
    )


def _given(
    fields: Fields,
    task: Task,
    statistics: Statistics,
    rows: Int[np.ndarray, "case 2"],
    keys: tuple[str, ...],
) -> Tensor | None:
    """What the task observes of the frames up to each row, and of nothing later."""
    back = np.arange(-max(task.given_frames - 1, 0), 1)
    seeing = Seeing.of(fields, task, statistics)
    parts = []
    for first in range(0, len(rows), _BLOCK):
        block = rows[first : first + _BLOCK]
        physical = fields.values[block[:, :1], block[:, 1:] + back]
        window = torch.from_numpy(statistics.encode(physical))
        numbers = np.array([number_of(key) for key in keys[first : first + _BLOCK]])
        given = task.observe(seeing(window, block, numbers), fields.grid)
        if given is None:
            return None
        parts.append(given)
    return torch.cat(parts)
