"""What is wrong with a checkpoint's files: bytes that changed, a newer format, code in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffsci.errors import StorageError
from diffsci.files import sha256_of

FORMAT = 4
"""1 had no loss by level; 2 had one average, and no scale, skipped batches, recent losses or end;
3 had no averages by powers of the step and no scores. What is not there begins anew."""

TENSORS, NUMBERS, MANIFEST = "state.safetensors", "state.json", "manifest.json"

_PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin", ".joblib", ".npy", ".metadata")


def damage_of(place: Path) -> str | None:
    """What is wrong with a checkpoint, by its manifest; none where it is whole."""
    try:
        stored = (place / MANIFEST).read_bytes()
        listed = json.loads(stored)
        # Written in one way only, so a flipped bit anywhere in it shows.
        if as_json(listed) != stored or sorted(listed) != sorted((TENSORS, NUMBERS)):
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


def newest_whole(folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    """The newest whole checkpoint of a run's `checkpoints/`, and what is wrong with later ones."""
    damaged: list[str] = []
    try:
        places = sorted(folder.glob("step-*"), reverse=True)
    except OSError as error:
        return None, (f"{folder}: {error.strerror}",)
    for place in places:
        damage = damage_of(place)
        if damage is None:
            return place, tuple(damaged)
        if place.exists():  # else it was pruned while it was read
            damaged.append(f"{place.name}: {damage}")
    return None, tuple(damaged)


def numbers_of(place: Path) -> dict[str, Any]:
    """All of a whole checkpoint but its tensors, as it is stored.

    Raises:
        StorageError: When it has a newer format.
    """
    numbers: dict[str, Any] = json.loads((place / NUMBERS).read_bytes())
    version = numbers.pop("format")
    if version not in range(1, FORMAT + 1):
        raise StorageError(
            f"checkpoint {place} has format {version}, this diffsci reads 1 to {FORMAT}: "
            "use the version that wrote it (run.json names it)"
        )
    return numbers


def refuse_pickle(folder: Path) -> None:
    """Refuse a folder that holds what could run code when it is loaded; none of it is opened.

    Raises:
        StorageError: Naming the file.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_file() and (path.suffix.lower() in _PICKLES or path.name in _PICKLES):
            raise StorageError(
                f"{path}: is a pickle, by its name, which may run code when it is loaded; diffsci "
                "writes none and reads none. Remove it if it is not yours, and move it elsewhere "
                "if it is"
            )


def is_pickle(content: bytes) -> bool:
    """Whether bytes begin as a pickle does, or as torch's archive with one inside."""
    return content[:4] == b"PK\x03\x04" or (content[:1] == b"\x80" and content[1:2] <= b"\x05")


def as_json(content: Mapping[str, Any]) -> bytes:
    """As checkpoints hold it."""
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
