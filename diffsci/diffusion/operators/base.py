"""What every linear operator is: a map from fields to observations, and its transpose."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.errors import ConfigError


class Operator(ABC):
    """A family member: frozen dataclass; linear, and the same for every example of a batch."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @abstractmethod
    def apply(
        self, field: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch *observation"]:
        """The H x of each example.

        Raises:
            FieldError: For a field that it does not fit, such as one with too few dims.
        """

    @abstractmethod
    def adjoint(
        self, values: Float[Tensor, "batch *observation"], like: Float[Tensor, "..."]
    ) -> Float[Tensor, "batch channel *space"]:
        """The transpose: <H x, y> = <x, H^T y> for all x and y.

        Args:
            values: The y.
            like: A field with the channels and space dims of the result; its values do not matter.
        """


def check_adjoint(operator: Operator, like: Float[Tensor, "batch channel *space"]) -> None:
    """Refuse an operator that is not linear, or whose `adjoint` is not the transpose of `apply`.

    Compares <H x, y> with <x, H^T y> for random pairs: any other map agrees by chance only. The
    outcome is read, so that the host waits for the device; a meta tensor has none.

    Args:
        operator: The H.
        like: A batch of fields as it will be given, for shape, dtype and device.

    Raises:
        ConfigError: Naming the operator and by how much the two differ.
    """
    name = operator.name
    generator = torch.Generator().manual_seed(0)
    for _ in range(_ROUNDS):
        x = torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like)
        seen = operator.apply(x)
        y = torch.randn(seen.shape, generator=generator, dtype=torch.float64).to(like)
        back = operator.adjoint(y, x)
        for part, found, wanted in (("apply", seen, y), ("adjoint", back, x)):
            if _kind(found) != _kind(wanted):
                raise ConfigError(
                    f"operator {name}: {part} gives {_kind(found)}, expected {_kind(wanted)}"
                )
        there, here = (seen * y).flatten(1).sum(dim=1), (x * back).flatten(1).sum(dim=1)
        # What products of independent numbers add up to; rounding is about 1e-16 or 1e-7 of it.
        size = torch.maximum(_random_sum(seen, y), _random_sum(x, back))
        off = (there - here).abs() > 1e4 * torch.finfo(like.dtype).eps * size
        if off.device.type != "meta" and bool(off.any()):
            row = int(off.nonzero()[0])
            raise ConfigError(
                f"operator {name}: it is not linear, or its adjoint is not the transpose of apply: "
                f"<H x, y> = {float(there[row]):.6g} but <x, H^T y> = {float(here[row]):.6g} for "
                "random x and y; correct `adjoint`"
            )


_ROUNDS = 2


def _random_sum(a: Tensor, b: Tensor) -> Float[Tensor, " pair"]:
    count = max(1, a[0].numel())
    return torch.sqrt((a**2).flatten(1).sum(dim=1) * (b**2).flatten(1).sum(dim=1) / count)


def _kind(values: Tensor) -> str:
    return f"{list(values.shape)} {values.dtype} on {values.device}"
