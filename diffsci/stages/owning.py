"""Whether a folder is this pipeline's, asked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffsci import config, families
from diffsci.errors import ConfigError, StorageError
from diffsci.run_folder import RunFolder, flatten
from diffsci.stages.sweep_status import RECORD, is_sweep


def owned(loaded: config.Loaded, folder: Path, allow: Sequence[str] = ()) -> RunFolder | None:
    """The pipeline's own folder, or none where there is nothing yet; writes nothing.

    Args:
        loaded: The pipeline.
        folder: The run folder.
        allow: Keys or sections of the pipeline, `data` or `code`, that may have changed.

    Raises:
        ConfigError: For a key to allow that there is not.
        StorageError: When the folder holds something else, a sweep or another run.
    """
    _check_allowed(allow, loaded.plain)
    if is_sweep(folder):
        raise StorageError(
            f"{folder}: is the folder of a sweep ({RECORD}), whose points are runs in folders of "
            "their own; give this single run another `name=` or --out, or run one point of the "
            "sweep with --point NAME"
        )
    return RunFolder.owner_check(folder, loaded.plain, allow)


def _check_allowed(allow: Sequence[str], plain: dict[str, Any]) -> None:
    """Refuse a key that no pipeline has: it would allow nothing, and nobody would notice."""
    known = {"code", *(key for key in plain)}
    for flat in flatten(plain):
        parts = flat.split(".")
        known |= {".".join(parts[: n + 1]) for n in range(len(parts))}
    for word in allow:
        # Options of a member that was used before are not in the pipeline any more.
        if word not in known and f"{word.rpartition('.')[0]}.use" not in known:
            deeper = [repr(key) for key in sorted(known) if key.endswith(f".{word}")][:3]
            near = families.did_you_mean(word, known)
            near = f"; did you mean {' or '.join(deeper)}?" if deeper else near
            expected = "a key such as train.lr, a section such as train, `data` or `code`"
            raise ConfigError(f"--allow: got {word!r}, which is no key{near}; expected {expected}")
