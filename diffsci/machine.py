"""What this machine has and can: devices, number formats, and whether torch compiles here."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F

from diffsci.errors import FieldError

BACKEND = "inductor"
"""Of torch's compiler."""


def device_name(wanted: str) -> str:
    """The device that is there, as torch names it."""
    name = wanted
    if name == "auto":
        mps = torch.backends.mps.is_available()
        name = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise FieldError("runtime.device", name, "cpu or auto: this torch sees no CUDA device")
    number = int(name.partition(":")[2] or 0)
    if name.startswith("cuda") and number >= torch.cuda.device_count():
        there = f"cuda:0 to cuda:{torch.cuda.device_count() - 1}"
        raise FieldError("runtime.device", name, f"one that is there: {there}")
    if name == "mps" and not torch.backends.mps.is_available():
        raise FieldError("runtime.device", name, "cpu or auto: this torch has no MPS")
    return name


def usual_memory_format(name: str) -> Literal["contiguous", "channels_last"]:
    """The rule of `memory_format: auto`."""
    # Measured on two CPU cores with the U-Net in two and three dims: in bfloat16 1.2 to 1.4 times
    # as fast a forward pass and 1.02 to 1.08 a training step, in float32 0.99 to 1.13 of both.
    return "contiguous" if name == "mps" else "channels_last"


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 natively; emulated it is slower than float32."""
    # Older torch cannot tell; there float32 is the safe answer.
    ask = getattr(torch.cpu, "get_capabilities", dict)
    capabilities: dict[str, bool] = ask()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@cache
def cannot_compile(name: str) -> str | None:
    """Why torch cannot compile for this device here; none where it can.

    A compiler may be there and lack its headers, so a small function is compiled, which takes some
    seconds.
    """
    if name == "mps":
        return "networks are not compiled on MPS"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own, which a caller may have made errors
            tried = torch.compile(_tried, backend=BACKEND, dynamic=False)
            tried(torch.zeros(64, device=name))
    except Exception as error:  # its kinds differ from version to version
        return first_line(error)
    return None


@cache
def cannot_halve(name: str) -> str | None:
    """Why a network cannot train in float16 on this device; none where it can.

    Older torch has no such convolutions on the CPU, so one of each kind is tried.
    """
    try:
        with torch.autocast(torch.device(name).type, dtype=torch.float16):
            x = torch.ones(1, 1, 4, device=name)
            weight = torch.ones(1, 1, 3, device=name, requires_grad=True)
            for convolve in (F.conv1d, F.conv2d, F.conv3d):
                found = convolve(x, weight, padding=1)
                x, weight = x[..., None], weight[..., None]
            matrix = torch.ones(4, 4, device=name, requires_grad=True)
            found = found.mean() + F.linear(torch.ones(1, 4, device=name), matrix).mean()
        found.backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        return first_line(error)
    return None


def first_line(error: Exception) -> str:
    """What an error of torch, or the one within it, says in short."""
    error = getattr(error, "inner_exception", error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _tried(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) * x
