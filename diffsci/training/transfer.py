"""The first weights of a run, taken from another one as far as they fit.

A weight is taken where the new network has one of its name and shape. Axes along which channels, or
given numbers, lie side by side may differ: each is matched by name, and what is new stays as it was
initialised, or silent where it is a whole part that is added to others (`Added`). Which axes these
are is found out by building the network for one channel more: an axis that grows by b holds b
numbers for each of them, those of a channel together, in the order target, condition, scalars.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from diffsci.errors import ConfigError
from diffsci.networks.base import Added, Ports

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each weight, by its name."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """What goes into a network, in order.

    Args:
        target: Channels of the target; they come out, too.
        condition: Channels of the condition.
        scalars: Given numbers.
    """

    target: tuple[str, ...]
    condition: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[tuple[str, ...], ...]:
        """The three, in the order of an axis that holds several of them."""
        return self.target, self.condition, self.scalars


Blocks = tuple[int, int, int]
"""Numbers along an axis for each channel of the target, of the condition, and each scalar."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What came of the other run's weights, by name.

    Args:
        whole: Taken as they are, or with all channels in another order.
        partly: Taken for the channels that both have; of the others, the new weights stay.
        left: Of the other run, not taken; with the reason.
        fresh: Of the new network, left as they were initialised.
    """

    whole: tuple[str, ...]
    partly: tuple[str, ...]
    left: tuple[str, ...]
    fresh: tuple[str, ...]


def blocks_of(shapes: Callable[[Ports], Shapes], ports: Ports) -> dict[str, tuple[Blocks, ...]]:
    """What each axis of each weight holds.

    Args:
        shapes: Of the weights of a network that is built for these ports.
        ports: Of the new network.
    """
    plain = replace(ports, vectors=())
    base = shapes(plain)
    more = [
        shapes(replace(plain, **{kind: getattr(plain, kind) + 1}))
        for kind in ("target", "condition", "scalars")
    ]

    def blocks(name: str, axis: int) -> Blocks:
        size = base[name][axis]
        target, condition, scalars = (found[name][axis] - size for found in more)
        return target, condition, scalars

    return {name: tuple(blocks(name, axis) for axis in range(len(base[name]))) for name in base}


@torch.no_grad()
def take(
    live: Mapping[str, Tensor],
    source: Mapping[str, Tensor],
    *,
    new: Names,
    old: Names,
    blocks: Mapping[str, tuple[Blocks, ...]],
) -> Taken:
    """Put another run's weights into those of a new network, in place.

    Args:
        live: Of the new network.
        source: Of the other run.
        new: What goes into the new network.
        old: What went into the other one.
        blocks: As `blocks_of` the new network.

    Raises:
        ConfigError: Where nothing fits.
    """
    whole, partly, left = [], [], []
    for name in sorted(source):  # read from a file, they come in any order
        found = source[name]
        if name not in live:
            left.append(f"{name}: the new network has none")
            continue
        shapes = f"{tuple(found.shape)} -> {tuple(live[name].shape)}"
        places = _places(live[name], found, new, old, blocks.get(name, ()))
        if places is None:
            left.append(f"{name}: {shapes}")
            continue
        if not all(len(here) for here, _ in places):
            left.append(f"{name}: no channel or number of the same name")
            continue
        here, there = (_open_mesh([pair[side] for pair in places]) for side in (0, 1))
        live[name][here] = found[there].to(live[name])
        full = all(
            len(pair[0]) == size for pair, size in zip(places, live[name].shape, strict=True)
        )
        whole.append(name) if full else partly.append(name)
    if not whole and not partly:
        raise ConfigError(
            f"train.from: none of its {len(source)} weights fits this network ("
            f"{'; '.join(left[:3])}; ...): take a run of the same model.network, or leave it out"
        )
    fresh = [name for name in live if name not in {*whole, *partly}]
    return Taken(whole=tuple(whole), partly=tuple(partly), left=tuple(left), fresh=tuple(fresh))


def silence_new(module: nn.Module, fresh: Collection[str]) -> None:
    """Have parts that are added to the others begin with nothing, where all of one is new.

    Args:
        module: Whose other weights are taken.
        fresh: Names of those that are not.
    """
    for name, part in module.named_modules():
        if isinstance(part, Added) and all(f"{name}.{w}" in fresh for w in part.state_dict()):
            part.silence()


Pairs = tuple[list[int], list[int]]
"""Places along an axis in the new weight, and those in the other that belong to them."""


def _places(
    live: Tensor, found: Tensor, new: Names, old: Names, blocks: tuple[Blocks, ...]
) -> list[Pairs] | None:
    """The pairs of each axis; none where the weights cannot be matched."""
    if live.ndim != found.ndim:
        return None
    held = blocks or ((0, 0, 0),) * live.ndim
    pairs = [
        _pairs(size, other, new, old, block)
        for size, other, block in zip(live.shape, found.shape, held, strict=True)
    ]
    return None if any(pair is None for pair in pairs) else [p for p in pairs if p is not None]


def _pairs(size: int, other: int, new: Names, old: Names, blocks: Blocks) -> Pairs | None:
    """The pairs of one axis."""
    sizes = [_sizes(names, blocks) for names in (new, old)]
    if not any(blocks) or sum(sizes[0]) != size:
        # Holds no channels, or holds more than them.
        return (list(range(size)), list(range(size))) if size == other else None
    if sum(sizes[1]) != other:
        return None
    here: list[int] = []
    there: list[int] = []
    starts = [[0, *accumulate(each)] for each in sizes]
    for kind, block in enumerate(blocks):
        known = {name: number for number, name in enumerate(old.kinds[kind])}
        for number, name in enumerate(new.kinds[kind]):
            if name in known:
                first, other_first = number * block, known[name] * block
                here += [starts[0][kind] + first + at for at in range(block)]
                there += [starts[1][kind] + other_first + at for at in range(block)]
    return here, there


def _sizes(names: Names, blocks: Blocks) -> list[int]:
    return [len(kind) * block for kind, block in zip(names.kinds, blocks, strict=True)]


def _open_mesh(places: list[list[int]]) -> tuple[Tensor, ...]:
    """Index tensors, each along an axis of its own."""
    axes = len(places)
    return tuple(
        torch.tensor(index).reshape([-1 if at == axis else 1 for at in range(axes)])
        for axis, index in enumerate(places)
    )
