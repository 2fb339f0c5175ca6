"""Whether a folder is this pipeline's, asked before anything is written, and of what it is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffsci import config, families
from diffsci.errors import ConfigError, StorageError
from diffsci.running.changes import flatten
from diffsci.running.folder import RunFolder, digest_of
from diffsci.running.going_on import FREE, of_before, of_later
from diffsci.stages.sweep_status import RECORD, is_sweep


def digests_of(plain: dict[str, Any], free: Sequence[str] = FREE) -> dict[str, str]:
    """What each stage is made from, as far as the pipeline file says it.

    Args:
        plain: The resolved pipeline.
        free: Keys that do not matter.
    """
    learned = {key: plain[key] for key in ("data", "model", "train", "seed")}
    if plain["train"] is not None:
        kept = {key: v for key, v in plain["train"].items() if f"train.{key}" not in free}
        learned["train"] = kept
    sampled = {**learned, "sample": plain["sample"]}
    if plain["calibrate"] is not None:
        sampled["calibrate"] = plain["calibrate"]
    scored = {**sampled, "evaluate": plain["evaluate"]}
    return {
        "train": digest_of(learned),
        "calibrate": digest_of(sampled),
        "sample": digest_of(sampled),
        "evaluate": digest_of(scored),
    }


def of_today(folder: RunFolder) -> RunFolder:
    """The same with the digests that an older version took of other keys, as of today's."""
    plain, stages = folder.record.get("config"), folder.record["stages"]
    if not plain or not {"data", "model", "train", "sample", "calibrate"} <= plain.keys():
        return folder
    before, new = of_before(plain), digests_of(of_later(plain))
    old = [digests_of(each, free=free) for each in (plain, before) for free in ((), FREE)]
    for name, entry in stages.items():
        if name in new and entry.get("digest") in [each[name] for each in old]:
            entry["digest"] = new[name]
    return folder


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
    found = RunFolder.owner_check(folder, loaded.plain, allow)
    return None if found is None else of_today(found)


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
