"""Where and how a run computes: the `runtime` section, resolved on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

from diffsci.errors import FieldError
from diffsci.sections import Runtime

Built = TypeVar("Built", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Device:
    """A resolved device.

    Args:
        name: As torch names it.
        precision: Of the network.
        threads: Of torch on the CPU.
    """

    name: str
    precision: Literal["fp32", "bf16"]
    threads: int

    @classmethod
    def of(cls, section: Runtime) -> Device:
        """Resolve `auto` and set torch's threads.

        Raises:
            FieldError: For a device this machine does not have.
        """
        if section.threads:
            torch.set_num_threads(section.threads)
        name = section.device
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
        precision = section.precision
        if precision == "auto":
            precision = "bf16" if name.startswith("cuda") or _fast_bf16() else "fp32"
        return cls(name=name, precision=precision, threads=torch.get_num_threads())

    def laid_out(self, module: Built) -> Built:
        """The module on the device, its 2-D filters in the layout that the device likes best."""
        module = module.to(self.name)
        flat = any(isinstance(part, nn.Conv2d) for part in module.modules())
        # Measured on two CPU cores, 37 x 49 fields: 174 ms a step with channels last, 151 without.
        if flat and self.name.startswith("cuda"):
            module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module


def _fast_bf16() -> bool:
    """Whether this CPU multiplies bf16 natively; emulated it is slower than float32."""
    # Older torch cannot tell; there float32 is the safe answer.
    ask = getattr(torch.cpu, "get_capabilities", dict)
    capabilities: dict[str, bool] = ask()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
