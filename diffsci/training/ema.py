"""Exponential moving averages of the weights: what is validated, kept and sampled from.

a <- a + (1 - d) (w - a) after each optimiser step, with d = min(decay, (1 + n) / (10 + n)) after n
updates: a constant decay near 1 would keep the random start in the average of a short run. Which
decay is best is not known before the end of a run, so several may be kept side by side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from diffsci.training.sharding import named, own, part_of, put_away

Weights = dict[str, Tensor]


def weights_of(module: nn.Module) -> Weights:
    """Live parameters and saved buffers by name; of a sharded module, what is here of them."""
    return {name: own(value) for name, value in named(module).items()}


def assign(module: nn.Module, weights: Weights) -> None:
    """Copy values by name into a module, into a sharded one its parts.

    Raises:
        ValueError: When the names or shapes are not the module's, with the first that differ.
    """
    live = named(module)
    shapes = {name: tuple(value.shape) for name, value in live.items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = sorted(name for name in shapes.keys() | found if shapes.get(name) != found.get(name))
    if wrong:
        listed = ", ".join(_differs(n, found.get(n), shapes.get(n)) for n in wrong[:3])
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{len(wrong)} weights do not fit the network: {listed}{more}")
    with torch.no_grad():
        for name, value in live.items():
            own(value).copy_(part_of(weights[name], value))


def _differs(name: str, saved: Sequence[int] | None, built: Sequence[int] | None) -> str:
    """What is other of one weight, in words."""
    if saved is None or built is None:
        return f"{name} is {'not saved' if saved is None else 'saved alone'}"
    return f"{name} is saved as {list(saved)}, not {list(built)}"


def _warm(updates: int) -> float:
    """The largest decay of an update after so many others."""
    return (1 + updates) / (10 + updates)


def same_after(decays: Sequence[float], updates: int) -> tuple[float, ...]:
    """Those decays whose averages are one and the same after so many updates.

    Until the warm-up has come to the second largest, it alone says how fast they follow.
    """
    held = tuple(decay for decay in decays if decay >= _warm(max(updates, 1) - 1))
    return held if len(held) > 1 else ()


class Ema:
    """Averages of a module's parameters; of a buffer, the latest value.

    Args:
        module: Whose weights are followed.
        decay: Largest decay, or one of each average.
    """

    def __init__(self, module: nn.Module, decay: float | tuple[float, ...]) -> None:
        self.decays = decay if isinstance(decay, tuple) else (decay,)
        self.updates = 0
        self._module, self._live = module, weights_of(module)
        self.all = tuple(
            {name: value.clone() for name, value in self._live.items()} for _ in self.decays
        )
        trained = [name for name, _ in module.named_parameters()]
        self._rest = [name for name in self._live if name not in set(trained)]
        self._averages = [[weights[name] for name in trained] for weights in self.all]
        self._sources = [self._live[name] for name in trained]

    @property
    def weights(self) -> Weights:
        """The first average, which is the only one in most runs."""
        return self.all[0]

    @torch.no_grad()
    def update(self) -> None:
        """Follow the weights once."""
        warm = _warm(self.updates)
        for decay, averages in zip(self.decays, self._averages, strict=True):
            torch._foreach_lerp_(averages, self._sources, 1 - min(decay, warm))
        for name in self._rest:
            for weights in self.all:
                weights[name].copy_(self._live[name])
        self.updates += 1

    def restore(self, saved: Sequence[Weights], updates: int) -> None:
        """Go on from saved averages and their counter."""
        like = named(self._module)
        with torch.no_grad():
            for weights, values in zip(self.all, saved, strict=True):
                for name, value in weights.items():
                    value.copy_(part_of(values[name], like[name]))
        self.updates = updates

    @contextmanager
    def applied(self, which: int = 0) -> Iterator[None]:
        """The module holds an average inside the block, and its own weights after it."""
        kept = [value.clone() for value in self._live.values()]
        with torch.no_grad():
            torch._foreach_copy_(list(self._live.values()), list(self.all[which].values()))
        put_away(self._module)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(list(self._live.values()), kept)
            put_away(self._module)
