"""Padding by the grid's boundary: what the network sees beyond each edge is what the physics says.

Padding is linear. Its adjoint adds each ghost's gradient to the cells that it was made from, and
the two are each other's derivative to any order. `_halo` computes both; here they are joined to
torch: to autograd, its transforms, and its compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.grid import Boundary
from diffsci.networks._edges import Edges
from diffsci.networks._halo import Plan, empty_padded, fill, fold, made

__all__ = ["Edges", "cut", "pad", "pad_by", "pad_high", "pad_made"]

Item = TypeVar("Item")


def pad(
    x: Float[Tensor, "batch channel *space"],
    width: int,
    edges: Edges,
    odd: tuple[int, ...] = (),
) -> Tensor:
    """`x` extended by `width` cells on both sides of every space dim, in its memory layout.

    Args:
        x: Dims with fewer cells than `edges.least` are refused earlier, by `Network.check`.
        width: In cells.
        edges: What lies beyond.
        odd: Channels whose sign changes across a pole: components of a vector along the grid.
    """
    return _extended(x, Plan(((width, width),) * (x.ndim - 2), edges, odd))


def pad_high(
    x: Float[Tensor, "batch channel *space"],
    amounts: tuple[int, ...],
    edges: Edges,
    odd: tuple[int, ...] = (),
) -> Tensor:
    """`x` extended on the high side of each space dim by its own amount; see `pad`."""
    return _extended(x, Plan(tuple((0, amount) for amount in amounts), edges, odd))


def cut(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """`x` without the cells beyond these sizes on the high side: what `pad_high` has added."""
    for axis, size in enumerate(sizes, start=2):
        x = x.narrow(axis, 0, size)
    return x


def pad_by(
    x: Float[Tensor, "batch channel *space"],
    amounts: tuple[tuple[int, int], ...],
    edges: Edges,
    odd: tuple[int, ...] = (),
) -> Tensor:
    """`x` extended on the low and the high side of each space dim by its own amount; see `pad`."""
    return _extended(x, Plan(amounts, edges, odd))


def pad_made(
    like: Float[Tensor, "batch channel *space"],
    write: Callable[[Tensor], object],
    amounts: tuple[tuple[int, int], ...],
    edges: Edges,
) -> Tensor:
    """`pad_by` of a field like this one that is made in its place: a copy less, and no gradient.

    Args:
        like: Of its shape, dtype and layout.
        write: Writes it into the tensor that it is given.
        amounts: As in `pad_by`.
        edges: As in `pad_by`.
    """
    return made(like, write, Plan(amounts, edges, ()))


def _extended(x: Tensor, plan: Plan) -> Tensor:
    if not any(any(pair) for pair in plan.amounts):
        return x
    out: Tensor
    if torch.compiler.is_compiling():
        # Measured on a CPU: generated code for the copies takes four times as long, and seconds
        # to make. Elsewhere (not measured) it has one kernel where there would be six.
        out = _pad_whole(x, *_flat(plan)) if x.device.type == "cpu" else fill(x, plan)
    elif torch.is_grad_enabled() and x.requires_grad:
        out = _Pad.apply(x, plan)  # type: ignore[no-untyped-call]
    else:
        out = fill(x, plan)
    return out


class _Pad(torch.autograd.Function):
    """Padding, whose derivative is its adjoint: cheaper than autograd through each copy."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, plan: Plan) -> Tensor:
        return fill(x, plan)

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor, Plan], output: Tensor) -> None:
        ctx.plan = inputs[1]  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> tuple[Any, ...]:
        return _Fold.apply(grads[0], ctx.plan), None  # type: ignore[no-untyped-call,attr-defined]

    @staticmethod
    def jvp(ctx: object, *tangents: Tensor) -> Tensor:
        return fill(tangents[0], ctx.plan)  # type: ignore[attr-defined]


class _Fold(torch.autograd.Function):
    """The adjoint of padding, whose derivative is padding."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, plan: Plan) -> Tensor:
        return fold(g, plan)

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor, Plan], output: Tensor) -> None:
        ctx.plan = inputs[1]  # type: ignore[attr-defined]

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> tuple[Any, ...]:
        return _Pad.apply(grads[0], ctx.plan), None  # type: ignore[no-untyped-call,attr-defined]

    @staticmethod
    def jvp(ctx: object, *tangents: Tensor) -> Tensor:
        return fold(tangents[0], ctx.plan)  # type: ignore[attr-defined]


# The same as operators that a compiler leaves whole. They take plain types: a compiled graph is
# kept on disk, where a number or an object of this process would mean nothing.
_PLAN = "int[] amounts, str sides, int[] sizes, float[] poles, float turn, int[] odd"


def _flat(plan: Plan) -> tuple[Any, ...]:
    edges = plan.edges
    amounts = [amount for pair in plan.amounts for amount in pair]
    sides = " ".join([side for pair in edges.sides for side in pair])
    poles = [distance for pair in edges.poles for distance in pair]
    return amounts, sides, list(edges.sizes), poles, edges.turn, list(plan.odd)


def _read(flat: Sequence[Any]) -> Plan:
    """The plan that `_flat` took apart."""
    return _built(*(tuple(part) if isinstance(part, list) else part for part in flat))


@lru_cache(maxsize=256)
def _built(
    amounts: tuple[int, ...],
    sides: str,
    sizes: tuple[int, ...],
    poles: tuple[float, ...],
    turn: float,
    odd: tuple[int, ...],
) -> Plan:
    words = cast(tuple[Boundary, ...], tuple(sides.split()))
    return Plan(_pairs(amounts), Edges(_pairs(words), sizes, _pairs(poles), turn), odd)


def _pairs(items: tuple[Item, ...]) -> tuple[tuple[Item, Item], ...]:
    return tuple(zip(items[::2], items[1::2], strict=True))


def _remember(ctx: object, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.flat = inputs[1:]  # type: ignore[attr-defined]


def _pad_back(ctx: object, grad: Tensor) -> tuple[Any, ...]:
    return (_fold_whole(grad, *ctx.flat), *[None] * len(ctx.flat))  # type: ignore[attr-defined]


def _fold_back(ctx: object, grad: Tensor) -> tuple[Any, ...]:
    return (_pad_whole(grad, *ctx.flat), *[None] * len(ctx.flat))  # type: ignore[attr-defined]


_pad_whole = torch.library.custom_op(
    "diffsci::pad",
    lambda x, *flat: fill(x, _read(flat)),
    mutates_args=(),
    schema=f"(Tensor x, {_PLAN}) -> Tensor",
)
_fold_whole = torch.library.custom_op(
    "diffsci::pad_adjoint",
    lambda g, *flat: fold(g, _read(flat)),
    mutates_args=(),
    schema=f"(Tensor g, {_PLAN}) -> Tensor",
)
_pad_whole.register_fake(lambda x, *flat: empty_padded(x, _read(flat)))
_fold_whole.register_fake(lambda g, *flat: fold(g, _read(flat)))
_pad_whole.register_autograd(_pad_back, setup_context=_remember)
_fold_whole.register_autograd(_fold_back, setup_context=_remember)
