"""Checkpoints: folders that are whole, proven whole by their checksums, and never run code.

    checkpoints/step-00001000/state.safetensors   every tensor, by name
                              state.json          everything else, with the format's version
                              manifest.json       size and sha256 of the two

A checkpoint is written beside its place and renamed when it is on the disk; older ones go only
then. On reading, the newest one whose checksums hold wins, and each damaged one is named.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from diffsci.errors import StorageError
from diffsci.files import failpoint, remove_folder, replace_folder, sha256_of
from diffsci.training.state import RunState

FORMAT = 2
"""1 had no loss by level, which then begins anew."""

TENSORS, NUMBERS, MANIFEST = "state.safetensors", "state.json", "manifest.json"
_GROUPS = ("weights", "ema", "optimiser")


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:08d}"


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
    # Copied into one block of memory, and written by Python: the library's own writer hides what
    # the operating system says when the disk is full.
    content = safetensors.torch.save(
        {
            f"{group}/{name}": value.detach().contiguous().cpu()
            for group in _GROUPS
            for name, value in getattr(state, group).items()
        }
    )
    numbers = {f.name: getattr(state, f.name) for f in fields(state) if f.name not in _GROUPS}
    text = _json({"format": FORMAT, **numbers})
    place = folder_of(folder, state.step)
    with replace_folder(place, needed=len(content) + len(text) + 1024) as fresh:
        (fresh / TENSORS).write_bytes(content)
        failpoint("checkpoint.tensors")
        (fresh / NUMBERS).write_bytes(text)
        failpoint("checkpoint.numbers")
        (fresh / MANIFEST).write_bytes(_json(_manifest(fresh)))
        failpoint("checkpoint.manifest")
    _prune(folder, state.step, keep)
    return place


def newest(folder: Path, warn: Callable[[str], None]) -> RunState | None:
    """The state of the newest checkpoint that is whole, on the CPU; none where there is none.

    Args:
        folder: The run's `checkpoints/`.
        warn: Told of each damaged checkpoint, by name, before the one before it is tried.

    Raises:
        StorageError: When there are checkpoints and all are damaged, or one has a newer format.
    """
    places = _all(folder)
    for place in reversed(places):
        damage = damage_of(place)
        if damage is None:
            return _read(place)
        warn(f"checkpoint {place} is damaged ({damage}): the one before it is taken")
    if places:
        raise StorageError(
            f"none of the {len(places)} checkpoints in {folder} is whole: restore one from a copy, "
            "or delete the folder to train from the beginning"
        )
    return None


def damage_of(place: Path) -> str | None:
    """What is wrong with a checkpoint, by its manifest; none where it is whole."""
    try:
        stored = (place / MANIFEST).read_bytes()
        listed = json.loads(stored)
        # Written in one way only, so a flipped bit anywhere in it shows.
        if _json(listed) != stored or sorted(listed) != sorted((TENSORS, NUMBERS)):
            return f"{MANIFEST} was changed"
        for name, wanted in listed.items():
            size = (place / name).stat().st_size
            if size != wanted["bytes"]:
                return f"{name} has {size} bytes, expected {wanted['bytes']}"
            if sha256_of(place / name) != wanted["sha256"]:
                return f"{name} does not have its checksum"
    except OSError as error:
        return f"{Path(error.filename or MANIFEST).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} cannot be read"
    return None


def _read(place: Path) -> RunState:
    numbers: dict[str, Any] = json.loads((place / NUMBERS).read_bytes())
    version = numbers.pop("format")
    if version not in range(1, FORMAT + 1):
        raise StorageError(
            f"checkpoint {place} has format {version}, this diffsci reads 1 to {FORMAT}: "
            "use the version that wrote it (run.json names it)"
        )
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in _GROUPS}
    for name, value in safetensors.torch.load((place / TENSORS).read_bytes()).items():
        group, rest = name.split("/", 1)
        groups[group][rest] = value
    for rows in ("losses", "validations"):
        numbers[rows] = tuple(tuple(row) for row in numbers[rows])
    if version > 1:
        numbers["by_level"] = tuple(numbers["by_level"])
    return RunState(**(numbers | groups))


def _all(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def _prune(folder: Path, step: int, keep: int) -> None:
    """Drop the oldest, and those after `step`: a run that fell back behind them makes them anew."""
    done = folder_of(folder, step)
    before = [place for place in _all(folder) if place.name <= done.name]
    kept = before[-keep:]
    failpoint("checkpoint.pruning")
    for place in _all(folder):
        if place not in kept:
            remove_folder(place)
            failpoint("checkpoint.pruned")


def _manifest(folder: Path) -> dict[str, Any]:
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
        for name in (TENSORS, NUMBERS)
    }


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
