"""Target and condition as the channels of one field, checked by name on the way in."""

from __future__ import annotations

import torch
from torch import Tensor

from diffsci.errors import ConfigError
from diffsci.networks.base import Ports


def join(x: Tensor, condition: Tensor | None, ports: Ports, whole: bool = False) -> Tensor:
    """`x` with the channels of the condition behind its own.

    Args:
        x: Noisy target.
        condition: Given channels.
        ports: What the network was built for.
        whole: Whether no other sizes than those of the grid will do.

    Raises:
        ConfigError: When channels or sizes are not those that the network was built for.
    """
    require(x, condition, ports, whole)
    return x if condition is None else torch.cat([x, condition], dim=1)


def require(x: Tensor, condition: Tensor | None, ports: Ports, whole: bool = False) -> None:
    """Refuse channels and sizes that are not those that the network was built for; see `join`."""
    _require(x.shape[1] == ports.target, "x", f"{x.shape[1]} channels", f"{ports.target}")
    found = tuple(x.shape[2:])
    _require(not whole or found == ports.grid.sizes, "x", f"sizes {found}", f"{ports.grid.sizes}")
    given = 0 if condition is None else condition.shape[1]
    wanted = f"{ports.condition or 'none'}"
    _require(given == ports.condition, "condition", f"{given or 'no'} channels", wanted)
    if condition is not None:
        if len(condition) != len(x):
            raise ConfigError(
                f"condition: got {len(condition)} examples, expected {len(x)}, as many as of x"
            )
        sizes = tuple(condition.shape[2:])
        _require(sizes == found, "condition", f"sizes {sizes}", f"{found}, those of x")


def _require(fits: bool, name: str, found: str, wanted: str) -> None:
    if not fits:
        raise ConfigError(f"{name}: got {found}, the network was built for {wanted}")
