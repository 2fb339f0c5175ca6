"""Plain named arrays: HDF5 without labels, MATLAB files, `.npz` and `.npy`.

Their dims are said by `open_kwargs: {dims: {u: [sample, time, x]}}`. Where they are not, a dim is
known by a 1-D array of its length, if the lengths leave no choice; what they leave open is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci.data import lazy
from diffsci.data.canonical.names import NAMES
from diffsci.data.sources import hdf5
from diffsci.errors import DataError

Found = dict[str, tuple[tuple[int, ...], np.dtype[Any], Callable[[lazy.Key], np.ndarray]]]
"""Of each array: shape, type, and what reads a box of it."""

_AXES = {name for kind in NAMES for name in NAMES[kind]} - {"n", "c", "index"}


_HDF5 = (b"\x89HDF", b"MATLAB 7")
"""First bytes of HDF5; MATLAB's own head lies before them."""


def open_it(path: Path, options: dict[str, Any], where: str) -> xr.Dataset:
    """The arrays of one file under the names of their dims.

    Args:
        path: The file.
        options: `dims`, from an array's name to the names of its dims, in the order that Python
            sees (MATLAB's arrays come in reverse order out of HDF5).
        where: The catalog entry, for messages.

    Raises:
        DataError: Where dims are not said and cannot be known, with the arrays that are there.
    """
    told = options.get("dims", {})
    fits = isinstance(told, dict) and all(isinstance(v, list) for v in told.values())
    if set(options) - {"dims"} or not fits:
        raise DataError(
            f"{where}: open_kwargs: got {options}, expected dims: {{ARRAY: [DIM, ...], ...}}"
        )
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(_HDF5):
        hdf5.require_no_groups(path, where)
    return labelled(_arrays(path), told, path, where, reverse=head.startswith(b"MATLAB 7"))


def labelled(
    found: Found, told: dict[str, list[str]], path: Path, where: str, *, reverse: bool = False
) -> xr.Dataset:
    """The data set of named arrays; see `open_it`.

    Args:
        found: The arrays.
        told: Dims of some of them.
        path: For messages.
        where: The catalog entry, for messages.
        reverse: Whether dims come in reverse order, as MATLAB's do out of HDF5.
    """
    listed = ", ".join(f"{name}{list(shape)}" for name, (shape, *_) in found.items())
    for name in told:
        if name not in found:
            raise DataError(f"{where}: dims: {path} has no array {name!r}; it has {listed}")
    lengths = {n: s[0] for n, (s, *_) in found.items() if len(s) == 1 and n.lower() in _AXES}
    loose = _loose(found, lengths)
    ds = xr.Dataset(attrs={"title": path.stem})
    for name, (shape, kind, read) in found.items():
        if name in lengths and name not in told:
            continue
        dims = told.get(name) or _known(shape, lengths)
        if dims is None or len(dims) != len(shape):
            like = _like(
                {n: s for n, (s, *_) in found.items() if n not in lengths and s != (1,)},
                lengths,
                reverse=reverse,
            )
            raise DataError(
                f"{path}: which dims {name}{list(shape)} has "
                f"{'is not said' if dims is None else f'is told wrongly as {dims}'}; it has "
                f"{listed}; write `engine: arrays` and `open_kwargs: {{dims: {{{like}}}}}`, say, "
                f"in {where}"
            )
        if name not in told and len(shape) > 1 and "sample" in dims and loose:
            raise DataError(_uncounted(loose, name, shape, f"{path}: ", where))
        if name not in told and shape == (1,):  # One number, whatever else there is.
            ds[name] = ((), read((slice(None),))[0])
            continue
        odd = [dim for dim, n in zip(dims, shape, strict=True) if ds.sizes.get(dim, n) != n]
        if odd:
            raise DataError(
                f"{path}: {name}{list(shape)} has another length along {odd[0]} than others, "
                f"{ds.sizes[odd[0]]}; it has {listed}; write the dims of {name} too, as "
                f"`open_kwargs: {{dims: {{{name}: [DIM, ...]}}}}`, in {where}"
            )
        ds[name] = lazy.variable(tuple(dims), shape, kind, read)
    for name, length in lengths.items():
        if name not in ds and ds.sizes.get(name) in (None, length):
            ds = ds.assign_coords({name: (name, found[name][2]((slice(None),)))})
    return ds


def _loose(found: Found, lengths: dict[str, int]) -> str:
    """An axis that is as long as no dim of any array; empty where there is none."""
    sizes = {n for shape, *_ in found.values() if len(shape) > 1 for n in shape}
    odd = (f"{name}[{n}]" for name, n in lengths.items() if n > 1 and n not in sizes)
    return next(odd, "")


def _uncounted(axis: str, name: str, shape: tuple[int, ...], path: str, where: str) -> str:
    """What to say of an array with a dim that no axis counts, beside an axis that counts none."""
    return (
        f"{path}{axis} is as long as no dim of {name}{list(shape)}, and nothing says what one of "
        f"these counts; cut the axis, or write `engine: arrays` and "
        f"`open_kwargs: {{dims: {{{name}: [DIM, ...]}}}}` in {where}"
    )


def _known(shape: tuple[int, ...], lengths: dict[str, int]) -> list[str] | None:
    """The dims that lengths alone give; none where two axes, or two dims, have one length."""
    if not shape:
        return []
    if len(set(shape)) < len(shape):
        return None
    found = [[name for name, length in lengths.items() if length == n] for n in shape]
    if any(len(names) > 1 for names in found):
        return None
    if len(shape) == 1 and not found[0]:
        return ["sample"]
    open_axes = [axis for axis, names in enumerate(found) if not names]
    if len(open_axes) > 1 or (open_axes and open_axes != [0]):
        return None
    return [names[0] if names else "sample" for names in found]


def _like(shapes: dict[str, tuple[int, ...]], lengths: dict[str, int], *, reverse: bool) -> str:
    """How dims may be told, to be corrected: lengths that fit, samples first, then space.

    Args:
        shapes: Of the arrays without known dims.
        lengths: Of the known axes.
        reverse: Whether dims come in reverse order.
    """
    # A 1-D array of an odd name has the length of the axis that it counts, of time as a rule.
    loose = {shape[0] for shape in shapes.values() if len(shape) == 1} - set(lengths.values())
    lines = []
    for name, shape in shapes.items():
        known: list[str] = []
        for size in shape:
            fits = (dim for dim, n in lengths.items() if n == size and dim not in known)
            known.append(next(fits, "time" if size in loose and "time" not in known else ""))
        open_axes = known.count("")
        rest = iter(["sample", *["z", "y", "x"][max(0, 4 - open_axes) :]])
        named = [d or next(rest, "dim") for d in (known[::-1] if reverse else known)]
        lines.append(f"{name}: [{', '.join(named[::-1] if reverse else named)}]")
    return ", ".join(lines)


def _arrays(path: Path) -> Found:
    with path.open("rb") as file:
        head = file.read(8)
    if head.startswith(_HDF5):
        with hdf5.opened(path) as file:
            found = {
                name: (item.shape, item.dtype, hdf5.reader(path, name))
                for name, item in file.items()
                if hasattr(item, "shape") and item.dtype.kind in "fiub"
            }
            _require_fields(
                found, {n: str(getattr(v, "dtype", "a group")) for n, v in file.items()}, path
            )
        return _vectors(found, every=head.startswith(b"MATLAB"))
    try:
        if head.startswith(b"\x93NUMPY"):
            loaded: dict[str, np.ndarray] = {path.stem: np.lib.format.open_memmap(path, "r")}
        elif head.startswith(b"PK"):
            with np.load(path, allow_pickle=False) as file:
                loaded = {name: file[name] for name in file.files}
        else:
            loaded = _matlab(path)
    except (ValueError, OSError, EOFError, NotImplementedError, TypeError) as error:
        raise DataError(
            f"{path}: no arrays can be read ({error}); fetch it again, "
            "or save it as plain arrays of numbers"
        ) from error
    kept = {n: (v.shape, v.dtype, _box_of(v)) for n, v in loaded.items() if v.dtype.kind in "fiub"}
    _require_fields(kept, {n: str(v.dtype) for n, v in loaded.items()}, path)
    return _vectors(kept, every=False)


def _require_fields(found: Found, kinds: dict[str, str], path: Path) -> None:
    """Refuse a file whose fields are no plain numbers: complex ones, structs, objects.

    Raises:
        DataError: With what they are.
    """
    odd = [f"{name} ({kind})" for name, kind in kinds.items() if name not in found]
    if odd and not any(len(shape) > 1 and 1 not in shape for shape, *_ in found.values()):
        raise DataError(
            f"{path}: no fields of plain numbers: {', '.join(odd)}; save real and imaginary parts, "
            "or what a struct holds, as arrays of their own"
        )


def _vectors(found: Found, *, every: bool) -> Found:
    """With MATLAB's vectors along one dim; the one of length 1 is an accident of its matrices.

    Args:
        found: The arrays.
        every: Whether all are so; else those that have the name of an axis, or its length.
    """

    def flat(read: Callable[[lazy.Key], np.ndarray]) -> Callable[[lazy.Key], np.ndarray]:
        return lambda key: read((slice(None), slice(None))).ravel()[key]

    fields = [shape for shape, *_ in found.values() if len(shape) > 1 and 1 not in shape]
    sizes = {n for shape in fields for n in shape}

    def is_one(name: str, shape: tuple[int, ...]) -> bool:
        # As long as a dim of a field, or one number beside fields: no field itself.
        known = name.lower() in _AXES or max(shape) in sizes or (shape == (1, 1) and bool(fields))
        return every or known

    return {
        name: ((max(shape),), kind, flat(read))
        if len(shape) == 2 and 1 in shape and is_one(name, shape)
        else (shape, kind, read)
        for name, (shape, kind, read) in found.items()
    }


def _box_of(values: np.ndarray) -> Callable[[lazy.Key], np.ndarray]:
    return lambda key: np.asarray(values[key])


def _matlab(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a MATLAB file up to version 7; vectors lose their dim of length 1."""
    from scipy.io import loadmat  # type: ignore[import-untyped]  # slow, and rarely needed

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = loadmat(path)
    arrays = {n: np.asarray(v) for n, v in plain.items() if not n.startswith("__")}
    return {n: v.ravel() if v.ndim == 2 and 1 in v.shape else v for n, v in arrays.items()}
