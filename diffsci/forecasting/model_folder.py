"""The files of a trained model's folder, and their checksums."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from diffsci.errors import StorageError
from diffsci.files import sha256_of

FORMAT = 1
WEIGHTS, DESCRIPTION, CONFIG, MANIFEST, VARIANCE = (
    "weights.safetensors",
    "model.json",
    "config.yaml",
    "manifest.json",
    "variance.safetensors",
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file."""
    tensors: dict[str, torch.Tensor] = safetensors.torch.load(path.read_bytes())
    return tensors


def check_manifest(folder: Path) -> dict[str, str]:
    """Checksum of each file of a model folder, all of them verified.

    Raises:
        StorageError: Naming the file.
    """
    if not (folder / MANIFEST).exists():
        raise StorageError(
            f"{folder}: no trained model here ({MANIFEST} is missing); let the run finish training"
        )
    sums = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for name, wanted in sums.items():
        path = folder / name
        if not path.exists():
            raise StorageError(f"{path}: is missing; restore it, or train again")
        if sha256_of(path) != wanted:
            raise StorageError(
                f"{path}: is damaged or was changed (its sha256 differs); "
                "restore it, or train again"
            )
    return dict(sums)
