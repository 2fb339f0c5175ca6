"""Times that can be compared on a machine that is not quiet: all that is compared takes turns.

Each round calls everything once, beginning with another one each time, so that a drift of the
machine hits all alike; what counts is the median over the rounds. FLOP are counted by torch's own
counter (a multiplication and an addition are two), which sees convolutions, matrix products and
attention in any project's code.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Call = Callable[[], object]
Clock = Callable[[], float]
_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONVOLUTIONS = {
    1: ((32, 128, (2048,)), (8, 256, (2048,)), (32, 256, (1024,))),
    2: ((8, 128, (64, 64)), (8, 64, (64, 64)), (8, 256, (32, 32)), (8, 128, (32, 32))),
    3: ((2, 64, (32, 32, 32)), (2, 128, (16, 16, 16)), (2, 128, (32, 32, 32))),
}
"""Batch, channels and cells of the 3-wide convolutions that are tried, by space dims."""


def cpu_clock(threads: int) -> Clock:
    """CPU seconds over threads: what a quiet machine would take, if the threads were all busy."""
    return lambda: time.process_time() / threads


def interleaved(
    calls: dict[str, Call], rounds: int, warm: int = 2, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each call, one a round; all are called in turn, in rotating order.

    Args:
        calls: By name.
        rounds: That are timed.
        warm: Rounds before them.
        clock: Seconds.
    """
    names = list(calls)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm + rounds):
        first = number % max(1, len(names))
        for name in names[first:] + names[:first]:
            started = clock()
            calls[name]()
            if number >= warm:
                seconds[name].append(clock() - started)
    return seconds


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Of each call."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def flop(call: Call) -> int:
    """Floating point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def laid(x: Tensor, channels_last: bool) -> Tensor:
    """A field with its channels last in memory, where there is such a layout."""
    wanted = channels_last and x.ndim in _FORMATS
    return x.contiguous(memory_format=_FORMATS[x.ndim]) if wanted else x


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a network is run."""

    precision: str = "fp32"
    channels_last: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        layout = "channels last" if self.channels_last else "contiguous"
        return f"{self.precision}, {layout}" + (", compiled" if self.compiled else "")

    def lay_out(self, module: nn.Module) -> nn.Module:
        """The module as it is to be called; convolutions change in place."""
        for part in module.modules() if self.channels_last else ():
            weight = getattr(part, "weight", None)
            if isinstance(weight, Tensor) and weight.ndim in _FORMATS:
                part.to(memory_format=_FORMATS[weight.ndim])
        return torch.compile(module) if self.compiled else module

    def autocast(self) -> AbstractContextManager[object]:
        """Around the network, as a user would write it."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast("cpu", dtype=torch.bfloat16)


def forward_call(module: nn.Module, x: Tensor, level: Tensor, way: Way) -> Call:
    """One forward in inference mode."""
    module = way.lay_out(module.eval())
    x = laid(x, way.channels_last)

    def call() -> Tensor:
        with torch.inference_mode(), way.autocast():
            return module(x, level)

    return call


def step_call(module: nn.Module, x: Tensor, level: Tensor, way: Way) -> Call:
    """One training step: forward, mean squared error, backward, AdamW."""
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)
    module = way.lay_out(module.train())
    x, wanted = laid(x, way.channels_last), torch.randn_like(x)

    def call() -> None:
        with way.autocast():
            out = module(x, level)
        F.mse_loss(out.float(), wanted).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return call


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A 3-wide convolution in bf16 with channels last: what the machine can do."""

    batch: int
    channels: int
    cells: tuple[int, ...]
    dtype: torch.dtype = torch.bfloat16

    def __str__(self) -> str:
        size = " x ".join(map(str, self.cells))
        return f"{self.channels} -> {self.channels} at {self.batch} x {size}"

    def calls(self) -> tuple[Call, Call]:
        """Forward in inference mode, and forward with backward to input and filter."""
        dims = len(self.cells)
        conv = partial(_CONV[dims], padding=1)
        x = torch.randn(self.batch, self.channels, *self.cells, dtype=self.dtype)
        w = torch.randn(self.channels, self.channels, *(3,) * dims, dtype=self.dtype) / 30
        x, w = laid(x, True), laid(w, True)
        a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
        g = torch.randn_like(x)

        def forward() -> Tensor:
            with torch.inference_mode():
                return conv(x, w)

        def both() -> tuple[Tensor, ...]:
            return torch.autograd.grad(conv(a, b), (a, b), g)

        return forward, both


def convolutions(dims: int) -> dict[str, Convolution]:
    """Those tried in so many dims, by name."""
    tried = [Convolution(batch=b, channels=c, cells=s) for b, c, s in CONVOLUTIONS[dims]]
    return {str(one): one for one in tried}
