"""Where and how a run computes: the `runtime` section, resolved on this machine.

None of it changes what is computed. All but the checkpointing changes last bits, so what a run was
begun with is recorded, and kept where it goes on.

The rule for the memory format stands in `machine.py`, that for compiling in `compiled_for`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from diffsci.diffusion.denoiser import Denoiser
from diffsci.errors import ConfigError, DiffsciError, FieldError
from diffsci.machine import (
    BACKEND,
    cannot_compile,
    cannot_halve,
    device_name,
    first_line,
    has_fast_bf16,
    usual_memory_format,
)
from diffsci.networks.base import Module
from diffsci.sections import Runtime
from diffsci.training import memory

Built = TypeVar("Built", bound=nn.Module)
MemoryFormat = Literal["contiguous", "channels_last"]

_RATE = {"cpu": 1e11, "cuda": 3e13}
"""FLOP per second of a training step, per thread on the CPU; see docs/performance.md."""

_SAVED = {"cpu": 0.07, "cuda": 0.2}
"""Share of a training step's seconds that compiling saves: on the CPU 0.05 to 0.1 were measured,
for CUDA the value is assumed."""

_START = {"cpu": 60.0, "cuda": 60.0}
"""Seconds until forward and backward are compiled: on the CPU 45 to 70 were measured."""


_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class CompileError(ConfigError):
    """Torch fails to compile a network, or to run what it compiled.

    Args:
        text: Where, and why.
        by_all: Whether all processes of the run raise it together.
    """

    def __init__(self, text: str, by_all: bool = False) -> None:
        super().__init__(text)
        self.by_all = by_all


@dataclass(frozen=True, kw_only=True)
class Device:
    """A resolved device.

    Args:
        name: As torch names it.
        precision: Of the network.
        threads: Of torch on the CPU.
        compile: Whether torch compiles the network; `auto` is still to be decided by the work, see
            `compiled_for`, and until then it does not.
        memory_format: Of filters and fields in two and three dims.
        checkpointing: Whether training computes blocks again on the way back; `auto` is still to be
            decided by the memory, and until then it does not.
        sharded: Whether processes that train together share out the weights.
        deterministic: Whether training takes deterministic algorithms alone.
    """

    name: str = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: int = 1
    compile: bool | Literal["auto"] = False
    memory_format: MemoryFormat = "contiguous"
    checkpointing: bool | Literal["auto"] = False
    sharded: bool = False
    deterministic: bool = True

    @classmethod
    def of(cls, section: Runtime) -> Device:
        """Resolve `auto` as far as the machine decides it, and set torch's threads.

        Raises:
            FieldError: For a device this machine does not have, for `precision: fp16` where it
                cannot compute so, and for `compile: true` where torch cannot compile.
        """
        if section.threads != "auto" and section.threads > 0:
            torch.set_num_threads(section.threads)
        name = device_name(section.device)
        precision = section.precision
        if precision == "auto":
            precision = "bf16" if name.startswith("cuda") or has_fast_bf16() else "fp32"
        if precision == "fp16" and (why := cannot_halve(name)) is not None:
            expected = f"bf16 or fp32: {name} cannot train in float16 here ({why})"
            raise FieldError("runtime.precision", precision, expected)
        sharded = section.sharding == "full"
        memory_format = section.memory_format
        if memory_format == "auto":
            # Parts of a weight are cut from it as it lies in plain order.
            memory_format = "contiguous" if sharded else usual_memory_format(name)
        if section.compile is True and (why := cannot_compile(name)) is not None:
            expected = (
                f"auto or false: torch cannot compile for {name} here ({why}); on the CPU it needs "
                "a C++ compiler such as g++ and the headers of Python, on CUDA Triton"
            )
            raise FieldError("runtime.compile", True, expected)
        return cls(
            name=name,
            precision=precision,
            threads=torch.get_num_threads(),
            compile=False if sharded else section.compile,
            memory_format=memory_format,
            checkpointing=section.checkpointing,
            sharded=sharded,
            deterministic=_deterministic(section, name),
        )

    @property
    def kind(self) -> str:
        """The device without its number."""
        return self.name.partition(":")[0]

    @property
    def compiles(self) -> bool:
        """Whether a network laid out on it is compiled."""
        return self.compile is True

    def __str__(self) -> str:
        parts = [self.precision, self.memory_format.replace("_", " ")]
        parts += ["compiled"] if self.compiles else []
        parts += ["checkpointing"] if self.checkpointing is True else []
        parts += ["sharded"] if self.sharded else []
        return f"{self.name} ({', '.join(parts)})"

    def record(self) -> dict[str, str | int | bool]:
        """What the last bits of numbers made on it depend on, as plain values."""
        return {
            "device": self.name,
            "precision": self.precision,
            "threads": self.threads,
            "compile": self.compiles,
            "memory_format": self.memory_format,
            **({"sharded": True} if self.sharded else {}),
        }

    def as_begun(self, section: Runtime, record: Mapping[str, Any]) -> Device:
        """The same in the way that a run was begun with, where the section leaves it open.

        On another kind of device the bits are others anyway: there only the precision stays.

        Args:
            section: What is asked for.
            record: Of the device at the beginning; empty where nothing was begun.
        """
        device, alike = self, str(record.get("device", "")).partition(":")[0] == self.kind
        if section.precision == "auto":
            device = replace(device, precision=record.get("precision", device.precision))
        if section.memory_format == "auto" and alike and not self.sharded:
            layout = record.get("memory_format", device.memory_format)
            device = replace(device, memory_format=layout)
        if section.compile == "auto" and alike and "compile" in record and not self.sharded:
            compiled = record["compile"] and cannot_compile(device.name) is None
            device = replace(device, compile=compiled)
        return device

    def compiled_for(self, flop: float) -> Device:
        """The same with `compile: auto` decided: true where it wins back more than it takes.

        The decision is one of the pipeline and the kind of device, never of a clock, so that the
        same run has the same bits.

        Args:
            flop: Of all training steps that a run takes from its beginning.
        """
        if self.compile != "auto":
            return self
        worth = False
        if self.kind in _RATE:
            rate = _RATE[self.kind] * (self.threads if self.kind == "cpu" else 1)
            worth = _SAVED[self.kind] * flop / rate > 2 * _START[self.kind]
        return replace(self, compile=worth and cannot_compile(self.name) is None)

    def checkpointing_for(self, needed: int) -> Device:
        """The same with `checkpointing: auto` decided: true where the rest would not fit.

        Args:
            needed: Bytes of a training step without it.
        """
        if self.checkpointing != "auto":
            return self
        return replace(self, checkpointing=needed > memory.SHARE * memory.free(self.name))

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """A block in which what compiling throws is told as such, and what is not deterministic.

        Raises:
            CompileError: For whatever a compiled network throws, but for a lack of memory.
            ConfigError: Where there is no deterministic algorithm.
        """
        try:
            yield
        except (DiffsciError, OSError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if self.deterministic and "deterministic" in str(error):
                raise ConfigError(
                    "runtime.deterministic: expected false: the network has an operation without "
                    f"such an algorithm on {self.name} ({first_line(error)})"
                ) from error
            if not self.compiles:
                raise
            raise CompileError(
                f"runtime.compile: got true, expected false: torch cannot compile this network for "
                f"{self.name} ({first_line(error)})"
            ) from error

    def laid_out(self, module: Built) -> Built:
        """The module on the device, ready to compute there in this way; changed in place.

        Names and values of its weights stay. Doing it again costs next to nothing.
        """
        module = module.to(self.name)
        channels_last = self.memory_format == "channels_last"
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                wanted = torch.channels_last if channels_last else torch.contiguous_format
                part.to(memory_format=wanted)  # type: ignore[call-overload]
            elif isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
                wanted = torch.channels_last_3d if channels_last else torch.contiguous_format
                part.to(memory_format=wanted)  # type: ignore[call-overload]
            if isinstance(part, Module):
                part.checkpointing = self.checkpointing is True
                _compile(part, self.compiles)
            if isinstance(part, Denoiser):
                part.autocast = _AUTOCAST[self.precision]
                part.channels_last = channels_last
        return module


@contextmanager
def as_written(module: nn.Module) -> Iterator[None]:
    """A block in which no network of the module is compiled: for shapes that seldom come."""
    networks = [part for part in module.modules() if isinstance(part, Module)]
    compiled = [network._compiled_call_impl for network in networks]
    for network in networks:
        network._compiled_call_impl = None
    try:
        yield
    finally:
        for network, call in zip(networks, compiled, strict=True):
            network._compiled_call_impl = call


def _deterministic(section: Runtime, name: str) -> bool:
    """Whether it is wanted; on CUDA a library has to be told before it is used first."""
    wanted = name == "cpu" if section.deterministic == "auto" else section.deterministic
    if wanted and name.startswith("cuda"):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return wanted


def _compile(network: Module, wanted: bool) -> None:
    """Compile calls of a network, or no longer; unlike a wrapper it leaves the weights' names."""
    done = network._compiled_call_impl is not None
    if wanted and not done:
        # One shape for all calls: training and sampling have batches of one size.
        network.compile(backend=BACKEND, dynamic=False)
    elif done and not wanted:
        network._compiled_call_impl = None
