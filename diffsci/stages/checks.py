"""Checks of a pipeline against its data, before a minute is spent on training.

A setting that would be ignored, or that fails only after training, is refused here. All faults are
collected, so that `diffsci check` tells them in one pass; a run stops at the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from diffsci import families
from diffsci.errors import ConfigError, FieldError
from diffsci.networks.base import Ports
from diffsci.sections import Evaluate, Pipeline, Sample, Train
from diffsci.training import augment


def check(pipeline: Pipeline, ports: Ports, scalar_names: tuple[str, ...], examples: int) -> None:
    """Refuse settings that do not fit the data.

    Args:
        pipeline: The settings.
        ports: Channels and grid of the data.
        scalar_names: Names of its parameters; a class is `label=0`, `label=1`, ...
        examples: Number of training examples.

    Raises:
        ConfigError: With the full key; the first of `faults`.
    """
    for fault in faults(pipeline, ports, scalar_names, examples):
        raise fault


def faults(
    pipeline: Pipeline, ports: Ports, scalar_names: tuple[str, ...], examples: int
) -> Iterator[ConfigError]:
    """Every setting that does not fit the data, each told by its full key; see `check`."""
    if pipeline.model is not None:
        network = pipeline.model.network
        yield from _refused("model.network", lambda: network.check(ports))
    if pipeline.train is not None:
        yield from _of_training(pipeline.train, ports, examples)
    if pipeline.sample is not None:
        yield from of_sampling(pipeline.sample, pipeline.train, scalar_names)
    if pipeline.evaluate is not None:
        yield from _of_scores(pipeline.evaluate, scalar_names)


def _refused(section: str, check: Callable[[], None]) -> Iterator[ConfigError]:
    """What a check from inside refuses, under its full key."""
    try:
        check()
    except FieldError as error:
        yield FieldError(f"{section}.{error.field}", error.value, error.expected)


def _of_training(train: Train, ports: Ports, examples: int) -> Iterator[ConfigError]:
    if train.batch_size > examples:
        expected = f"at most the number of training examples, {examples}"
        yield FieldError("train.batch_size", train.batch_size, expected)
    yield from _refused("train", lambda: augment.check(train, ports.grid))
    if train.drop_scalars > 0 and not ports.scalars:
        expected = "0: the data has no class and no parameters that could be dropped"
        yield FieldError("train.drop_scalars", train.drop_scalars, expected)
    if train.condition_noise > 0 and not ports.condition:
        expected = "0: this task gives nothing that noise could be added to"
        yield FieldError("train.condition_noise", train.condition_noise, expected)


def of_sampling(
    sample: Sample, train: Train | None, scalar_names: tuple[str, ...]
) -> Iterator[ConfigError]:
    """Settings of sampling that do not fit the data, or how the model was trained."""
    if sample.guidance is None or not sample.guidance.needs_scalars:
        return
    word = families.name_of(sample.guidance)
    if not scalar_names:
        expected = "null: the data has no class and no parameters to guide by"
        yield FieldError("sample.guidance", word, expected)
    elif train is not None and train.drop_scalars == 0:
        expected = f"more than 0, such as 0.1: {word} needs a model trained without scalars, too"
        yield FieldError("train.drop_scalars", train.drop_scalars, expected)


def _of_scores(evaluate: Evaluate, scalar_names: tuple[str, ...]) -> Iterator[ConfigError]:
    classes = any(name.startswith("label=") for name in scalar_names)
    for number, score in enumerate(evaluate.scores):
        if score.needs_labels and not classes:
            expected = "a score for data without classes: leave this one out"
            yield FieldError(f"evaluate.scores[{number}]", families.name_of(score), expected)
