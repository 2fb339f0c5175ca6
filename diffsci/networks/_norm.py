"""Normalisation with FiLM: mean 0 and variance 1, then a scale and a shift for each channel.

Both are one step here, with a way back of its own: two sums over the field for each channel, which
FiLM's gradient needs anyway, and two passes. torch's `group_norm` takes the sums a second time, and
on a CPU with channels last its way back takes up to ten times as long as its way there. Measured:
docs/performance.md.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Literal["group", "cell"]

_EPS = 1e-5
"""Added to the variance, as torch does."""


class Normalise(nn.Module):
    """Mean 0 and variance 1: of groups of channels over the whole field, or of each cell's own.

    The statistics are sums in fp32, whatever the dtype.
    """

    def __init__(self, kind: Norm, groups: int) -> None:
        super().__init__()
        self.groups = groups if kind == "group" else 0

    def forward(
        self, x: Tensor, numbers: Tensor | None = None, out: Tensor | None = None
    ) -> Tensor:
        """The normalised field, times 1 + the first half of the numbers, plus the second half.

        Args:
            x: (batch, channel, *space).
            numbers: (batch, 2 channel), for each channel its own; none are zeros.
            out: Where it is written, without gradient; none takes new memory.
        """
        if numbers is None:
            numbers = x.new_zeros(len(x), 2 * x.shape[1])
        scale, shift = numbers.to(x.dtype).reshape(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, dim=1)
        if not self.groups:
            plain = F.layer_norm(x.movedim(1, -1), x.shape[1:2]).movedim(-1, 1)
            return torch.addcmul(shift, plain, 1 + scale, out=out)
        if torch.is_grad_enabled() and x.requires_grad and not _theirs(x):
            found: Tensor = _Normalised.apply(x, 1 + scale, shift, self.groups)[0]  # type: ignore[no-untyped-call]
            return found
        return torch.addcmul(shift, _plain(x, self.groups)[0], 1 + scale, out=out)


def _theirs(x: Tensor) -> bool:
    """Whether torch's own gradient is the faster one: where channels do not lie side by side."""
    return x.is_contiguous() and not torch.compiler.is_compiling()


def _plain(x: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised by groups; mean and inverse deviation of each, (batch, group)."""
    batch, channels = x.shape[:2]
    cells = x.shape[2:].numel()
    return torch.native_group_norm(x, None, None, batch, channels, cells, groups, _EPS)


class _Normalised(torch.autograd.Function):
    """`scale` times the normalised field plus `shift`.

    The normalised field and the inverse deviations are results too, since the way back uses them:
    so a derivative of the way back knows how they depend on the field.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, scale: Tensor, shift: Tensor, groups: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        plain, _, inverse = _plain(x, groups)
        return torch.addcmul(shift, plain, scale), plain, inverse

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.set_materialize_grads(False)  # type: ignore[attr-defined]
        ctx.save_for_backward(*output[1:], inputs[1])  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: object, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        # With y = s n + b, n = (x - mean) r and <.> the mean over a group:
        # dx = r (s dy - <s dy> - n <s dy n>).
        saved: tuple[Tensor, ...] = ctx.saved_tensors  # type: ignore[attr-defined]
        plain, inverse, scale = saved
        grad, to_plain, to_inverse = grads
        if grad is None:
            grad = torch.zeros_like(plain)
        wide = torch.promote_types(grad.dtype, torch.float32)
        space = tuple(range(2, grad.ndim))
        shift_grad = grad.sum(space, keepdim=True)
        scale_grad = (grad * plain).sum(space, keepdim=True)
        own, inverse = scale.to(wide), inverse.to(wide)[..., None]

        def of_group(sums: Tensor) -> Tensor:
            """Minus r times the mean over the group, at each channel."""
            grouped = (own * sums).reshape(*inverse.shape[:2], -1)
            count = grouped.shape[-1] * grad.shape[2:].numel()
            mean = grouped.sum(-1, keepdim=True) * (inverse / -count)
            return mean.expand_as(grouped).reshape(scale.shape).to(grad.dtype)

        factor = (own.reshape(*inverse.shape[:2], -1) * inverse).reshape(scale.shape)
        rest = torch.addcmul(of_group(shift_grad), plain, of_group(scale_grad))
        out = torch.addcmul(rest, grad, factor.to(grad.dtype))
        if to_plain is not None or to_inverse is not None:
            out = out + _second(plain, inverse, to_plain, to_inverse)
        return out, scale_grad.to(scale.dtype), shift_grad.to(scale.dtype), None


def _second(
    plain: Tensor, inverse: Tensor, to_plain: Tensor | None, to_inverse: Tensor | None
) -> Tensor:
    """What a second derivative adds: through n itself, and through dr/dx = -r^2 n / count."""
    n = plain.reshape(*inverse.shape[:2], -1)
    out = torch.zeros_like(n)
    if to_plain is not None:
        own = to_plain.reshape(n.shape)
        mean, along = own.mean(-1, keepdim=True), (own * n).mean(-1, keepdim=True)
        out = inverse * (own - mean - n * along)
    if to_inverse is not None:
        out = out - inverse.square() * n * (to_inverse[..., None] / n.shape[-1])
    return out.reshape(plain.shape).to(plain.dtype)
