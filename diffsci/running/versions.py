"""Versions of what decides the numbers of a run."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import diffsci
from diffsci import families
from diffsci.files import sha256_of


def versions() -> dict[str, str]:
    """Versions of what decides a run's numbers; of a plugin, the hash of its file."""
    found = {"diffsci": diffsci.__version__, "python": platform.python_version()}
    for name in ("torch", "numpy", "xarray", "zarr", "mlflow", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for module in families.plugged():
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is not None:
            found[f"plugin {module}"] = sha256_of(Path(file))[:16]
    return found


def plugins_of(known: Mapping[str, str]) -> tuple[str, ...]:
    """Modules of the plugins among recorded versions."""
    heads = [name.partition(" ") for name in known]
    return tuple(module for word, _, module in heads if word == "plugin")
