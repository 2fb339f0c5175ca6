"""Halo: the ghost cells around a field, written, and their gradients taken back in.

`Edges` says of what cells a ghost cell is made; here they are copied. Dim by dim, first to last:
each extends the ghosts of those before it, so that corners follow, and a pole (which needs whole
circles of longitude) comes before its longitudes. The adjoint goes the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffsci.networks._edges import Edges, Term, terms

Row = tuple[Tensor, Term]


@dataclass(frozen=True)
class Plan:
    """Cells to add at the low and high side of each dim; what they are; channels of odd sign."""

    amounts: tuple[tuple[int, int], ...]
    edges: Edges
    odd: tuple[int, ...]


def fill(x: Tensor, plan: Plan) -> Tensor:
    """One allocation in the layout of `x`, one copy of it, and small copies around it."""
    return made(x, lambda inner: inner.copy_(x), plan)


def made(x: Tensor, write: Callable[[Tensor], object], plan: Plan) -> Tensor:
    """The same of a field like `x` that `write` puts in its place."""
    out = empty_padded(x, plan)
    # Views of `out`: the whole of the dims that are done, the inner cells of those to come.
    views = [out]
    for axis in range(x.ndim - 1, 1, -1):
        views.append(views[-1].narrow(axis, plan.amounts[axis - 2][0], x.shape[axis]))
    write(views.pop())
    for axis in range(2, x.ndim):
        view, first = views.pop(), plan.amounts[axis - 2][0]
        inner = view.narrow(axis, first, x.shape[axis])
        for ghost, rows in _ghosts(view, inner, axis, plan):
            if not rows:
                ghost.zero_()
            elif len(rows) == 1 and not rows[0][1].across:
                ghost.copy_(rows[0][0])
            else:
                _cross(ghost, rows, plan)
    return out


def fold(g: Tensor, plan: Plan, axis: int = 2) -> Tensor:
    """The adjoint of `fill` from `axis` on, slab by slab: the inner cells alone are copied."""
    low, high = plan.amounts[axis - 2]
    last = axis == g.ndim - 1
    inner = g.narrow(axis, low, g.shape[axis] - low - high)
    inner = inner.clone() if last else fold(inner, plan, axis + 1)
    for ghost, rows in _ghosts(g, inner, axis, plan):
        if rows:
            part = ghost if last else fold(ghost, plan, axis + 1)
            _uncross(part, rows, plan)
    return inner


def _ghosts(x: Tensor, inner: Tensor, axis: int, plan: Plan) -> Iterator[tuple[Tensor, list[Row]]]:
    """Ghost slices of one dim of `x`, with the slices of `inner` that they are made of.

    Where both sides are alike, a slice holds the ghosts of both: half as many copies.
    """
    size, (low, high) = inner.shape[axis], plan.amounts[axis - 2]
    sides, poles = plan.edges.sides[axis - 2], plan.edges.poles[axis - 2]
    for k in range(1, max(low, high) + 1):
        one, other = (terms(sides[n], k, size, poles[n]) for n in (0, 1))
        ghosts = low - k, low + size - 1 + k
        both = k <= min(low, high) and one == other and all(2 * t.cell < size - 1 for t in one)
        if both:
            rows = [(_two(inner, axis, t.cell, size - 1 - t.cell), t) for t in one]
            yield _two(x, axis, *ghosts), rows
        if k <= low and not both:
            yield x.narrow(axis, ghosts[0], 1), [(_row(inner, axis, t.cell), t) for t in one]
        if k <= high and not both:
            rows = [(_row(inner, axis, size - 1 - t.cell), t) for t in other]
            yield x.narrow(axis, ghosts[1], 1), rows


def _row(x: Tensor, axis: int, at: int) -> Tensor:
    assert 0 <= at < x.shape[axis], "fewer cells than Edges.least"
    return x.narrow(axis, at, 1)


def _two(x: Tensor, axis: int, one: int, other: int) -> Tensor:
    return x[(slice(None),) * axis + (slice(one, other + 1, other - one),)]


def _cross(ghost: Tensor, rows: list[Row], plan: Plan) -> None:
    """Write a ghost row at a pole; where it is a mean, it is rounded once."""
    moves = plan.edges.half_turn
    assert ghost.shape[-1] == plan.edges.sizes[-1], "a pole needs whole circles of longitude"
    if len(rows) == 1 and all(weight == 1 for *_, weight in moves):
        for to, start, count, _ in moves:
            ghost.narrow(-1, to, count).copy_(rows[0][0].narrow(-1, start, count))
        return _negate(ghost, plan.odd)
    if len(rows) == 2 and not plan.odd and all(weight == 1 for *_, weight in moves):
        return _between(ghost, rows, plan)
    half = ghost.dtype in (torch.bfloat16, torch.float16)
    total = torch.zeros_like(ghost, dtype=torch.float32 if half else ghost.dtype)
    for row, term in rows:
        for to, start, count, weight in moves if term.across else ():
            piece = row.narrow(-1, start, count)
            total.narrow(-1, to, count).add_(piece, alpha=term.weight * weight)
    _negate(total, plan.odd)
    for row, term in rows:
        if not term.across:
            total.add_(row, alpha=term.weight)
    ghost.copy_(total)


def _between(ghost: Tensor, rows: list[Row], plan: Plan) -> None:
    """Write a mean of two rows, both across the pole or the second one alone: the usual case."""
    (one, first), (two, second) = rows
    if first.across:
        one, two = torch.lerp(one, two, second.weight), one
    moves = sorted(plan.edges.half_turn)
    turned = one if first.across else two
    turned = torch.cat([turned.narrow(-1, start, count) for _, start, count, _ in moves], dim=-1)
    ghost.copy_(turned if first.across else torch.lerp(one, turned, second.weight))


def _uncross(part: Tensor, rows: list[Row], plan: Plan) -> None:
    """The adjoint of writing a ghost row; `part` is changed where it crosses a pole."""
    for row, term in rows:
        if not term.across:
            row.add_(part, alpha=term.weight)
    if not any(term.across for _, term in rows):
        return
    _negate(part, plan.odd)
    for row, term in rows:
        for to, start, count, weight in plan.edges.half_turn if term.across else ():
            piece = part.narrow(-1, to, count)
            row.narrow(-1, start, count).add_(piece, alpha=term.weight * weight)


def _negate(x: Tensor, channels: tuple[int, ...]) -> None:
    for channel in channels:
        x.narrow(1, channel, 1).neg_()


def empty_padded(x: Tensor, plan: Plan) -> Tensor:
    """Room for `x` with its halo, with channels innermost where they are so in `x`."""
    sizes = zip(x.shape[2:], plan.amounts, strict=True)
    shape = [*x.shape[:2], *(size + low + high for size, (low, high) in sizes)]
    order = list(range(x.ndim))
    if x.ndim > 3 and not x.is_contiguous() and x.shape[1] > 1 and x.stride(1) == 1:
        order = [0, *order[2:], 1]
    strides, step = [0] * x.ndim, 1
    for axis in reversed(order):
        strides[axis] = step
        step *= shape[axis]
    return x.new_empty_strided(shape, strides)
