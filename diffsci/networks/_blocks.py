"""The parts of the U-Net: a convolution that knows the grid's edges, and what is made of it.

A block is x + f(x) with f = convolution, SiLU, convolution of the normalised and scaled x: one
normalisation, one FiLM and one activation for two convolutions. On a processor without fused
kernels each of them is a pass over memory, and these passes are what keeps a network from the speed
of its convolutions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffsci.networks._attention import attend
from diffsci.networks._film import zeroed
from diffsci.networks._norm import Normalise
from diffsci.networks._padding import Edges, pad_by, pad_made

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class Conv(nn.Module):
    """Convolution whose padding is the grid's boundary.

    Args:
        fan_in: Channels in.
        fan_out: Channels out.
        edges: Of the input.
        stride: 2 keeps cells 0, 2, 4, ...
        patch: Cells of the input in one of the output along each dim; the kernel is 3 patches wide.
        odd: Channels in whose sign changes across a pole.
    """

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        edges: Edges,
        *,
        stride: int = 1,
        patch: int = 1,
        odd: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.edges, self.patch, self.odd = edges, patch, odd
        padding = patch if edges.all_zero else 0
        dims = len(edges.sizes)
        self.conv = CONV[dims](fan_in, fan_out, 3 * patch, stride=stride * patch, padding=padding)

    def after(self, x: Tensor, step: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
        """The filtered `step(x, None)`, which has the shape of `x`.

        Where nothing is differentiated `step(x, out)` writes it within its halo: one copy less.
        """
        plainly = self.edges.all_zero or torch.is_grad_enabled() or _transformed()
        if plainly or not _whole_rows(x):
            plain: Tensor = self(step(x, None))
            return plain
        assert self.patch == 1 and not self.odd
        amounts = ((1, 1),) * (x.ndim - 2)
        padded = pad_made(x, lambda inner: step(x, inner), amounts, self.edges)
        out: Tensor = self.conv(padded)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """The filtered field."""
        # Cells up to the next multiple of the patch are those beyond the high side.
        extra = [-size % self.patch for size in x.shape[2:]]
        own = 0 if self.edges.all_zero else self.patch
        amounts = tuple((own, own + more) for more in extra)
        out: Tensor = self.conv(pad_by(x, amounts, self.edges, self.odd))
        return out


def _transformed() -> bool:
    """Whether a compiler or a transform such as vmap looks on, which want plain operators."""
    functions: bool = torch._C._are_functorch_transforms_active()
    return functions or torch.compiler.is_compiling()


def _whole_rows(x: Tensor) -> bool:
    """Whether rows of cells, channels innermost, are whole vectors of the processor's.

    Else what is left over of each row has other last bits than in a field without a halo.
    """
    return x.ndim > 3 and x.stride(1) == 1 and x.shape[1] * x.shape[-1] % 64 == 0


class Block(nn.Module):
    """Residual block of two convolutions after FiLM; the second one starts at zero."""

    def __init__(self, width: int, edges: Edges, norm: Normalise, dropout: float) -> None:
        super().__init__()
        self.norm = norm
        self.first = Conv(width, width, edges)
        self.dropout = nn.Dropout(dropout)
        self.second = Conv(width, width, edges)
        zeroed(self.second)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        """`x` plus what the block adds for these numbers of FiLM."""
        hidden = self.first.after(x, lambda x, out: self.norm(x, numbers, out))
        return x + self.second.after(hidden, self._active)

    def _active(self, x: Tensor, out: Tensor | None) -> Tensor:
        """The activation, into `out` where there is one."""
        if out is None:
            dropped: Tensor = self.dropout(F.silu(x))
            return dropped
        torch.ops.aten.silu.out(x, out=out)
        return out if self.dropout.p == 0 or not self.training else out.copy_(self.dropout(out))


class Attention(nn.Module):
    """Self-attention, residual, starting at zero: over all cells, or along each dim in turn.

    Along one dim at a time (axial) it costs cells x (sum of sizes) in place of cells^2.
    """

    def __init__(self, width: int, heads: int, axial: bool, dims: int, norm: Normalise) -> None:
        super().__init__()
        self.heads, self.norm = heads, norm
        self.axes = tuple((axis,) for axis in range(dims)) if axial else (tuple(range(dims)),)
        self.mix = nn.ModuleList(nn.Linear(width, 3 * width) for _ in self.axes)
        self.out = nn.ModuleList(zeroed(nn.Linear(width, width)) for _ in self.axes)

    def forward(self, x: Tensor) -> Tensor:
        """`x` plus attention."""
        for axes, mix, out in zip(self.axes, self.mix, self.out, strict=True):
            # Channels last, and just before them the dims whose cells attend to each other.
            here = tuple(1 + axis for axis in axes)
            there = tuple(range(-1 - len(axes), -1))
            field = self.norm(x).movedim(1, -1).movedim(here, there)
            tokens = field.flatten(there[0], -2)
            tokens = tokens.reshape(-1, *tokens.shape[-2:])
            parts = mix(tokens).reshape(*tokens.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
            mixed = out(attend(parts[0], parts[1], parts[2]).transpose(1, 2).flatten(2))
            x = x + mixed.reshape(field.shape).movedim(there, here).movedim(-1, 1)
        return x
