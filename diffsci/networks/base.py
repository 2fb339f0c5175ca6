"""What every network is: a frozen description that builds a torch module for given ports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from diffsci.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Ports:
    """How many channels and numbers go in and come out, and on which grid."""

    target: int
    condition: int
    scalars: int
    grid: Grid


class Module(nn.Module):
    """A built network: plain `nn.Module` with one typed call."""

    def forward(
        self,
        x: Float[Tensor, "batch channel *space"],
        level: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch given *space"] | None,
        scalars: Float[Tensor, "batch parameter"] | None,
    ) -> Float[Tensor, "batch channel *space"]:
        """The raw output for inputs of unit variance.

        `level` is log(noise_std / signal_scale) / 4.
        """
        raise NotImplementedError


class Network(ABC):
    """A family member: frozen dataclass of hyper-parameters."""

    @abstractmethod
    def check(self, ports: Ports) -> None:
        """Refuse ports this description cannot serve.

        Raises:
            FieldError: Naming the field, and values that would work.
        """

    @abstractmethod
    def build(self, ports: Ports) -> Module:
        """A freshly initialised module (draws from torch's global generator)."""
