"""Where the files are that come with the package: configs, pipelines and the data catalog."""

from __future__ import annotations

from pathlib import Path


def shipped_root() -> Path:
    """The folder with the `configs/`, `pipelines/`, `data_catalog/` that came with the package.

    A wheel has it inside the package, a checkout beside it.
    """
    package = Path(__file__).resolve().parent
    return package / "_share" if (package / "_share").is_dir() else package.parent
