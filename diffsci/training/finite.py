"""Steps that left the finite numbers: where it began, what would help, and what becomes of them.

A bad batch is noticed before the optimiser is called. By `train.on_bad` it ends the run, or it is
left out: the weights, their averages and the optimiser stay as they are, and the next step comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from diffsci.batch import Batch
from diffsci.errors import NumericsError
from diffsci.sections import Train
from diffsci.training.sharding import own


@dataclass
class Skipped:
    """Batches that were left out.

    Args:
        total: In the whole run.
        in_row: Directly before the next step.
    """

    total: int = 0
    in_row: int = 0

    def one_more(self, error: NumericsError, section: Train) -> str:
        """What to say of a batch that is left out.

        Raises:
            NumericsError: The one given, where the section says to stop, or too many came in a row.
        """
        if section.on_bad == "stop":
            raise error
        self.total, self.in_row = self.total + 1, self.in_row + 1
        if self.in_row > section.skip_most:
            raise NumericsError(
                f"{error}. It is number {self.in_row} of such batches in a row, and "
                f"train.skip_most is {section.skip_most}"
            )
        return f"{error}. The batch is skipped, number {self.total} of this run"


class Buffers:
    """What a forward pass changes in a module: put back where the step is left out.

    Args:
        module: Whose saved buffers are watched.
        watched: Whether steps can be left out at all.
    """

    def __init__(self, module: nn.Module, watched: bool) -> None:
        names = set(module.state_dict(keep_vars=True)) if watched else set()
        self._live = [value for name, value in module.named_buffers() if name in names]
        self._kept: list[Tensor] = []

    def keep(self) -> None:
        """Copy them."""
        self._kept = [value.clone() for value in self._live]

    def put_back(self) -> None:
        """As they were kept."""
        for live, kept in zip(self._live, self._kept, strict=True):
            live.copy_(kept)


Names = Callable[[int, int | None], str]
"""What an example is, by its number, and of which channel of its target, where that is known."""


def explain(
    index: np.ndarray,
    batch: Batch,
    losses: Tensor,
    module: nn.Module,
    elsewhere: Sequence[int] = (),
    names: Names | None = None,
) -> str:
    """Why the loss or gradient of a step is not finite; no weight has been touched.

    Args:
        index: Numbers of the batch's examples in the training set.
        batch: What was trained on.
        losses: Loss of each example.
        module: The network, with its gradients.
        elsewhere: Examples of other ranks whose loss is not finite.
        names: Of examples, for people.
    """
    if (found := _of_values(index, batch, names)) is not None:
        return found
    bad = _bad_rows(losses, index)
    if elsewhere and not bad:
        places = dict.fromkeys(elsewhere)
        return (
            f"the loss of the training examples {list(elsewhere)} of another "
            f"process is not finite{_told(places, names)}; no weight was changed. Find the values "
            "with `diffsci check` and mend or mask them, or lower train.lr or train.clip"
        )
    if bad:
        return (
            f"the loss of the training examples {bad} is not finite though "
            f"their values are{_told(dict.fromkeys(bad), names)}; no weight was changed. Lower "
            "train.lr or train.clip, or set runtime.precision=fp32"
        )
    spoilt = [
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and not bool(torch.isfinite(own(parameter.grad)).all())
    ]
    if not spoilt:
        return (
            "the gradient is finite, and too long for the square of its norm to be, over the "
            f"training examples {index.tolist()}; no weight was changed. Lower train.lr or "
            "train.clip"
        )
    return (
        f"the gradient is not finite in {len(spoilt)} weights, first "
        f"{spoilt[:3]}, over the training examples {index.tolist()}; no weight was changed. Lower "
        "train.lr or train.clip, or set runtime.precision=fp32"
    )


def _of_values(index: np.ndarray, batch: Batch, names: Names | None) -> str | None:
    """What to say of what was given; none where all of it is finite."""
    given = {"target": batch.target, "condition": batch.condition, "scalars": batch.scalars}
    for name, values in given.items():
        bad = [] if values is None else _bad_rows(values, index)
        if bad:
            places = {
                n: _channel(batch.target, index, n) if name == "target" else None for n in bad
            }
            return (
                f"{name} of the training examples {bad} is not finite"
                f"{_told(places, names)}; no weight was changed. Find the values with "
                "`diffsci check` and mend or mask them"
            )
    return None


def _channel(target: Tensor, index: np.ndarray, number: int) -> int:
    """The first channel in which the target of an example is not finite."""
    row = int(np.flatnonzero(index == number)[0])
    bad = ~torch.isfinite(target[row].detach()).flatten(1).all(dim=1)
    return int(torch.nonzero(bad)[0])


def _told(places: Mapping[int, int | None], names: Names | None) -> str:
    """What the first of some examples are."""
    some = list(places.items())[:3] if names is not None else []
    told = "; ".join(f"{number} is {names(number, channel)}" for number, channel in some if names)
    return f" ({told})" if told else ""


def _bad_rows(values: Tensor, index: np.ndarray) -> list[int]:
    finite = torch.isfinite(values.detach().flatten(1) if values.ndim > 1 else values.detach())
    rows = finite.all(dim=1) if finite.ndim > 1 else finite
    return [int(number) for number in index[~rows.cpu().numpy()]]
