"""Folders of images: PNG, JPEG, TIFF up to 16 bits, `.npy`; classes by folder or table; videos.

`open_kwargs` say what files cannot: `layout: images` (the default; a subfolder is a class where all
images lie in subfolders), `frames` (a subfolder is one sequence in time); `labels: FILE.csv` with a
line `file,class` each; `colour: rgb` or `grey`; `size: [rows, columns]` with `fit: crop`, `pad` or
`resize` where sizes differ. Values are as stored, 0 to 255 or 0 to 65535, as float32.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci.data import lazy
from diffsci.data.sources.pixels import Policy, pixels, shape_of
from diffsci.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy")
_KNOWN = {
    "layout": ("images", "frames"),
    "colour": ("rgb", "grey"),
    "fit": ("crop", "pad", "resize"),
}


def holds(folder: Path) -> bool:
    """Whether a folder has images in it, or in its subfolders."""
    return any(_images(folder)) or any(any(_images(sub)) for sub in _subfolders(folder))


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def open_it(path: Path, options: dict[str, Any], where: str) -> xr.Dataset:
    """The images of a folder: dims sample, [time,] y, x, [channel], read when they are selected.

    Args:
        path: The folder, or one image.
        options: See the module.
        where: The catalog entry, for messages.

    Raises:
        DataError: For an unknown option, and for images that differ; naming the files.
    """
    known = {*_KNOWN, "labels", "size", "variable"}
    for key, value in options.items():
        if key not in known or (key in _KNOWN and value not in _KNOWN[key]):
            said = f", expected {' or '.join(_KNOWN[key])}" if key in _KNOWN else ""
            raise DataError(
                f"{where}: open_kwargs.{key}: got {value!r}{said}; there are {', '.join(known)}"
            )
    size = options.get("size")
    if size is not None and (
        not isinstance(size, list)
        or len(size) != 2
        or not all(type(n) is int and n > 0 for n in size)
    ):
        raise DataError(f"{where}: open_kwargs.size: got {size!r}, expected [rows, columns]")
    policy = Policy(
        colour=options.get("colour"),
        size=None if size is None else (size[0], size[1]),
        fit=options.get("fit"),
    )
    rows, labels = _listed(path, options, where)
    shape, names = _one_shape([file for row in rows for file in row], policy, path, where)
    moving = options.get("layout") == "frames"
    made = _stack(rows, shape, policy, moving=moving)
    attributes = {"title": path.name}
    ds = xr.Dataset({str(options.get("variable", "intensity")): made}, attrs=attributes)
    if labels is not None:
        classes = sorted(set(labels))
        ds["label"] = ("sample", np.array([classes.index(word) for word in labels]))
        ds["label"].attrs["classes"] = ", ".join(classes)
    return ds.assign_coords(channel=list(range(len(names)))) if "channel" in ds.dims else ds


def _listed(
    path: Path, options: dict[str, Any], where: str
) -> tuple[list[list[Path]], list[str] | None]:
    """Files of each sample, frame by frame, and the class of each sample where there is one."""
    if path.is_file():
        return [[path]], None
    flat, inside = _images(path), {sub: _images(sub) for sub in _subfolders(path)}
    inside = {sub: files for sub, files in inside.items() if files}
    if options.get("layout") == "frames":
        rows = list(inside.values()) or [flat]
        counts = {len(row) for row in rows}
        if len(counts) > 1:
            raise DataError(
                f"{path}: its sequences have {min(counts)} to {max(counts)} frames, expected as "
                "many in each; cut the longer ones, or make an entry for each length"
            )
        return rows, None
    if "labels" in options:
        table = _table(path / str(options["labels"]), where)
        files = flat + [file for found in inside.values() for file in found]
        names = [str(file.relative_to(path)) for file in files]
        missing = [name for name in names if name not in table]
        if missing:
            raise DataError(
                f"{path / str(options['labels'])}: no class for {len(missing)} images, the first "
                f"is {missing[0]}; add a line `FILE,CLASS` for each"
            )
        return [[file] for file in files], [table[name] for name in names]
    if flat and inside:
        raise DataError(
            f"{path}: images lie both in it and in its subfolders ({next(iter(inside)).name}, ...);"
            " put all into subfolders, one for each class, or none"
        )
    if flat:
        return [[file] for file in flat], None
    pairs = [(file, sub.name) for sub, files in inside.items() for file in files]
    return [[file] for file, _ in pairs], [word for _, word in pairs]


def _table(path: Path, where: str) -> dict[str, str]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{where}: open_kwargs.labels: {path} cannot be read ({error})") from error
    wrong = [line for line in lines if len(line) != 2]
    if wrong:
        raise DataError(f"{path}: got the line {','.join(wrong[0])!r}, expected FILE,CLASS")
    return {name: word.strip() for name, word in lines}


def _one_shape(
    files: list[Path], policy: Policy, path: Path, where: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows, columns and channels of all images; every file that cannot be read is named."""
    found: dict[tuple[int, ...], Path] = {}
    faults = []
    for file in files:
        try:
            found.setdefault(shape_of(file, policy), file)
        except DataError as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    kinds = {shape[2:] for shape in found}
    if len(kinds) > 1:
        raise DataError(
            f"{path}: grey and colour images are mixed ({_pair(found)}); write `open_kwargs: "
            f"{{colour: rgb}}` or `{{colour: grey}}` in {where}"
        )
    sizes = {shape[:2] for shape in found}
    size = policy.size or next(iter(sizes))
    if sizes != {size} and (policy.fit is None or policy.size is None):
        raise DataError(
            f"{path}: images differ in size ({_pair(found)}); write `open_kwargs: {{size: [rows, "
            f"columns], fit: crop}}` (or pad, resize) in {where}"
        )
    kind = next(iter(kinds))
    return (*size, *kind), tuple(range(kind[0])) if kind else ()


def _pair(found: dict[tuple[int, ...], Path]) -> str:
    return ", ".join(f"{list(shape)} in {file.name}" for shape, file in list(found.items())[:2])


def _stack(
    rows: list[list[Path]], shape: tuple[int, ...], policy: Policy, *, moving: bool
) -> xr.Variable:
    """The lazy variable: a file is read when one of its pixels is."""

    def read(key: lazy.Key) -> np.ndarray:
        lead = rows[key[0]] if isinstance(key[0], slice) else [rows[key[0]]]
        frame = key[1] if moving else 0
        inner = key[2:] if moving else key[1:]
        blocks = []
        for row in lead:
            chosen = row[frame] if isinstance(frame, slice) else [row[frame]]
            block = np.stack([pixels(file, shape, policy)[inner] for file in chosen])
            blocks.append(block if isinstance(frame, slice) else block[0])
        return np.stack(blocks) if isinstance(key[0], slice) else blocks[0]

    dims = (
        "sample",
        *(("time",) if moving else ()),
        "y",
        "x",
        *(("channel",) if shape[2:] else ()),
    )
    lead = (len(rows), len(rows[0])) if moving else (len(rows),)
    return lazy.variable(dims, (*lead, *shape), np.float32, read, {"units": "1"})
