"""`train.from: point:NAME`: a point of a sweep that begins from one that is listed before it.

Only here is that word known. What is read is the folder beside the point's own. The resolved
pipeline keeps the word, so that a run is the same one wherever its sweep's folder stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from diffsci import config, families
from diffsci.errors import ConfigError
from diffsci.points import Point
from diffsci.stages.status import status_of, steps_told

_WORD = "point:"


def source_of(loaded: config.Loaded) -> str | None:
    """Name of the point that a pipeline begins from; none where it begins otherwise."""
    asked = (loaded.plain["train"] or {}).get("from") or ""
    return asked.removeprefix(_WORD) if asked.startswith(_WORD) else None


def sources(children: Iterable[tuple[Point, config.Loaded]]) -> dict[str, str]:
    """The point that each begins from, by names, of those that begin from one."""
    named = ((point.name, source_of(child)) for point, child in children)
    return {name: source for name, source in named if source is not None}


def check(points: Sequence[Point], point: Point, child: config.Loaded) -> None:
    """Refuse a source that is not listed before the point.

    Args:
        points: All of the sweep.
        point: One of them.
        child: Its run.

    Raises:
        ConfigError: With the place of the key.
    """
    names = [each.name for each in points]
    before, source = names[: names.index(point.name)], source_of(child)
    if source is None or source in before:
        return
    if source == point.name:
        wrong = "which is this point itself"
    elif source in names:
        wrong = f"which is listed later: list it before {point.name}"
    else:
        wrong = f"which is no point of this sweep{families.did_you_mean(source, before or names)}"
    there = f"a point before it: {', '.join(before)}" if before else "null: no point is before it"
    text = f"train.from: got {_WORD + source!r}, {wrong}; expected {there}"
    raise ConfigError(f"sweep point {point.name}: {config.placed(child, ConfigError(text))}")


def within(loaded: config.Loaded, sweep: Path | None) -> config.Loaded:
    """A point whose training begins from the folder of its source.

    Args:
        loaded: The point; one that begins otherwise is left as it is.
        sweep: The sweep's folder; none where it is not known, or holds no model yet: then the
            point is looked at as if it began from nothing.
    """
    train, source = loaded.pipeline.train, source_of(loaded)
    if train is None or source is None:
        return loaded
    # Absolute: else it would be looked for near the file, too, where another sweep's may lie.
    folder = None if sweep is None else str((sweep / source).absolute())
    return replace(loaded, pipeline=replace(loaded.pipeline, train=replace(train, from_=folder)))


def alone(loaded: config.Loaded) -> config.Loaded:
    """A single run; where it is a point's own `config.yaml`, it begins as the point did.

    Raises:
        ConfigError: For any other pipeline that names a point, since it has no sweep.
    """
    train = loaded.pipeline.train
    asked = (train.from_ if train else None) or ""
    if not asked.startswith(_WORD):
        return loaded
    folder = loaded.origin.resolve().parent
    for place in (folder, folder.parent):  # of a run, or of its model
        if loaded.origin.name == "config.yaml" and (place / "run.json").exists():
            return within(loaded, place.parent)
    text = (
        f"train.from: got {asked!r}, and this pipeline has no sweep; expected the folder of that "
        f"run, such as runs/SWEEP/{asked.removeprefix(_WORD)}, or null"
    )
    raise config.placed(loaded, ConfigError(text))


def refusal(loaded: config.Loaded, error: ConfigError) -> ConfigError:
    """Why there is no model to begin from, where that is a point's: by its name, and what to do.

    Args:
        loaded: The run that is refused.
        error: What it is refused by.
    """
    source, train = source_of(loaded), loaded.pipeline.train
    if source is None or train is None or train.from_ is None:
        return error
    folder, state = Path(train.from_), "not begun"
    if (folder / "run.json").exists():
        found = status_of(folder)
        steps = "" if found.step is None else f", {steps_told(found.step, found.steps)}"
        state = f"{found.status}{steps}"
    return ConfigError(
        f"train.from: got {_WORD + source!r}, whose training is not done ({state}); let that point "
        f"finish first, or mend what it failed by (`diffsci status {folder}`); then the same "
        "command tries this one again"
    )
