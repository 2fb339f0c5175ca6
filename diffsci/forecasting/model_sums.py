"""Checksums of the files of a trained model's folder; read without torch."""

from __future__ import annotations

import json
from pathlib import Path

from diffsci.errors import StorageError
from diffsci.files import sha256_of

MANIFEST, DESCRIPTION = "manifest.json", "model.json"


def broken(folder: Path) -> str | None:
    """What is wrong with a model's files; none where they are whole, or there is none."""
    try:
        if folder.is_dir():
            check_manifest(folder)
    except (StorageError, OSError) as error:
        return str(error)
    return None


def check_manifest(folder: Path) -> dict[str, str]:
    """Checksum of each file of a model folder, all of them verified.

    Raises:
        StorageError: Naming the file.
    """
    if not (folder / MANIFEST).exists():
        raise StorageError(
            f"{folder}: no trained model here ({MANIFEST} is missing); let the run finish training"
        )
    try:
        sums = dict(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{folder / MANIFEST}: cannot be read ({error}); restore it, or train again"
        ) from None
    for name, wanted in sums.items():
        path = folder / name
        if not path.exists():
            raise StorageError(f"{path}: is missing; restore it, or train again")
        if sha256_of(path) != wanted:
            raise StorageError(
                f"{path}: is damaged or was changed (its sha256 differs); "
                "restore it, or train again"
            )
    return sums
