"""Places: where a store may lie, on this machine or under an address of fsspec such as `s3://`.

On this machine a folder takes another's place by renaming, and what is committed is flushed to the
disk. An object store knows no renaming: there a store is *there* when the metadata of its root are,
so these objects are deleted first and written last, and in between there is no store.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from diffsci.errors import StorageError
from diffsci.files import failpoint, put_in_place, remove_folder, storage_errors, sync, write_bytes

_ROOT = (".zmetadata", ".zattrs", ".zgroup", "zarr.json")
"""Metadata of a store's root; readers look for one of the last two."""


@dataclass(frozen=True)
class Place:
    """A folder, or a prefix of an object store.

    Args:
        address: Path, or `protocol://...`.
    """

    address: str

    @classmethod
    def of(cls, where: Path | str) -> Place:
        """The place of a path or an address."""
        text = str(where).removeprefix("file://").rstrip("/")
        return cls(text)

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """Its last part."""
        return self.address.rpartition("/")[2]

    @property
    def is_remote(self) -> bool:
        """Whether it lies under an address of fsspec."""
        return "://" in self.address

    @property
    def path(self) -> Path:
        """The folder; of a remote place there is none."""
        assert not self.is_remote
        return Path(self.address)

    @cached_property
    def _files(self) -> Any:  # noqa: ANN401  fsspec has no types
        try:
            return fsspec.core.url_to_fs(self.address)[0]
        except (ImportError, ValueError) as error:
            raise StorageError(
                f"{self}: cannot be reached ({error}); install what fsspec asks for, or give a path"
            ) from error

    def require_reachable(self) -> None:
        """Refuse an address of which fsspec knows nothing.

        Raises:
            StorageError: Naming the address.
        """
        if self.is_remote:
            _ = self._files

    @property
    def is_in_memory(self) -> bool:
        """Whether it is gone with this process."""
        return self.address.startswith("memory://")

    def inside(self, name: str) -> Place:
        """A place in it."""
        return Place(f"{self.address}/{name}")

    def beside(self, name: str) -> Place:
        """A place in the same folder."""
        head, slash, _ = self.address.rpartition("/")
        return Place(f"{head}{slash}{name}")

    def has_store(self) -> bool:
        """Whether a whole Zarr store is there."""
        if not self.is_remote:
            return self.path.exists()
        return any(self._files.exists(f"{self}/{name}") for name in _ROOT[2:])

    def has(self, name: str) -> bool:
        """Whether there is a file, or anything below a name."""
        there = self.inside(name)
        return bool(self._files.exists(str(there))) if self.is_remote else there.path.exists()

    def names(self) -> list[str]:
        """What is in it, sorted."""
        if not self.is_remote:
            return sorted(os.listdir(self.path)) if self.path.is_dir() else []
        self._files.invalidate_cache()
        if not self._files.exists(self.address):
            return []
        found = self._files.ls(self.address, detail=False)
        return sorted(each.rstrip("/").rpartition("/")[2] for each in found)

    def read(self, name: str) -> bytes:
        """The bytes of a file in it."""
        there = self.inside(name)
        return (
            bytes(self._files.cat_file(str(there))) if self.is_remote else there.path.read_bytes()
        )

    def write(self, name: str, content: bytes) -> None:
        """Write a file in it, whole or not at all, and durably.

        Raises:
            StorageError: When it cannot be written.
        """
        there = self.inside(name)
        if not self.is_remote:
            write_bytes(there.path, content)
            return
        with self.errors(len(content)):
            self._files.pipe_file(str(there), content)

    def take(self, name: str, other: Place, its: str) -> None:
        """Have a file of another place under a name of this one, sharing its bytes where it can.

        Raises:
            StorageError: When it cannot be written.
        """
        here, there = self.inside(name), other.inside(its)
        with self.errors():
            if self.is_remote:
                self._files.cp_file(str(there), str(here))
                return
            here.path.parent.mkdir(parents=True, exist_ok=True)
            here.path.unlink(missing_ok=True)
            try:
                os.link(there.path, here.path)
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(there.path, here.path)

    def remove_file(self, name: str) -> None:
        """Delete a file in it, where there is one."""
        there = self.inside(name)
        with self.errors():
            if not self.is_remote:
                there.path.unlink(missing_ok=True)
            elif self._files.exists(str(there)):
                self._files.rm_file(str(there))

    def errors(self, needed: int = 0) -> Any:  # noqa: ANN401  a context manager of contextlib
        """A block whose `OSError` become one readable message."""
        return storage_errors(Path(self.address), needed)

    def secure(self, files: Iterable[str]) -> None:
        """Flush some files of it, and the folders that lead to them, to the disk."""
        if self.is_remote:
            return
        folders = {self.path}
        with self.errors():
            for name in files:
                path = self.path / name
                sync(path)
                folders |= {each for each in path.parents if self.path in each.parents}
            for folder in folders:
                sync(folder)

    def files(self) -> Iterator[str]:
        """All files below it, by their path from here."""
        if self.is_remote:
            head = self._files._strip_protocol(self.address).rstrip("/") + "/"
            for each in sorted(self._files.find(self.address)):
                yield str(each).removeprefix(head)
            return
        for path in sorted(self.path.rglob("*")):
            if path.is_file():
                yield str(path.relative_to(self.path))

    def remove(self) -> None:
        """Delete it and all below; at no instant does a part of it look like a whole store."""
        if not self.is_remote:
            if self.path.exists():
                remove_folder(self.path)
            return
        with self.errors():
            for name in _ROOT:
                if self._files.exists(f"{self}/{name}"):
                    self._files.rm_file(f"{self}/{name}")
            if self._files.exists(self.address):
                self._files.rm(self.address, recursive=True)

    def publish(self, fresh: Place) -> None:
        """Take the place of `fresh`, a whole store; what was here is gone afterwards.

        After a kill it may be called again, as long as `fresh` is there.
        """
        with self.errors():
            if not self.is_remote:
                self._clear_retired()
                put_in_place(fresh.path, self.path)
                failpoint("store.named")
                sync(self.path.parent)
                self._clear_retired()
                return
            self.remove()
            failpoint("store.retired")
            for name in sorted(fresh.files(), key=lambda name: name in _ROOT):
                self._files.cp_file(f"{fresh}/{name}", f"{self}/{name}")
            failpoint("store.named")

    def _clear_retired(self) -> None:
        # What stood here before, when a kill came between two renamings.
        for path in self.path.parent.glob(f".{self.name}.old-*"):
            if self.path.exists():
                shutil.rmtree(path)

    def restore(self) -> None:
        """Bring back what stood here, when a kill came before the new store took its place."""
        if self.is_remote or not self.path.parent.is_dir():
            return
        with self.errors():
            for path in self.path.parent.glob(f".{self.name}.old-*"):
                if self.path.exists():
                    shutil.rmtree(path)
                else:
                    path.rename(self.path)
            # Of folders that were being removed, the work folder among them.
            for pattern in (f".{self.name}.tmp-*", f"..{self.name}.work.tmp-*"):
                for path in self.path.parent.glob(pattern):
                    shutil.rmtree(path, ignore_errors=True)
