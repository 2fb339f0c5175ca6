"""Checks of a pipeline against its data, before a minute is spent on training.

A setting that would be ignored, or that fails only after training, is refused here. All faults are
collected, so that `diffsci check` tells them in one pass; a run stops at the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch

from diffsci import families
from diffsci.constraints.base import Equations
from diffsci.constraints.mean import Mean
from diffsci.data.examples.windows import Examples
from diffsci.diffusion.augmentation import ends, level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.guidance.base import Guidance, Observed
from diffsci.diffusion.objectives.base import Objective
from diffsci.diffusion.schedules.edm import EDM
from diffsci.diffusion.smallest_scale import smallest_scale, warning
from diffsci.errors import ConfigError, FieldError
from diffsci.forecasting.constraining import Constrained
from diffsci.forecasting.observations import error_std
from diffsci.forecasting.tiles import Tiling
from diffsci.networks.base import Ports
from diffsci.runtime import Device
from diffsci.sections import Evaluate, Observing, Pipeline, Runtime, Sample, Train
from diffsci.stages.prepare import Prepared
from diffsci.stages.training.weighing import weights_of
from diffsci.training import augment
from diffsci.training.ema import same_after


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
    if pipeline.runtime.compile is True:
        yield from _of_compiling(pipeline.runtime)
    if pipeline.model is not None:
        network = pipeline.model.network
        yield from _refused("model.network", lambda: network.check(ports))
        if (noise := pipeline.model.noise) is not None:
            yield from _refused("model.noise", lambda: noise.check(ports.grid))
    if pipeline.train is not None:
        yield from _of_training(pipeline.train, ports, examples)
        yield from _of_numbers(pipeline.train, scalar_names)
    if pipeline.sample is not None:
        yield from of_sampling(pipeline.sample, pipeline.train, scalar_names)
        yield from of_tiles(pipeline, ports)
        yield from _of_leads(pipeline)
        if (observing := pipeline.sample.observed) is not None:
            yield from _of_observing(observing, pipeline.sample.guidance, ports)
    if pipeline.evaluate is not None:
        yield from _of_scores(pipeline.evaluate, scalar_names)


def check_weights(pipeline: Pipeline, prepared: Prepared) -> None:
    """Refuse weights of fields that the data has not.

    Raises:
        ConfigError: With the key.
    """
    weights_of(pipeline, prepared.train.channels)


def check_constraints(pipeline: Pipeline, prepared: Prepared) -> None:
    """Refuse constraints that do not fit the data, the task or each other.

    Raises:
        ConfigError: With the key.
        DataError: For a file of conditions that does not fit.
    """
    if pipeline.sample is None or not pipeline.sample.constraints:
        return
    calibrate, constraints = pipeline.calibrate, pipeline.sample.constraints
    cells = [e for e in constraints if isinstance(e, Equations) and not isinstance(e, Mean)]
    if calibrate is not None and calibrate.bands > 1 and cells:
        expected = (
            "1: sample.constraints hold at cells, and a factor for each band would break them"
        )
        raise FieldError("calibrate.bands", calibrate.bands, expected)
    own = (prepared.train.channels, prepared.train.grid, prepared.statistics)
    try:
        Constrained.of(pipeline.sample.constraints, *own, pipeline.data.task)
    except FieldError as error:
        key = f"sample.constraints.{error.field}"
        raise FieldError(key, error.value, error.expected) from None


def warnings(pipeline: Pipeline, examples: Examples, names: tuple[str, ...]) -> Iterator[str]:
    """What will not stop a run, but is likely to be meant otherwise.

    Args:
        pipeline: The settings.
        examples: The training set.
        names: Of the channels.
    """
    if pipeline.model is None or (pipeline.train and pipeline.train.objective.direct):
        return  # a model of one call sees no noise
    chosen = np.linspace(0, len(examples) - 1, min(len(examples), _SEEN)).round().astype(np.int64)
    targets = examples.batch(chosen).target
    names = names * (targets.shape[1] // len(names))  # of each step of a block
    schedule = pipeline.model.schedule
    cleanest = level(schedule, ends(schedule)[1])
    found = warning(
        float(cleanest.noise_to_signal), smallest_scale(targets, Basis.of(examples.grid), names)
    )
    if found is not None:
        yield found


def averages_warning(train: Train | None) -> str | None:
    """That averages of `train.ema` cannot differ in so few steps; none where all do."""
    if train is None or not (same := same_after(train.decays, train.steps)):
        return None
    largest = train.steps / (train.steps + 9)
    listed = ", ".join(f"{decay:g}" for decay in same)
    return (
        f"train.ema: the averages with decays {listed} are one and the same after train.steps="
        f"{train.steps}: their warm-up has come to {largest:.4g} by then; keep one of them, take "
        "smaller decays, or train longer"
    )


def tiles_warning(pipeline: Pipeline, ports: Ports) -> str | None:
    """That tiles are not exact; none where they are, or there are none."""
    if pipeline.model is None or pipeline.sample is None or pipeline.sample.tiles is None:
        return None
    return Tiling.of(pipeline.sample.tiles, pipeline.model.network, ports).warning


_SEEN = 512
"""Most training examples whose spectrum is looked at."""


def _of_compiling(runtime: Runtime) -> Iterator[ConfigError]:
    """That torch cannot do what is asked; a device that is not here is told elsewhere."""
    try:
        Device.of(runtime)
    except FieldError as error:
        if error.field == "runtime.compile":
            yield error


def _refused(section: str, check: Callable[[], None]) -> Iterator[ConfigError]:
    """What a check from inside refuses, under its full key."""
    try:
        check()
    except FieldError as error:
        # What the data says of its edges is no key of the section that cannot serve it.
        own = "" if error.field.startswith("boundary of") else f"{section}."
        whole = section.rsplit(".", 1)[-1] == error.field
        name = section if whole else f"{own}{error.field}"
        yield FieldError(name, error.value, error.expected)


def _of_training(train: Train, ports: Ports, examples: int) -> Iterator[ConfigError]:
    if train.batch_size > examples:
        expected = f"at most the number of training examples, {examples}"
        yield FieldError("train.batch_size", train.batch_size, expected)
    yield from _refused("train", lambda: augment.check(train, ports.grid))
    if train.flip and ports.vectors:
        expected = "[]: a mirror would have to change the sign of the components of vectors"
        yield FieldError("train.flip", list(train.flip), expected)
    if train.drop_scalars > 0 and not ports.scalars:
        expected = "0: the data has no class and no parameters that could be dropped"
        yield FieldError("train.drop_scalars", train.drop_scalars, expected)
    if train.field_weights and _learns(train.objective, ports):
        expected = "null: the objective learns itself how much each level and field counts"
        yield FieldError("train.field_weights", dict(train.field_weights), expected)
    if train.condition_noise > 0 and not ports.condition:
        expected = "0: this task gives nothing that noise could be added to"
        yield FieldError("train.condition_noise", train.condition_noise, expected)


def _of_numbers(train: Train, scalar_names: tuple[str, ...]) -> Iterator[ConfigError]:
    plain = scalar_names and not any(name.startswith("label=") for name in scalar_names)
    if train.scalar_noise > 0 and not plain:
        expected = "0: the data has no parameters that noise could be added to (a class is none)"
        yield FieldError("train.scalar_noise", train.scalar_noise, expected)


def _learns(objective: Objective, ports: Ports) -> bool:
    return objective.learned(ports.target, ports.grid) is not None


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


def _of_leads(pipeline: Pipeline) -> Iterator[ConfigError]:
    """More leads than are sampled at once, of a task that does not go on from these."""
    task, leads = pipeline.data.task, pipeline.sample.leads if pipeline.sample else 1
    if not task.goes_on and leads > task.block:
        expected = f"at most {task.block}: what is sampled together does not go on from itself"
        yield FieldError("sample.leads", leads, expected)


def of_tiles(pipeline: Pipeline, ports: Ports) -> Iterator[ConfigError]:
    """Tiles that cannot be, with sizes that would work."""
    if pipeline.model is None or pipeline.sample is None or pipeline.sample.tiles is None:
        return
    try:
        pipeline.model.network.check(ports)
        Tiling.of(pipeline.sample.tiles, pipeline.model.network, ports)
    except FieldError as error:
        if error.field.startswith("sample."):  # else told already, of the network
            yield error


def _of_observing(
    observing: Observing, guidance: Guidance | None, ports: Ports
) -> Iterator[ConfigError]:
    """Tried on one field of zeros: what does not fit would otherwise show after training."""
    field = torch.zeros(1, ports.target, *ports.grid.sizes)

    def tried() -> None:
        seen = observing.operator.apply(field)
        observed = Observed(
            operator=observing.operator, values=seen, noise_std=error_std(observing, seen)
        )
        if guidance is not None:
            guided = guidance(lambda x, t, *_: x * t, EDM(), observed)
            guided(field, torch.tensor(0.5), None, None)

    try:
        tried()
    except FieldError as error:
        yield FieldError(f"sample.observed.operator.{error.field}", error.value, error.expected)
    except ConfigError as error:
        key = "" if str(error).startswith("sample.") else "sample.observed: "
        yield ConfigError(f"{key}{error}")


def _of_scores(evaluate: Evaluate, scalar_names: tuple[str, ...]) -> Iterator[ConfigError]:
    classes = any(name.startswith("label=") for name in scalar_names)
    for number, score in enumerate(evaluate.scores):
        if score.needs_labels and not classes:
            expected = "a score for data without classes: leave this one out"
            yield FieldError(f"evaluate.scores[{number}]", families.name_of(score), expected)
