"""Checkpoints: folders that are whole, proven whole by their checksums, and never run code.

    checkpoints/step-00001000/state.safetensors   every tensor, by name
                              state.json          everything else, with the format's version
                              manifest.json       size and sha256 of the two
                best-00000800/...                 average of the best validation, the same files
                power-00000250/...                averages of which any other is made, see power.py

A checkpoint is written beside its place and renamed when it is on the disk; older ones go only
then. On reading, the newest one whose checksums hold wins, and each damaged one is named.

`save` returns when it is on the disk. `writer.Writer` copies the state, and writes the same bytes
while training goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from diffsci.errors import StorageError
from diffsci.files import failpoint, replace_folder
from diffsci.training.damage import (
    FORMAT,
    MANIFEST,
    NUMBERS,
    TENSORS,
    as_json,
    is_pickle,
    refuse_pickle,
)
from diffsci.training.damage import damage_of as damage_of
from diffsci.training.damage import numbers_of as numbers_of
from diffsci.training.ema import Weights
from diffsci.training.packing import packed
from diffsci.training.places import all_of, best_of, folder_of, prune, snapshot_of
from diffsci.training.scaler import Scaler
from diffsci.training.state import RunState

_GROUPS = ("weights", "ema", "optimiser")
_SEVERAL = ("ema_others", "powers")
_ROWS = ("losses", "validations", "scores")
_TUPLES = ("by_level", "recent", "ema_losses")


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A state as it is written: nothing of it is the run's any more.

    Args:
        step: Of the state.
        best_step: Of its best validation.
        tensors: Bytes of the file of tensors.
        numbers: All else.
    """

    step: int
    best_step: int
    tensors: Tensor
    numbers: dict[str, Any]

    @classmethod
    def of(cls, state: RunState, block: Tensor | None = None) -> Copy:
        """Copied to the CPU, into `block` where it is large enough."""
        groups = {group: getattr(state, group) for group in _GROUPS}
        for kind in _SEVERAL:
            groups |= {f"{kind}.{k}": weights for k, weights in enumerate(getattr(state, kind))}
        tensors = {f"{g}/{name}": v for g, values in groups.items() for name, v in values.items()}
        known = {f.name: getattr(state, f.name) for f in fields(state)}
        numbers = {name: v for name, v in known.items() if name not in (*_GROUPS, *_SEVERAL)}
        numbers["scaler"] = None if state.scaler is None else asdict(state.scaler)
        return cls(
            step=state.step,
            best_step=state.best_step,
            tensors=packed(tensors, block),
            numbers={"format": FORMAT, **numbers},
        )


def save(folder: Path, state: RunState, *, keep: int) -> Path:
    """Write a checkpoint durably, then drop all but the newest `keep`.

    Args:
        folder: The run's `checkpoints/`.
        state: What to save.
        keep: Checkpoints left, this one included.

    Returns:
        The checkpoint's folder.

    Raises:
        StorageError: With the path and the bytes needed; the checkpoints there before stay.
    """
    return write(folder, Copy.of(state), keep=keep)


def save_best(folder: Path, state: RunState) -> Path:
    """Write the average of a validation that is the best so far; older ones stay until `save`.

    Args:
        folder: The run's `checkpoints/`.
        state: Directly after that validation.

    Raises:
        StorageError: With the path and the bytes needed.
    """
    place = best_of(folder, state.step)
    _write(place, Copy.of(only_model(state)))
    return place


def only_model(state: RunState) -> RunState:
    """The same with no tensors but the average that validated best, which `ema_losses` tells."""
    nothing: dict[str, Any] = {"weights": {}, "ema_others": (), "powers": (), "optimiser": {}}
    return replace(state, ema=state.model, **nothing)


def only_powers(state: RunState) -> RunState:
    """The same with no tensors but the averages by powers, and what is not averaged."""
    rest = {name: value for name, value in state.weights.items() if name not in state.powers[0]}
    return replace(state, weights=rest, ema={}, ema_others=(), optimiser={}, losses=(), recent=())


def write(folder: Path, copy: Copy, *, keep: int) -> Path:
    """`save` of what was copied."""
    place = folder_of(folder, copy.step)
    _write(place, copy)
    prune(folder, copy.step, copy.best_step, keep)
    return place


def write_best(folder: Path, copy: Copy) -> None:
    """`save_best` of what was copied."""
    _write(best_of(folder, copy.step), copy)


def write_snapshot(folder: Path, copy: Copy) -> None:
    """Write averages that were copied; they stay as long as the run."""
    _write(snapshot_of(folder, copy.step), copy)


def snapshots(folder: Path, warn: Callable[[str], None]) -> Iterator[Path]:
    """The whole ones, oldest first.

    Args:
        folder: The run's `checkpoints/`.
        warn: Told of each damaged one.
    """
    for place in all_of(folder, "power"):
        refuse_pickle(place)
        if (damage := damage_of(place)) is None:
            yield place
        else:
            warn(f"{place} is damaged ({damage}): averages are made without it")


def newest(folder: Path, warn: Callable[[str], None]) -> RunState | None:
    """The state of the newest checkpoint that is whole, on the CPU; none where there is none.

    Args:
        folder: The run's `checkpoints/`.
        warn: Told of each damaged checkpoint, by name, before the one before it is tried.

    Raises:
        StorageError: When there are checkpoints and all are damaged, or one has a newer format, or
            there is a pickle among their files.
    """
    refuse_pickle(folder)
    places = all_of(folder)
    for place in reversed(places):
        refuse_pickle(place)
        damage = damage_of(place)
        if damage is None:
            return read(place)
        then = ": the one before it is tried" if place != places[0] else ""
        warn(f"checkpoint {place} is damaged ({damage}){then}")
    if places:
        raise StorageError(
            f"none of the {len(places)} checkpoints in {folder} is whole: restore one from a copy, "
            "or delete that folder to train from the beginning"
        )
    return None


def at(folder: Path, step: int) -> RunState:
    """The state after a step, on the CPU.

    Raises:
        StorageError: When it is not there, or not whole.
    """
    place = folder_of(folder, step)
    refuse_pickle(place)
    damage = damage_of(place)
    if damage is not None:
        raise StorageError(
            f"checkpoint {place}: {damage}; all processes of a run need the same run folder, on a "
            "file system that they share"
        )
    return read(place)


def best(folder: Path, state: RunState, warn: Callable[[str], None]) -> Weights:
    """The average of the best validation of a run, or that of its state where it is not whole.

    Args:
        folder: The run's `checkpoints/`.
        state: Of the run's end.
        warn: Told where the average of the end is taken.
    """
    place = best_of(folder, state.best_step)
    refuse_pickle(place)
    damage = damage_of(place)
    if damage is None:
        return read(place).ema
    warn(f"{place} is damaged ({damage}): the average of the last step is taken")
    return state.model


def losses_at_best(folder: Path, state: RunState) -> tuple[float, ...] | None:
    """The loss of each average at the best validation of a run; none where it is not whole."""
    place = best_of(folder, state.best_step)
    return tuple(numbers_of(place)["ema_losses"]) if damage_of(place) is None else None


def _write(place: Path, copy: Copy) -> None:
    # Written by Python: the library's own writer hides what the operating system says when the
    # disk is full. The checksums are those of memory, so that what was not written well shows.
    array: Any = copy.tensors.numpy()  # whose stubs do not say that it is a buffer
    files = {TENSORS: memoryview(array), NUMBERS: memoryview(as_json(copy.numbers))}
    needed = sum(content.nbytes for content in files.values()) + 1024
    # A run folder that was removed while this was on its way is not brought back by it.
    with replace_folder(place, needed=needed, parents=False) as fresh:
        (fresh / TENSORS).write_bytes(files[TENSORS])
        failpoint("checkpoint.tensors")
        (fresh / NUMBERS).write_bytes(files[NUMBERS])
        failpoint("checkpoint.numbers")
        (fresh / MANIFEST).write_bytes(as_json({n: _entry(files[n]) for n in files}))
        failpoint("checkpoint.manifest")


def _entry(content: memoryview) -> dict[str, Any]:
    return {"bytes": content.nbytes, "sha256": hashlib.sha256(content).hexdigest()}


def read(place: Path) -> RunState:
    """The state in a whole checkpoint.

    Raises:
        StorageError: When it has a newer format, or is a pickle.
    """
    numbers = numbers_of(place)
    groups: dict[str, Weights] = {group: {} for group in _GROUPS}
    for name, value in _tensors(place / TENSORS).items():
        group, rest = name.split("/", 1)
        groups.setdefault(group, {})[rest] = value
    for kind in _SEVERAL:
        found = [group for group in groups if group.startswith(f"{kind}.")]
        ordered = sorted(found, key=lambda group: int(group.rpartition(".")[2]))
        numbers[kind] = tuple(groups.pop(group) for group in ordered)
    for rows in (rows for rows in _ROWS if rows in numbers):
        numbers[rows] = tuple(tuple(row) for row in numbers[rows])
    for name in (name for name in _TUPLES if name in numbers):
        numbers[name] = tuple(numbers[name])
    if numbers.get("scaler") is not None:
        numbers["scaler"] = Scaler(**numbers["scaler"])
    return RunState(**(numbers | groups))


def _tensors(file: Path) -> dict[str, Tensor]:
    content = file.read_bytes()
    if is_pickle(content):
        raise StorageError(
            f"{file}: is a pickle, which may run code when it is loaded; it was not opened. It is "
            "not diffsci's: delete its folder"
        )
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise StorageError(f"{file}: is no safetensors file ({error}); delete its folder") from None
