"""Keeping: what was read of a remote Zarr store stays in the cache folder, key by key.

A key is kept under a digest of the store's address and of what the server says of its version, so
that a store that was written anew is read anew.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Any

from zarr.storage import WrapperStore


def folder() -> Path:
    """The cache folder: `$DIFFSCI_CACHE`, else `~/.cache/diffsci`."""
    told = os.environ.get("DIFFSCI_CACHE")
    return Path(told).expanduser() if told else Path.home() / ".cache" / "diffsci"


class Keeping(WrapperStore[Any]):
    """A store whose whole keys are read once; parts of them are read where they lie.

    Args:
        store: Where it lies.
        folder: Where its keys are kept.
    """

    def __init__(self, store: Any, folder: Path) -> None:  # noqa: ANN401  zarr has no types
        super().__init__(store)
        self.folder = folder

    def _with_store(self, store: Any) -> Keeping:  # noqa: ANN401  as zarr has it
        return Keeping(store, self.folder)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:  # noqa: ANN401
        """The bytes of a key, from the folder where they are there already."""
        if byte_range is not None:
            return await self._store.get(key, prototype, byte_range)
        path = self.folder / f"{key}.kept"  # A key may be a folder of others.
        if path.is_file():
            return prototype.buffer.from_bytes(path.read_bytes())
        found = await self._store.get(key, prototype, None)
        if found is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f".{path.name}.{os.getpid()}")
            fresh.write_bytes(found.to_bytes())
            fresh.rename(path)
        return found

    async def _get_many(
        self, requests: Iterable[tuple[str, Any, Any]]
    ) -> AsyncGenerator[Any, None]:
        for key, prototype, byte_range in requests:
            yield key, await self.get(key, prototype, byte_range)
