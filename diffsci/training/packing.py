"""Tensors as the bytes of a safetensors file, in one block of memory that may be used again.

The library's own function copies each tensor twice and holds Python's lock while it does, so that a
training step waits for it even where it runs in a thread. Here each is copied once, to its place in
the file. The bytes are the library's.

    8 bytes       length of the header, little-endian
    header        JSON: dtype, shape and place of each tensor; blanks up to a multiple of 8
    data          the tensors, dtypes of more bytes first, so that each lies aligned
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from jaxtyping import UInt8
from torch import Tensor

_NAMES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.complex64: "C64",
    torch.float64: "F64",
    torch.int64: "I64",
}
"""In the library's order, which sorts by it from the last to the first."""

_ORDER = {dtype: place for place, dtype in enumerate(_NAMES)}


def packed(
    tensors: Mapping[str, Tensor], block: UInt8[Tensor, " bytes"] | None = None
) -> UInt8[Tensor, " content"]:
    """The file's bytes, in a block of memory on the CPU.

    Args:
        tensors: By name, on any device.
        block: Memory to use, where it is large enough; what is returned is a part of it.
    """
    names = sorted(tensors, key=lambda name: (-_ORDER[tensors[name].dtype], name))
    header, places, end = {}, {}, 0
    for name in names:
        value = tensors[name]
        places[name] = slice(end, end + value.numel() * value.element_size())
        end = places[name].stop
        header[name] = {
            "dtype": _NAMES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [places[name].start, end],
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    head = bytearray(len(text).to_bytes(8, "little") + text)
    if block is None or len(block) < len(head) + end:
        block = torch.empty(len(head) + end, dtype=torch.uint8)
    block[: len(head)] = torch.frombuffer(head, dtype=torch.uint8)
    data = block[len(head) :]
    for name in names:
        value = tensors[name].detach()
        data[places[name]].view(value.dtype).view(value.shape).copy_(value)
    return block[: len(head) + end]
