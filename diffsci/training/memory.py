"""How much memory is free for a run: on the device, and within what a container may take.

And what becomes of memory that is freed. The C library of Linux gives blocks of megabytes back to
the system at once, and a step asks for the same blocks again: the system then has to clear and map
every page of them anew, which took a third of a training step of 128 x 128 cells.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

SHARE = 0.75
"""Of the free memory, what a run may take by our count: it took up to 1.34 times as much."""

_NAMES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of a control group's limit and use, and the part that is given back when asked for."""


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's settings: how much free memory is given back, and what is a block alone."""

_KEPT = 2**31 - 1
_USUAL = (2**26, 2**25)
"""What glibc itself comes to in a process that frees large blocks."""


@contextmanager
def kept() -> Iterator[None]:
    """A block in which freed memory stays with the process; it is given back at the end.

    Only where the C library is glibc; elsewhere nothing is done. No number depends on it.
    """
    library = _glibc()
    if library is None:
        yield
        return
    # Older ones take no more than 32 MiB for blocks of their own.
    if not library.mallopt(_MMAP_THRESHOLD, _KEPT):
        library.mallopt(_MMAP_THRESHOLD, _USUAL[1])
    library.mallopt(_TRIM_THRESHOLD, _KEPT)
    try:
        yield
    finally:
        for setting, value in zip((_TRIM_THRESHOLD, _MMAP_THRESHOLD), _USUAL, strict=True):
            library.mallopt(setting, value)
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, where it is glibc."""
    try:
        library = ctypes.CDLL(None)
        found = all(getattr(library, name) for name in ("mallopt", "malloc_trim"))
        return library if found and library.gnu_get_libc_version else None
    except (AttributeError, OSError, TypeError):
        return None


def free(device: str, root: Path = Path("/")) -> int:
    """Bytes that are free on a device.

    Args:
        device: As torch names it.
        root: Where `proc` and `sys` are.
    """
    kind = device.partition(":")[0]
    if kind == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if kind == "mps":
        most = torch.mps.recommended_max_memory()
        return max(0, most - torch.mps.driver_allocated_memory())
    return max(0, min([_available(), *_within_limits(root)]))


def _available() -> int:
    """What the machine can give without swapping."""
    try:
        import psutil
    except ImportError:  # a run works without it; pages that hold files then do not count as free
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(psutil.virtual_memory().available)


def _within_limits(root: Path) -> Iterator[int]:
    """What the control groups of this process leave, each and those above it."""
    for folder in _groups(root):
        for limit, used, cache in _NAMES:
            most, now = _number(folder / limit), _number(folder / used)
            if most is not None and now is not None:
                yield most - now + _cached(folder / "memory.stat", cache)


def _groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups; a container may see its own as the top."""
    file = root / "proc/self/cgroup"
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = root / "sys/fs/cgroup" / controllers
        own = top / name.lstrip("/")
        yield top
        yield from (place for place in (own, *own.parents) if top in place.parents)


def _number(file: Path) -> int | None:
    """Bytes in a file; none where there is no such file, or no limit."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _cached(file: Path, word: str) -> int:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    found = [int(line.split()[1]) for line in lines if line.startswith(f"{word} ")]
    return sum(found)
