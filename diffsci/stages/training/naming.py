"""What a training example is, for people: of which file, variable, sample and time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffsci.data.examples.windows import Examples
from diffsci.data.fields import Fields
from diffsci.sections import Data


def names_of(fields: Fields, examples: Examples, data: Data) -> Callable[[int, int | None], str]:
    """Names examples by their numbers, and a channel of their target.

    Args:
        fields: The training part.
        examples: Of it.
        data: Where it comes from, as the user gave it.
    """
    source, _ = data.parts[0]

    def name(number: int, channel: int | None) -> str:
        trajectory, start = examples.windows[number % len(examples.windows)]
        what = source
        if channel is not None:
            what = f"{fields.channels[channel % len(fields.channels)].name} of {what}"
        if len(fields.trajectories) > 1:
            what += f", sample {fields.trajectories[trajectory]}"
        if len(fields.times) > 1:
            unit = f" {fields.time_unit}" if fields.time_unit not in ("", "1") else ""
            time = fields.times[start]
            if isinstance(time, np.datetime64):
                time = np.datetime_as_string(time, unit="s")
            what += f", from time {time}{unit}"
        return what

    return name
