"""How much each field counts in the loss, as `train.field_weights` says it by name."""

from __future__ import annotations

from collections.abc import Sequence

from diffsci.data.fields import Channel
from diffsci.errors import FieldError
from diffsci.sections import Pipeline

KEY = "train.field_weights"


def weights_of(pipeline: Pipeline, channels: Sequence[Channel]) -> tuple[float, ...] | None:
    """One for each channel of the target, 1 in the mean; none where all count alike.

    Args:
        pipeline: With a section `train`.
        channels: Of the data.

    Raises:
        FieldError: For a name that the data has not, or where nothing would count.
    """
    train = pipeline.train
    if train is None or not train.field_weights:
        return None
    asked = train.field_weights
    known = {each.name for each in channels} | {each.variable for each in channels}
    for name, value in asked.items():
        if name not in known:
            expected = f"fields of the data, which are {sorted(known)}"
            raise FieldError(f"{KEY}.{name}", value, expected)
    # A level's own weight wins over that of its variable.
    one = [asked.get(each.name, asked.get(each.variable, 1.0)) for each in channels]
    if not any(one):
        raise FieldError(KEY, dict(asked), "one field or more that counts")
    mean = sum(one) / len(one)
    return tuple(each / mean for each in one) * pipeline.data.task.emits
