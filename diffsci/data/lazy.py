"""Lazy arrays: values that are read, or computed, where they are selected and nowhere else.

No handle is kept open: each read opens its file and closes it, so that thousands of files need one
descriptor, and a worker process inherits nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

Key = tuple[int | slice, ...]
"""One index or slice for each dim, as `read` gets it."""


class _Lazy(BackendArray):
    """What xarray indexes; `read` is asked for boxes alone, or also for lists where it can."""

    def __init__(
        self,
        read: Callable[[Any], np.ndarray],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        support: indexing.IndexingSupport,
    ) -> None:
        self.shape, self.dtype = shape, dtype
        self._read, self._support = read, support

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:  # noqa: ANN401  as xarray has it
        return indexing.explicit_indexing_adapter(key, self.shape, self._support, self._read)


def variable(
    dims: tuple[str, ...],
    shape: tuple[int, ...],
    dtype: np.dtype[Any] | type,
    read: Callable[[Key], np.ndarray],
    attributes: dict[str, Any] | None = None,
) -> xr.Variable:
    """A variable whose values `read` gives, box by box.

    Args:
        dims: Of the variable.
        shape: Of all of it.
        dtype: Of what `read` gives.
        read: From an index or slice for each dim to the values; an index drops its dim.
        attributes: Of the variable.
    """
    array = _Lazy(read, shape, np.dtype(dtype), indexing.IndexingSupport.BASIC)
    return xr.Variable(dims, indexing.LazilyIndexedArray(array), attributes)


def selected(
    source: xr.Variable,
    read: Callable[[Any], np.ndarray],
    dtype: np.dtype[Any] | type | None = None,
) -> xr.Variable:
    """A variable like another one, whose values `read` gives by slices, numbers or lists of them.

    Args:
        source: Gives dims, shape and attributes.
        read: From a key, as `source[key]` takes it, to the values.
        dtype: Of what `read` gives; none is that of the source.
    """
    support = indexing.IndexingSupport.OUTER
    array = _Lazy(read, source.shape, np.dtype(dtype or source.dtype), support)
    return xr.Variable(source.dims, indexing.LazilyIndexedArray(array), source.attrs)


def derived(
    source: xr.Variable, function: Callable[[np.ndarray], np.ndarray], dtype: np.dtype[Any] | type
) -> xr.Variable:
    """A variable computed value by value from another one, where it is read."""
    return selected(source, lambda k: np.asarray(function(source[k].values), dtype=dtype), dtype)


def joined(parts: list[xr.Variable], axis: int) -> xr.Variable:
    """The variables one after another along an axis; a box is read from those that it touches.

    Args:
        parts: Alike but for their length along the axis.
        axis: Number of the dim.
    """
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(part.shape[axis] for part in parts)])
    shape = list(parts[0].shape)
    shape[axis] = int(starts[-1])
    kind = np.result_type(*{part.dtype for part in parts})

    def read(key: Key) -> np.ndarray:
        along = key[axis]
        if not isinstance(along, slice):
            number = int(np.searchsorted(starts, along, side="right")) - 1
            inner = (*key[:axis], along - int(starts[number]), *key[axis + 1 :])
            return np.asarray(parts[number][inner].values)
        blocks = []
        first, last, step = along.indices(int(starts[-1]))
        dropped = sum(not isinstance(k, slice) for k in key[:axis])
        for number in range(int(np.searchsorted(starts, first, side="right")) - 1, len(parts)):
            begin, end = int(starts[number]), int(starts[number + 1])
            if begin >= last:
                break
            skip = -(-max(begin - first, 0) // step) * step + first  # The first of the step inside.
            if skip < min(end, last):
                box = slice(skip - begin, min(end, last) - begin, step)
                blocks.append(
                    np.asarray(parts[number][(*key[:axis], box, *key[axis + 1 :])].values)
                )
        if not blocks:
            none = (*key[:axis], slice(0, 0), *key[axis + 1 :])
            blocks.append(np.asarray(parts[0][none].values))
        return np.concatenate(blocks, axis=axis - dropped)

    return variable(parts[0].dims, tuple(shape), kind, read, parts[0].attrs)  # type: ignore[arg-type]
