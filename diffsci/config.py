"""Pipeline files: composed, checked and built, with one short message for whatever is wrong.

All that needs no import is checked first, then the family members are built. `compose.py` tells
how files and overrides make one tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from diffsci import __version__, build, families, sections, yamltext
from diffsci.compose import Composer, find, merge, shipped_root
from diffsci.errors import ConfigError
from diffsci.points import Point, taken_out
from diffsci.sections.rolling import rolled_leads
from diffsci.yamltext import Node, Plain


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A pipeline as it was asked for.

    Args:
        pipeline: The sections, all objects built.
        plain: The same as plain values with every default written out; `to_yaml` of it loads again.
        origin: The file.
        roots: Folders to look for `data_catalog/` and `configs/` in, nearest first.
        points: Of a sweep; empty for a single run.
        overrides: That were given.
        written: Where those are written that are a sweep's, by key.
    """

    pipeline: sections.Pipeline
    plain: dict[str, Plain]
    origin: Path
    roots: tuple[Path, ...]
    points: tuple[Point, ...] = ()
    overrides: tuple[str, ...] = ()
    written: Mapping[str, str] = field(default_factory=dict)

    def at(self, point: Point) -> Loaded:
        """The run of one point of the sweep.

        Raises:
            ConfigError: For what the point makes wrong, naming it.
        """
        named = (f"name={json.dumps(f'{self.pipeline.name}-{point.name}')}",)
        try:
            texts = (*self.overrides, *point.overrides, *named)
            found = load(self.origin, texts, self.roots, point.places)
        except ConfigError as error:
            raise ConfigError(f"sweep point {point.name}: {error}") from error
        return replace(found, points=())


def load(
    path: Path | str,
    overrides: Sequence[str] = (),
    roots: Sequence[Path] = (),
    written: Mapping[str, str] | None = None,
) -> Loaded:
    """A pipeline file (or the `config.yaml` of a run or model folder), checked and built.

    Args:
        path: The file; a relative one is looked for here, then among the shipped ones.
        overrides: `KEY=VALUE` texts, such as `train.lr=1e-3` or `sample.sampler=ddim`.
        roots: Folders to look in before the usual ones.
        written: Where overrides are written that are a sweep's, by key.

    Raises:
        ConfigError: For all that can be wrong without reading data: place, full key, value, what
            was expected.
    """
    origin = find(Path(path))
    all_roots = _unique([*roots, *roots_of(origin)])
    composer = Composer(all_roots)
    whole = merge(composer.file(origin), composer.overrides(overrides, written))
    tree, points = taken_out(whole)
    pipeline = build.finish(build.fill(sections.Pipeline, tree))
    _check_within_files(pipeline, tree)
    return Loaded(
        pipeline=pipeline,
        plain=build.plain_of(pipeline),
        origin=origin,
        roots=all_roots,
        points=points,
        overrides=tuple(overrides),
        written=dict(written or {}),
    )


def to_yaml(plain: dict[str, Plain]) -> str:
    """A pipeline file that `load` takes back to the same pipeline.

    Args:
        plain: As in `Loaded`.
    """
    head = f"# Resolved by diffsci {__version__}: `diffsci run` on this file repeats the run.\n"
    return head + yamltext.dump(plain)


def placed(loaded: Loaded, error: ConfigError) -> ConfigError:
    """The error with file and line of the key it begins with, where its files have such a key."""
    key = str(error).partition(":")[0].partition("[")[0]
    if key.partition(".")[0] not in loaded.plain or not re.fullmatch(r"\w+(\.\w+)*", key):
        return error
    composer = Composer(loaded.roots)
    try:
        given = composer.overrides(loaded.overrides, loaded.written)
        whole = merge(composer.file(loaded.origin), given)
        where = taken_out(whole)[0].nearest(key).where
    except ConfigError:  # the file was changed meanwhile
        return error
    return ConfigError(f"{where}: {error}") if where else error


def roots_of(origin: Path | None = None) -> tuple[Path, ...]:
    """Where `data_catalog/` and `configs/` may be: file's folder, three above, here, shipped."""
    near: list[Path] = []
    if origin is not None:
        folder = origin.resolve().parent
        near = [folder, *list(folder.parents)[:3]]
    return _unique([*near, Path.cwd(), shipped_root()])


def cross_check(pipeline: sections.Pipeline) -> None:
    """Refuse what contradicts itself between sections, as far as no data is needed for it.

    Raises:
        ConfigError: With the full key.
    """
    task = families.name_of(pipeline.data.task)
    if pipeline.sample and pipeline.sample.leads > 1 and not pipeline.data.task.has_leads:
        raise ConfigError(
            f"sample.leads: got {pipeline.sample.leads}, expected 1: the task {task} has no leads"
        )
    if pipeline.sample and pipeline.sample.perturb and not pipeline.data.task.has_leads:
        raise ConfigError(
            f"sample.perturb: expected null: the task {task} has no initial state to perturb"
        )
    if pipeline.sample and pipeline.sample.persistent_noise:
        _check_persistent(pipeline, pipeline.sample.persistent_noise)
    forcings = pipeline.data.domain.forcings
    if forcings and not pipeline.data.task.condition_channels(1):
        raise ConfigError(
            f"data.domain.forcings: got {list(forcings)}, expected none: they are of a time, and a "
            f"sample of the task {task} belongs to none"
        )
    rolled_leads(pipeline)
    _check_objective(pipeline)
    _check_guidance(pipeline)
    _check_sampler(pipeline)
    _check_calibration(pipeline)
    if pipeline.evaluate is None:
        return
    for number, baseline in enumerate(pipeline.evaluate.baselines):
        if task not in baseline.tasks:
            raise ConfigError(
                f"evaluate.baselines[{number}]: got {families.name_of(baseline)!r}, which is a "
                f"baseline of {', '.join(baseline.tasks)}; data.task is {task}"
            )


def _check_persistent(pipeline: sections.Pipeline, share: float) -> None:
    """Noise that persists needs noise, and one draw after the other."""
    task, word = pipeline.data.task, families.name_of(pipeline.data.task)
    if not (task.has_leads and task.goes_on):
        why = "samples all leads at once" if task.has_leads else "has no leads"
        raise ConfigError(
            f"sample.persistent_noise: got {share:g}, expected 0: the task {word} {why}"
        )
    train = pipeline.train
    if train is not None and not train.objective.varied:
        raise ConfigError(
            f"sample.persistent_noise: got {share:g}, expected 0: train.objective "
            f"{families.name_of(train.objective)} makes forecasts without noise"
        )


def _check_guidance(pipeline: sections.Pipeline) -> None:
    """Guidance, what it is guided by, and what else it would contradict."""
    sample = pipeline.sample
    if sample is None:
        return
    guidance, observed = sample.guidance, sample.observed
    word = families.name_of(guidance) if guidance else ""
    if observed and not (guidance and guidance.needs_observed):
        raise ConfigError(
            f"sample.observed: would be ignored{' by ' + word if word else ''}; expected "
            "sample.guidance: posterior, or another that draws samples to observations"
        )
    if guidance is None:
        return
    if guidance.needs_observed and observed is None:
        raise ConfigError(
            f"sample.guidance: {word} needs observations; expected sample.observed: {{operator: "
            "{use: points, every: 4}, noise_std: 0.1}, or values from Python by "
            "`Surrogate.sample(observed=...)`"
        )
    emits = pipeline.data.task.emits
    if guidance.needs_observed and emits > 1:
        raise ConfigError(
            f"sample.guidance: {word} guides draws of one state, and here a draw makes {emits}; "
            "set data.task.draw: each"
        )
    if guidance.needs_scalars and pipeline.train and pipeline.train.drop_scalars == 0:
        raise ConfigError(
            "train.drop_scalars: got 0.0, expected more than 0, such as 0.1: "
            f"sample.guidance {word} needs a model that was also trained without scalars"
        )


def _check_sampler(pipeline: sections.Pipeline) -> None:
    """Combinations whose algebra does not hold."""
    sample, model, train = pipeline.sample, pipeline.model, pipeline.train
    if sample and sample.needs_covariance and train and train.validate_crps is not None:
        raise ConfigError(
            "train.validate_crps: expected null: the variance of estimates, which the sampler of "
            "sample takes, is known at the end"
        )
    if sample is None or model is None:
        return
    coloured = model.noise is not None and not model.noise.is_white
    word = families.name_of(sample.sampler) if sample.sampler else "null"
    if sample.needs_covariance and sample.guidance is not None:
        raise ConfigError(
            f"sample.sampler: {word} with the exact variance is that of the unguided model, but "
            f"sample.guidance is {families.name_of(sample.guidance)}; leave one of them out"
        )
    if sample.needs_covariance and coloured:
        raise ConfigError(
            f"sample.sampler: {word} with the exact variance is for white noise, but model.noise "
            f"is {families.name_of(model.noise)}; expected variance: small, or another sampler"
        )
    if sample.guidance is not None and sample.guidance.needs_observed and coloured:
        raise ConfigError(
            f"sample.guidance: {families.name_of(sample.guidance)} is for white noise, but "
            f"model.noise is {families.name_of(model.noise)}; expected model.noise: white"
        )


def _check_calibration(pipeline: sections.Pipeline) -> None:
    """That there are validation cases with a truth, and members that differ."""
    if pipeline.calibrate is None or pipeline.train is None:
        return
    task = families.name_of(pipeline.data.task)
    if not pipeline.data.task.condition_channels(1):
        raise ConfigError(
            f"calibrate: expected null: a sample of the task {task} answers to no truth of its own"
        )
    if pipeline.data.split.valid is None:
        raise ConfigError(
            "data.split.valid: got null, expected a part of the data that `calibrate` is fitted on"
        )
    if pipeline.calibrate.bias and pipeline.sample and pipeline.sample.constraints:
        raise ConfigError(
            "calibrate.bias: got true, expected false: a shift would break sample.constraints, "
            "which spreading members about their mean does not"
        )
    if not pipeline.train.objective.varied:
        raise ConfigError(
            "calibrate: expected null: all members of train.objective "
            f"{families.name_of(pipeline.train.objective)} are equal, and have no spread"
        )


def _check_objective(pipeline: sections.Pipeline) -> None:
    """What a model of one call has no use for, and what one of many cannot do without."""
    model, train, sample = pipeline.model, pipeline.train, pipeline.sample
    if model is None or train is None:
        return
    word = families.name_of(train.objective)
    if not train.objective.direct:
        if sample is not None and sample.sampler is None:
            raise ConfigError(
                f"sample.sampler: got null, expected one of {', '.join(families.names('samplers'))}"
                f": train.objective {word} trains a diffusion model"
            )
        return
    ignored = f"train.objective {word} trains a network that makes a sample by a single call"
    white = model.noise is None or model.noise.is_white
    usual = model.schedule == families.load("schedules", "edm")()
    for key, found, wanted in (
        ("model.schedule", "edm" if usual else repr(model.schedule), "edm"),
        ("model.predict", model.predict, "v"),
        ("model.noise", "white" if white else families.name_of(model.noise), "white"),
    ):
        if found != wanted:
            raise ConfigError(
                f"{key}: got {found}, expected {wanted} (which is ignored): {ignored}"
            )
    if sample is None:
        return
    for key in ("sampler", "guidance", "observed"):
        if getattr(sample, key) is not None:
            raise ConfigError(f"sample.{key}: would be ignored, expected null: {ignored}")
    if not train.objective.varied and sample.members > 1:
        raise ConfigError(
            f"sample.members: got {sample.members}, expected 1: all members of train.objective "
            f"{word} are equal"
        )


def _check_within_files(pipeline: sections.Pipeline, tree: Node) -> None:
    """`cross_check`, with the place of the key it names."""
    try:
        cross_check(pipeline)
    except ConfigError as error:
        key = str(error).split(":")[0].split("[")[0]
        raise ConfigError(f"{tree.nearest(key).where}: {error}") from error


def _unique(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(path.resolve() for path in paths))
