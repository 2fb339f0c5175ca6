"""Locks: one writer of a run folder, or of a store, whose name the others are told."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from diffsci.errors import StorageError
from diffsci.files import storage_errors
from diffsci.running import stopping


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a folder's lock, or held it last.

    Args:
        run: Name of the run; empty where none was told.
        pid: Of the process.
        host: Where it runs.
        alive: Whether it holds the lock now.
        ended: How it said that it ended, where it could do no more than that; else empty.
    """

    run: str
    pid: int
    host: str
    alive: bool
    ended: str = ""

    def __str__(self) -> str:
        run = f"the run {self.run!r}, " if self.run else ""
        return f"{run}process {self.pid} on {self.host}"


@contextmanager
def lock(folder: Path, run: str = "", *, elsewhere: bool = True) -> Iterator[None]:
    """Be the only writer of `folder` until the block ends or the process dies, however it dies.

    The lock is the operating system's (`flock` on `.lock`), so nothing stale can remain; the file's
    text only says who holds it. Not every network file system honours it, and Windows has none.

    Args:
        folder: The folder.
        run: Name by which others are told who holds it.
        elsewhere: Whether the work could be done in another folder.

    Raises:
        StorageError: When another process holds it, naming its run, process id and host.
    """
    advice = f"wait until it ends (`diffsci status {folder}` tells how far it is)"
    advice += ", stop it, or choose another folder with --out" if elsewhere else " or stop it"
    descriptor = _locked(folder / ".lock", folder, run, advice)
    try:
        _held[folder.absolute()] = descriptor
        try:
            with stopping.last_word(lambda: _write(descriptor, run, ended=TWICE)):
                yield
        finally:
            del _held[folder.absolute()]
            os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


@contextmanager
def lock_store(store: Path, run: str = "") -> Iterator[None]:
    """Be the only writer of the store `store` until the block ends or the process dies.

    As `lock`, by a file `.NAME.lock` beside the store, which is gone after an orderly end. Other
    stores of the folder are free.

    Args:
        store: The store, which need not be there.
        run: Name by which others are told who holds it.

    Raises:
        StorageError: When another process holds it, naming its run, process id and host.
    """
    path = store.with_name(f".{store.name}.lock")
    advice = "wait until it ends, stop it, or choose another name with --out"
    descriptor = _locked(path, store, run, advice)
    try:
        yield
    finally:
        # While it is still held: whoever has it open and gets it next sees that it lost its name.
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _locked(path: Path, what: Path, run: str, advice: str) -> int:
    """Descriptor of the lock file `path`, held, with who holds it written in it."""
    while True:
        descriptor = _opened(path)
        try:
            if not _take(descriptor, path):
                who = _text_of(path)
                far = who is not None and who.host != socket.gethostname()
                more = f" (stop it on {who.host}: `kill {who.pid}` there)" if who and far else ""
                told = who or "another process"
                raise StorageError(f"{what} is being written by {told}: {advice}{more}")
            # Its holder may have removed it since it was opened: then it locks nothing any more.
            if sys.platform == "win32" or _has_name(descriptor, path):
                with storage_errors(path):
                    _write(descriptor, run)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


TWICE = "ended at once by Ctrl-C twice, and what it had in hand was not saved"


def _write(descriptor: int, run: str, ended: str = "") -> None:
    """Who holds a lock, as its file's text."""
    told = {"run": run, "pid": os.getpid(), "host": socket.gethostname()}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(told | ({"ended": ended} if ended else {})).encode(), 0)


def _opened(path: Path) -> int:
    """Descriptor of a lock file, which is made where there is none.

    Raises:
        StorageError: Where there can be none, naming what is in its place.
    """
    with storage_errors(path.parent):  # the place is the user's, the lock in it is ours
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except IsADirectoryError:
            raise StorageError(
                f"{path} is a folder, and has to be the file by which the run is locked: remove it "
                f"(`rmdir {path}`), and give the same command again"
            ) from None
        except PermissionError:
            if not path.is_file() or not os.access(path.parent, os.W_OK):
                raise
            who = _text_of(path)
            last = f"; {who} wrote here last" if who else ""
            raise StorageError(
                f"{path}: permission denied: the file is of {_owner(path)}{last}. Make it writable "
                f"(`chmod u+w {path}`), or choose another folder with --out"
            ) from None


def _owner(path: Path) -> str:
    try:
        return f"the user {path.owner()}"
    except (OSError, KeyError, NotImplementedError):  # a number without a name
        return "another user"


def _has_name(descriptor: int, path: Path) -> bool:
    """Whether `path` names the file that is open."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


_held: dict[Path, int] = {}
"""Descriptors of the locks that this process holds, by folder."""


def require_there(folder: Path) -> None:
    """Refuse to write on in a folder that was removed, or replaced, under this process's lock.

    What is written into it would be in no folder, or in another run's. A folder that this process
    has not locked is not looked at: others answer for it.

    Raises:
        StorageError: Naming the folder.
    """
    descriptor = _held.get(folder.absolute())
    if descriptor is None:
        return
    path = folder / ".lock"
    if _has_name(descriptor, path):
        return
    raise StorageError(
        f"{folder} was removed or replaced while it was being written ({path} is not the file that "
        "this process locked): nothing more is written into it; put it back, or begin anew with "
        "another --out"
    )


def holder(folder: Path) -> Holder | None:
    """Who holds the folder's lock, or was killed while it held it; none after an orderly end.

    Only reads; a process that begins meanwhile is not disturbed.
    """
    path = folder / ".lock"
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    alive = True  # as its text says, where nothing can be known
    try:
        with suppress(StorageError):
            alive = not _take(descriptor, path, shared=True)
        told = _text_of(path)
        return None if told is None else replace(told, alive=alive)
    finally:
        os.close(descriptor)


_TRIES = 4
"""`holder` has the lock for some microseconds, which must refuse nobody."""


def _take(descriptor: int, path: Path, shared: bool = False) -> bool:
    """Whether the lock is got.

    Raises:
        StorageError: Where the file system has no locks.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    for attempt in range(_TRIES):
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if shared or attempt == _TRIES - 1:
                return False
            time.sleep(0.02)
        except OSError as error:
            raise StorageError(
                f"{path} cannot be locked ({error.strerror}): the file system has no locks, or its "
                "lock service is down, and two runs could write here at once; choose a folder on "
                "another disk with --out"
            ) from error
    return False


def _text_of(path: Path) -> Holder | None:
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        known = {"run": who.get("run", ""), "ended": str(who.get("ended", ""))}
        return Holder(**known, pid=who["pid"], host=who["host"], alive=True)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
