"""How much each field counts in the loss, as `train.field_weights` says it by name."""

from __future__ import annotations

from collections.abc import Sequence

from diffsci.data.fields import Channel
from diffsci.errors import ConfigError
from diffsci.families import did_you_mean
from diffsci.sections import Pipeline

KEY = "train.field_weights"


def weights_of(pipeline: Pipeline, channels: Sequence[Channel]) -> tuple[float, ...] | None:
    """One for each channel of the target, 1 in the mean; none where all count alike.

    Args:
        pipeline: With a section `train`.
        channels: Of the data.

    Raises:
        ConfigError: For a name that the data has not.
    """
    train = pipeline.train
    if train is None or not train.field_weights:
        return None
    asked = train.field_weights
    known = {each.name for each in channels} | {each.variable for each in channels}
    fields = ", ".join(sorted(known))
    for name in asked:
        if name not in known:
            near = did_you_mean(name, sorted(known))
            raise ConfigError(f"{KEY}: {name!r} is no field of the data{near}; it has {fields}")
    # A level's own weight wins over that of its variable.
    one = [asked.get(each.name, asked.get(each.variable, 1.0)) for each in channels]
    mean = sum(one) / len(one)
    return tuple(each / mean for each in one) * pipeline.data.task.emits
