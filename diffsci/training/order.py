"""Order and randomness of training as pure functions of counters.

Which examples make step k, and every random number used in it, depend on (seed, k) alone. So
nothing random has to be saved: a resumed run draws what the uninterrupted one would have drawn.
Epochs are permutations laid end to end; step k takes positions k * batch_size onwards, across their
borders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


def key(*words: int | str) -> int:
    """64 bits that belong to these words, the same on every machine."""
    text = "/".join(str(word) for word in words).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> Int[np.ndarray, " count"]:
    """Order of `count` examples in one epoch."""
    # numpy promises the stream of the bit generator for ever, that of `permutation` not.
    bits = np.random.Philox(key=key("order", seed, epoch)).random_raw(count)
    order = np.argsort(bits, kind="stable")
    order.flags.writeable = False
    return order


def examples_of_step(
    seed: int, step: int, batch_size: int, count: int
) -> Int[np.ndarray, " batch_size"]:
    """Indices of the examples of one step (counted from 0) of a set of `count`."""
    epoch, offset = divmod(step * batch_size, count)
    if offset + batch_size <= count:  # as in most steps, and a tenth of the time
        return permutation(seed, epoch, count)[offset : offset + batch_size].copy()
    position = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(position, count)
    return np.concatenate(
        [
            permutation(seed, int(epoch), count)[offsets[epochs == epoch]]
            for epoch in np.unique(epochs)
        ]
    )


class Draws:
    """Random numbers of one step, drawn for the whole batch; a rank keeps its own rows.

    Args:
        words: What the numbers belong to, such as a seed and a step.
        count: Examples of the whole batch.
        rows: The rows of this process.
        device: Where they are drawn; the same words give other numbers on another kind of device.
    """

    def __init__(self, *words: int | str, count: int, rows: slice, device: torch.device) -> None:
        # The CPU generator keeps 32 bits of the seed. Two steps of a long run may then share their
        # noise, which does no harm: their examples differ.
        self._generator = torch.Generator(device).manual_seed(key(*words) >> 1)
        self._count, self._rows, self._device = count, rows, device
        self._all = rows == slice(0, count)
        # MPS has no float64.
        self._dtype = torch.float32 if device.type == "mps" else torch.float64

    def normal(self, like: Float[Tensor, "rows ..."]) -> Float[Tensor, "rows ..."]:
        """Standard normal numbers, of the shape and dtype of the tensor given."""
        shape = (self._count, *like.shape[1:])
        drawn = torch.randn(shape, generator=self._generator, dtype=like.dtype, device=self._device)
        return self._own(drawn)

    def uniform(self) -> Float[Tensor, " rows"]:
        """One float64 number in [0, 1) for each example."""
        return self._own(self._uniform())

    def stratified(self, dtype: torch.dtype) -> Float[Tensor, " rows"]:
        """Numbers in (0, 1), one in each of `count` equal intervals, in random order.

        Each is uniform, and their mean varies far less than that of independent ones.
        """
        # In place, of one dtype, and without the whole's own slice: small tensors cost what their
        # calls do, and a mixture of dtypes costs more.
        strata = torch.randperm(
            self._count, generator=self._generator, dtype=self._dtype, device=self._device
        )
        uniform = self._uniform().add_(strata).div_(self._count)
        return self._own(open_interval(uniform, dtype))

    def _own(self, drawn: Tensor) -> Tensor:
        """The rows of this process."""
        return drawn if self._all else drawn[self._rows]

    def _uniform(self) -> Tensor:
        return torch.rand(
            self._count, generator=self._generator, dtype=self._dtype, device=self._device
        )


def open_interval(uniform: Float[Tensor, " batch"], dtype: torch.dtype) -> Float[Tensor, " batch"]:
    """The same numbers in another dtype, never rounded to 0 or 1, where a quantile is infinite."""
    edge = _eps(dtype)
    return uniform.to(dtype).clamp(edge, 1 - edge)


@lru_cache
def _eps(dtype: torch.dtype) -> float:
    """Kept: in a step of a few milliseconds, asking torch shows."""
    return torch.finfo(dtype).eps


def seed_dropout(device: torch.device, *words: int | str) -> None:
    """Seed the global generator of a device, from which layers such as dropout draw."""
    seed = key(*words) >> 1
    # Not torch.manual_seed: it also queues a call for each kind of device that is not there.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Only deterministic kernels inside the block, where that is wanted."""
    if not wanted:
        yield
        return
    # By the debug mode: the other switch sets one of the compiler too, and takes far longer.
    before = torch.get_deterministic_debug_mode()
    memory: Any = torch.utils.deterministic  # its flag is a property that type checkers miss
    filling = memory.fill_uninitialized_memory
    torch.set_deterministic_debug_mode(2)
    memory.fill_uninitialized_memory = False  # costs time, and hides no bug of ours
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)
        memory.fill_uninitialized_memory = filling
