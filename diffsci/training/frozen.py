"""Weights that stay as they are: no gradient, no decay, no step."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from diffsci.errors import ConfigError
from diffsci.families import did_you_mean


def freeze(module: nn.Module, patterns: Sequence[str]) -> tuple[str, ...]:
    """Freeze what the patterns name; the names.

    Args:
        module: Of whose parameters.
        patterns: Such as `network.stem.*`; a star stands for any text, dots included. One that
            begins with `!` takes back what those before it name: `["*", "!network.head.*"]`.

    Raises:
        ConfigError: For a pattern that names nothing, and where nothing would be left to train.
    """
    parameters = dict(module.named_parameters())
    frozen: dict[str, None] = {}
    for number, pattern in enumerate(patterns):
        plain = pattern.removeprefix("!")
        found = [name for name in parameters if fnmatchcase(name, plain)]
        if not found:
            raise ConfigError(
                f"train.freeze[{number}]: got {pattern!r}, which is the name of no weight"
                f"{did_you_mean(plain, _known(parameters))}; they begin with "
                f"{', '.join(sorted({_head(name) for name in parameters}))}"
            )
        if plain == pattern:
            frozen |= dict.fromkeys(found)
            continue
        if not frozen.keys() & set(found):
            raise ConfigError(
                f"train.freeze[{number}]: got {pattern!r}, which takes nothing back: no pattern "
                'before it names any of these; to train them alone begin with "*"'
            )
        frozen = {name: None for name in frozen if name not in found}
    if patterns and len(frozen) == len(parameters):
        raise ConfigError(
            f"train.freeze: got {list(patterns)}, which leaves no weight to train; freeze fewer"
        )
    for name in frozen:
        parameters[name].requires_grad_(False)
    return tuple(frozen)


def _known(parameters: dict[str, nn.Parameter]) -> list[str]:
    """Names, and patterns for all below each of their parts."""
    parts = {".".join(name.split(".")[:depth]) + ".*" for name in parameters for depth in (2, 3, 4)}
    return [*parameters, *parts]


def _head(name: str) -> str:
    return ".".join(name.split(".")[:2])
