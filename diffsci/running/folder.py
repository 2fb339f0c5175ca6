"""The run folder: what a run has made so far, from what, and whether it may go on.

`run.json` is the record. A stage is done when its digest, a hash of all it was made from, equals
the one that is asked for now; a stage made from something else is never overwritten.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffsci.errors import StorageError
from diffsci.files import write_text
from diffsci.running import going_on
from diffsci.running.changes import Change, refuse_changes
from diffsci.running.going_on import STAGES as STAGES
from diffsci.running.lifetime import last_sign, of_call
from diffsci.running.locking import require_there
from diffsci.running.versions import versions

log = logging.getLogger(__name__)

# What each stage leaves in the folder; without it the stage is not done, whatever the record says.
PRODUCTS = {
    "train": ("model",),
    "calibrate": ("model/calibration.json",),
    "sample": ("forecast.zarr", "truth.zarr"),
    "evaluate": ("scores.csv", "scores.json", "report.html"),
}


def digest_of(plain: object) -> str:
    """Short hash of plain values, independent of the order of keys."""
    text = json.dumps(plain, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class RunFolder:
    """One folder under `runs/`, with its record in memory.

    What a call goes on with (config, versions, data, allowed changes) is recorded by `go_on`, when
    it does: a call that fails before leaves the record of what the products were made from.
    """

    path: Path
    record: dict[str, Any]
    _waiting: dict[str, Any] = field(default_factory=dict)
    _words: list[str] = field(default_factory=list)
    _text: str | None = None

    @classmethod
    def open(
        cls, path: Path, plain: dict[str, Any], config: str, allow: Sequence[str] = ()
    ) -> RunFolder:
        """The folder for a pipeline: a new one, or the same run's.

        Args:
            path: The folder.
            plain: The resolved pipeline.
            config: Its text, written to `config.yaml`.
            allow: Keys of it that may have changed since the folder's products were made.

        Raises:
            StorageError: When the folder holds something else, or another run.
        """
        folder = cls.owner_check(path, plain, allow)
        if folder is None:
            folder = cls(path, {"name": plain["name"], "status": "new", "stages": {}})
        before = folder.record.get("config")
        folder.accept(folder._changed(plain, allow))
        if folder.holds_products:
            other = going_on.other_code(folder.record)[1]
            folder._words += [f"going on with other code: {each}" for each in other]
        folder._text = config
        folder.will_have({"config": plain, "seed": plain["seed"], "versions": versions()})
        if before and going_on.is_mended(before, plain) and not folder.holds_products:
            # Mended after it failed: another pipeline now, and so another tracked run.
            for word in ("mlflow", "tracked"):
                folder.record.pop(word, None)
        if not folder.holds_products:
            folder.go_on()
        return folder

    @classmethod
    def owner_check(
        cls, path: Path, plain: dict[str, Any], allow: Sequence[str] = ()
    ) -> RunFolder | None:
        """The same run's folder, or none where there is nothing yet; writes nothing.

        Args:
            path: The folder.
            plain: The resolved pipeline.
            allow: Keys of it that may have changed since the folder's products were made.

        Raises:
            StorageError: When the folder holds something else, or another run.
        """
        if path.exists() and not path.is_dir():
            raise StorageError(f"{path}: is a file; choose another folder with --out")
        if not (path / "run.json").exists():
            found = sorted(p.name for p in path.iterdir()) if path.exists() else []
            # A run that was killed at its very beginning leaves its lock and its config alone.
            debris = (".run.json.", ".config.yaml.")
            strangers = [name for name in found if name not in (".lock", "config.yaml")]
            strangers = [name for name in strangers if not name.startswith(debris)]
            if strangers:
                raise StorageError(
                    f"{path}: exists and is not a run's folder (it holds {strangers[0]!r}, and no "
                    "run.json); choose another with --out"
                )
            return None
        folder = cls.read(path)
        folder._changed(plain, allow)
        return folder

    @classmethod
    def read(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            StorageError: When there is none, or its record cannot be read.
        """
        file = path / "run.json"
        if not file.exists():
            raise StorageError(f"{path}: no run here (run.json is missing); see `ls runs/`")
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{file}: cannot be read ({error}); restore it or use another --out"
            ) from None
        if not (isinstance(record, dict) and isinstance(record.get("stages"), dict)):
            raise StorageError(f"{file}: is not the record of a run; use another --out")
        return cls(path, record)

    def _changed(self, plain: dict[str, Any], allow: Sequence[str]) -> tuple[Change, ...]:
        """Allowed changes of the pipeline that make something else of what was made or begun.

        Raises:
            ChangedError: For those that are not allowed.
        """
        if not self.holds_products:
            return ()  # A run that failed before it made anything may be mended and begun again.
        found = going_on.differences(self.record, plain)
        hint = (
            "give this one another `name=` or --out, or remove the folder"
            if any(not each.key.startswith("sample.") for each in found)
            else "`diffsci sample` draws another ensemble from its model into a store of its own; "
            "give a whole run another `name=` or --out"
        )
        what = f"{self.path}: holds another run"
        return refuse_changes(found, (*allow, *going_on.FREE), what=what, hint=hint)

    def accept(self, found: Sequence[Change]) -> None:
        """Take changes that were allowed, with old and new; told of when the run goes on."""
        allowed = list(self.allowed)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for each in found:
            allowed.append({"key": each.key, "old": each.old, "new": each.new, "time": now})
        if found:
            self.will_have({"allowed": allowed})
        self._words += going_on.said_of(found)

    @property
    def allowed(self) -> tuple[dict[str, Any], ...]:
        """All changes that were allowed so far, those of this call too."""
        return tuple(self._waiting.get("allowed", self.record.get("allowed", ())))

    def will_have(self, entries: Mapping[str, Any]) -> None:
        """Entries of the record, from `go_on` on."""
        self._waiting |= entries

    def go_on(self) -> None:
        """Record what this call goes on with, and its config; again does nothing."""
        if self._waiting:
            for line in self._words:
                log.warning("%s: %s", self.path, line)
            self.record |= self._waiting
            self._waiting, self._words = {}, []
            if self._text is not None:
                write_text(self.path / "config.yaml", self._text)
            self.save()

    @property
    def holds_products(self) -> bool:
        """Whether there is anything that it took time to make."""
        checkpoints = self.path / "checkpoints"
        return (self.path / "model").exists() or any(checkpoints.glob("step-*"))

    def save(self) -> None:
        """Write the record, whole or not at all.

        Raises:
            StorageError: When the disk does not take it, or the folder was removed meanwhile.
        """
        require_there(self.path)
        self.record["told"] = round(time.time(), 3)
        write_text(self.path / "run.json", json.dumps(self.record, indent=2, default=str) + "\n")

    def done(self, stage: str, digest: str) -> bool:
        """Whether the stage's product is there and was made from the same."""
        entry = self.record["stages"].get(stage, {})
        whole = all((self.path / name).exists() for name in PRODUCTS[stage])
        return bool(whole and entry.get("status") == "done" and entry.get("digest") == digest)

    def begin(self, stage: str, digest: str, kept: float = 0.0) -> None:
        """Record that a stage has begun.

        Its `seconds` are those of all calls that made what is there: of one that was killed, until
        it told something last. They are kept where training goes on with what was allowed.

        Args:
            stage: Its name.
            digest: Of what it is asked for.
            kept: Share of what it made of other settings that it goes on with, such as raw members
                of an ensemble that is calibrated now.
        """
        old = self.record["stages"].get(stage, {})
        goes_on = stage == "train" and any((self.path / "checkpoints").glob("step-*"))
        spent = 0.0
        share = 1.0 if goes_on or old.get("digest") == digest else kept
        if share:
            spent = old.get("seconds", 0.0)
            if old.get("status") == "running":
                spent += of_call(old, last_sign(self.path))
        self.record["stages"][stage] = {
            "status": "running",
            "digest": digest,
            "begun": round(time.time(), 3),
            "seconds": round(share * spent, 3),
            "seconds_of_call": 0.0,
        }
        self.save()

    def end(self, stage: str, seconds: float, status: str = "done") -> None:
        """Record that a stage has ended after so many seconds of this call."""
        entry = self.record["stages"][stage]
        entry["status"] = status
        entry["seconds"] = round(entry["seconds"] + seconds, 3)
        entry["seconds_of_call"] = round(seconds, 3)
        self.save()


def roots_of_run(origin: Path, roots: Sequence[Path]) -> tuple[Path, ...]:
    """Where a pipeline's data is looked for; for a run's config also where the run looked.

    So a run folder can stand anywhere.

    Args:
        origin: The pipeline file.
        roots: Its own.
    """
    folder = origin.resolve().parent
    recorded: list[str] = []
    for place in (folder, folder.parent):
        if origin.name == "config.yaml" and (place / "run.json").exists():
            recorded = RunFolder.read(place).record.get("roots", [])
            break
    return tuple(dict.fromkeys([*roots, *map(Path, recorded)]))
