"""The files of a trained model's folder, and their checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from diffsci import families
from diffsci.files import replace_folder, sha256_of
from diffsci.forecasting.model_sums import DESCRIPTION as DESCRIPTION
from diffsci.forecasting.model_sums import MANIFEST as MANIFEST
from diffsci.forecasting.model_sums import check_manifest as check_manifest

FORMAT = 1
WEIGHTS, CONFIG, VARIANCE, CALIBRATION = (
    "weights.safetensors",
    "config.yaml",
    "variance.safetensors",
    "calibration.json",
)


_CHOICE = "tuned"
"""Key of the description under which the sampler stands that `diffsci tune` chose."""


def choice_of(folder: Path) -> dict[str, Any] | None:
    """What `diffsci tune` chose for a model; none where nothing was chosen."""
    try:
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # `check_manifest` tells what is wrong with it
    choice: dict[str, Any] | None = described.get(_CHOICE)
    return choice


def keep_choice(folder: Path, choice: dict[str, Any] | None) -> None:
    """Write a choice into the description of a model, whole or not at all; none takes it out.

    Raises:
        StorageError: When the folder is damaged, or cannot be written.
    """
    sums = check_manifest(folder)
    described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    described.pop(_CHOICE, None)
    if choice is not None:
        described[_CHOICE] = choice
    with replace_folder(folder) as fresh:
        for name in sums:
            shutil.copy2(folder / name, fresh / name)
        (fresh / DESCRIPTION).write_text(json.dumps(described, indent=1), encoding="utf-8")
        sums[DESCRIPTION] = sha256_of(fresh / DESCRIPTION)
        (fresh / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def kept_choice(folder: Path, weights: bytes) -> dict[str, Any]:
    """What a folder that is written anew keeps of its description: a choice for these weights."""
    choice = choice_of(folder)
    if choice is None or choice.get("weights") != hashlib.sha256(weights).hexdigest()[:16]:
        return {}
    return {_CHOICE: choice}


def told_of_choice(folder: Path, sampler: object) -> dict[str, str]:
    """What a store's attributes say of the choice; nothing where another sampler is taken."""
    choice = choice_of(folder)
    if choice is None:
        return {}
    told = {key: value for key, value in choice["sampler"].items() if key != "use"}
    chosen = families.load("samplers", choice["sampler"]["use"])(**told)
    return {"diffsci_tuned": choice["reason"]} if sampler == chosen else {}


@contextmanager
def fresh_model(folder: Path, size: int) -> Iterator[Path]:
    """A folder to fill, which takes the model's place with the checksum of every file in it.

    Args:
        folder: `model/` of a run.
        size: Bytes that will be written.
    """
    with replace_folder(folder, size) as fresh:
        yield fresh
        files = sorted(path for path in fresh.iterdir() if path.is_file())
        sums = {path.name: sha256_of(path) for path in files}
        (fresh / MANIFEST).write_text(json.dumps(sums, indent=1), encoding="utf-8")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file."""
    tensors: dict[str, torch.Tensor] = safetensors.torch.load(path.read_bytes())
    return tensors
