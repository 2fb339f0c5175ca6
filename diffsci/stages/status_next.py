"""What to do next with a run, from what its folder shows; only reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffsci.errors import StorageError
from diffsci.running.locking import Holder
from diffsci.training.damage import numbers_of, refuse_pickle


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What is known of a run.

    Args:
        path: Its folder.
        state: As `Status.status`.
        held: Who holds the lock, or held it last.
        newest: The newest whole checkpoint.
        processes: How many trained together.
        untrained: Whether training was begun, and has left nothing to go on from.
        broken: What is wrong with the model; none where it is whole, or not there.
        lost: Products that are not there any more, of stages that are done.
        plugins: Modules that it was made with.
    """

    path: Path
    state: str
    held: Holder | None
    newest: Path | None
    processes: int
    untrained: bool
    broken: str | None = None
    lost: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()


def next_of(seen: Seen) -> str:
    """What to do next, in words."""
    if seen.held is not None and seen.held.alive:
        return "nothing; it is being written"
    if seen.broken is not None or any(f"{seen.path / 'model'}: " in each for each in seen.lost):
        return _renewed(seen)
    if seen.state == "done" and seen.lost:
        return f"{_command(seen)} makes again what is missing"
    if seen.state == "done":
        report = seen.path / "report.html"
        return f"read {report}" if report.exists() else "nothing; it is done"
    if (why := _refused(seen.path / "checkpoints", seen.newest)) is not None:
        return f"it would not go on: {why}"
    command, places = _command(seen), seen.path / "checkpoints"
    anew = "begins training anew: nothing was saved"
    again = f"{command} {anew if seen.untrained else 'goes on'}"
    if seen.untrained and any(places.glob("step-*")):
        return (
            f"no checkpoint is whole: restore one from a copy, or remove {places} to train from "
            f"the beginning; then {command}"
        )
    return f"mend what failed, then {again}" if seen.state == "failed" else again


def _renewed(seen: Seen) -> str:
    """How a model comes back: from the checkpoint of its end, or by training again."""
    model = seen.path / "model"
    if (why := _refused(seen.path / "checkpoints", seen.newest)) is not None:
        return f"restore {model} from a copy: the run would not go on by itself: {why}"
    if seen.newest is not None:
        if numbers_of(seen.newest).get("ended"):
            return f"{_command(seen)} makes the model again from {seen.newest.name}"
        made = f"goes on with training from {seen.newest.name}"
    else:
        made = "trains it again: no checkpoint is whole"
    places = seen.path / "checkpoints"
    if seen.newest is None and any(places.glob("step-*")):  # which would be refused
        return (
            f"restore {model} from a copy, or remove it, if it is there, and {places}: "
            f"{_command(seen)} then {made}"
        )
    if not model.exists():
        return f"restore {model} from a copy, or let {_command(seen)}, which {made}"
    return f"restore {model} from a copy, or remove that folder: {_command(seen)} then {made}"


def _refused(folder: Path, newest: Path | None) -> str | None:
    """Why a run would not go on from its checkpoints: it looks at each until one is whole."""
    try:
        refuse_pickle(folder)
        for place in sorted(folder.glob("step-*"), reverse=True):
            refuse_pickle(place)
            if place == newest:
                numbers_of(place)
                break
        for place in sorted((*folder.glob("best-*"), *folder.glob("power-*"))):
            refuse_pickle(place)  # which are read at the end
    except (StorageError, OSError, ValueError, KeyError, TypeError) as error:
        return str(error)
    return None


def _command(seen: Seen) -> str:
    """What goes on with the run; its config stands in its folder once it was gone on with."""
    file = seen.path / "config.yaml"
    plugins = "".join(f" --plugin {module}" for module in seen.plugins)
    told = f"`diffsci{plugins} run {file if file.exists() else 'PIPELINE'} --out {seen.path}`"
    told += "" if file.exists() else ", with the pipeline file that it was begun with,"
    several = f" under torchrun with {seen.processes} processes"
    return told + (several if seen.processes > 1 else "")
