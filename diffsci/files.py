"""Files that are either whole or absent: every durable write of diffsci goes through here.

A reader must never meet half a file. So everything is written under a temporary name in the same
folder, flushed to the disk, and only then given its name: on POSIX a rename is atomic, and a file's
bytes are durable once it and its folder are synced. A kill at any instruction leaves the old state
or the new one, plus debris under names that `sweep` knows.

Failpoints are named places that kill the process when the environment variable `DIFFSCI_FAILPOINT`
holds their name (`name:3` kills at the third passing). Tests use them to stand on every instruction
between two states.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffsci.errors import StorageError

_FRESH, _RETIRED = ".tmp-", ".old-"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_passed: Counter[str] = Counter()


def failpoint(name: str) -> None:
    """Kill this process without warning if the environment asks for it at this place."""
    wanted, _, count = os.environ.get("DIFFSCI_FAILPOINT", "").partition(":")
    if wanted == name:
        _passed[name] += 1
        if _passed[name] == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def storage_errors(path: Path, needed: int = 0) -> Iterator[None]:
    """Turn what the operating system says about writing `path` into one readable message.

    Raises:
        StorageError: With the path and, where the disk is full, the bytes needed and free.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            size = f"{needed:,} bytes are needed" if needed else "more bytes are needed"
            raise StorageError(
                f"no space to write {path}: {size}, {free_space(path):,} are free "
                "(a quota or file size limit may be lower); free some and run the command again"
            ) from error
        if error.errno in _FORBIDDEN:
            raise StorageError(
                f"cannot write {path}: {error.strerror}; make the folder writable or choose "
                "another with --out"
            ) from error
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}; look at its folder, or choose "
            "another with --out"
        ) from error


def free_space(path: Path) -> int:
    """Bytes free to this user on the disk of `path`, or of its nearest parent that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free


def require_space(path: Path, needed: int) -> None:
    """Refuse before writing what cannot fit.

    Raises:
        StorageError: With the path, the bytes needed and the bytes free.
    """
    with storage_errors(path, needed):
        if free_space(path) < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sync(path: Path) -> None:
    """Flush a file's bytes, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}{kind}{os.getpid()}-{secrets.token_hex(4)}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically and durably; its folder is made where missing.

    Raises:
        StorageError: When it cannot be written; what was there before stays.
    """
    fresh = _temporary(path, _FRESH)
    with storage_errors(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
        require_space(path, len(content))
        try:
            with fresh.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            failpoint("file.written")
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        failpoint("file.renamed")
        sync(path.parent)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of text as UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: object) -> None:
    """`write_bytes` of a JSON document; NaN and infinities are refused, since JSON has none."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the name `path` when the block ends without an error.

    For files that a library writes piece by piece; what is in memory goes through `write_bytes`.

    Raises:
        StorageError: When it cannot be written; what was there before stays.
    """
    fresh = _temporary(path, _FRESH)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield fresh
            sync(fresh)
            failpoint("file.written")
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        failpoint("file.renamed")
        sync(path.parent)


@contextmanager
def replace_folder(folder: Path, needed: int = 0, *, parents: bool = True) -> Iterator[Path]:
    """An empty folder to fill, which takes the name `folder` when the block ends without an error.

    Args:
        folder: The final name; a folder already there is retired only when the new one is whole.
        needed: Bytes that will be written; refused at once where they do not fit.
        parents: Whether folders above that of `folder` are made too.

    Raises:
        StorageError: When something cannot be written; what was there before stays.
    """
    fresh = _temporary(folder, _FRESH)
    with storage_errors(folder, needed):
        folder.parent.mkdir(parents=parents, exist_ok=True)
        require_space(folder.parent, needed)
        fresh.mkdir()
        try:
            yield fresh
            for path in sorted(fresh.rglob("*"), reverse=True):
                sync(path)
            sync(fresh)
            failpoint("folder.synced")
            put_in_place(fresh, folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        failpoint("folder.renamed")
        sync(folder.parent)


def put_in_place(fresh: Path, folder: Path) -> None:
    """Give a folder the name of another one, which is removed; `sweep` ends what a kill left."""
    # A folder that is not empty cannot be replaced by one rename. Killed between the two, the old
    # one is brought back by `sweep`.
    if not folder.exists():
        fresh.rename(folder)
        return
    retired = _temporary(folder, _RETIRED)
    folder.rename(retired)
    failpoint("folder.retired")
    fresh.rename(folder)
    shutil.rmtree(retired, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Delete a folder; at no instant does a part of it stand under its name."""
    with storage_errors(folder):
        # Under the name of a temporary, since `sweep` must finish this and never bring it back.
        retired = _temporary(folder, _FRESH)
        folder.rename(retired)
        failpoint("folder.removing")
        shutil.rmtree(retired)


def sweep(folder: Path) -> tuple[str, ...]:
    """Clear what killed writers left directly in `folder`; call it under its lock, before writing.

    Returns:
        Names of the files and folders removed or brought back, sorted.
    """
    if not folder.is_dir():
        return ()
    swept = []
    with storage_errors(folder):
        for path in sorted(folder.iterdir()):
            name = path.name[1:]
            if path.name[0] != "." or not (_FRESH in name or _RETIRED in name):
                continue
            if _RETIRED in name:
                original = folder / name.split(_RETIRED)[0]
                if not original.exists():
                    path.rename(original)
                    swept.append(original.name)
                    continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
            swept.append(path.name)
    return tuple(swept)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
