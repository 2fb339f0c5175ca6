"""What every network is: a frozen description that builds a torch module for given ports."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from diffsci.grid import Grid


@dataclass(frozen=True, kw_only=True)
class Ports:
    """How many channels and numbers go in and come out, on which grid.

    Args:
        target: Channels that are noisy on the way in and estimated on the way out.
        condition: Channels that are given.
        scalars: Numbers that are given.
        grid: Where all channels sit.
        noise: Length of the random vector that a network trained by a score of ensembles turns into
            members; 0 for a network that is a function of its input alone.
        variance: Whether the logarithm of a variance comes out beside each channel of the target.
        vectors: Numbers of the input channels (those of the target first, then the condition's)
            that are components of a vector along the grid: across a pole their sign changes.
    """

    target: int
    condition: int
    scalars: int
    grid: Grid
    noise: int = 0
    variance: bool = False
    vectors: tuple[int, ...] = ()

    @property
    def outputs(self) -> int:
        """Channels that come out."""
        return 2 * self.target if self.variance else self.target


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far an output cell looks: what tiles of a large domain must overlap by.

    Args:
        cells: On each side of each dim, at most; an output cell depends on nothing beyond.
        stride: Of the coarsest resolution along each dim: a network works alike on a part of its
            grid where the part begins at a multiple of it.
    """

    cells: tuple[int, ...]
    stride: tuple[int, ...]


class Module(nn.Module):
    """A built network: plain `nn.Module` with one typed call.

    Attributes:
        checkpointing: Whether blocks are computed again on the way back, so that training holds
            their inputs alone: less memory for about a third more time, and the same bits.
        shares: Parts into which the rows of a batch are cut in training.
    """

    checkpointing: bool = False
    shares: int = 1

    def forward(
        self,
        x: Float[Tensor, "batch channel *space"],
        level: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch given *space"] | None,
        scalars: Float[Tensor, "batch parameter"] | None,
        noise: Float[Tensor, "batch random"] | None = None,
    ) -> Float[Tensor, "batch out *space"]:
        """The raw output for inputs of unit variance.

        Args:
            x: Noisy target.
            level: log(noise_std / signal_scale) / 4.
            condition: Given channels.
            scalars: Given numbers.
            noise: White noise; one draw a member.

        Returns:
            `Ports.target` channels; with `Ports.variance` as many more, the logarithms of the
            variances. All are 0 before training.
        """
        raise NotImplementedError

    def parts(self) -> Iterator[nn.Module]:
        """Blocks that hold most of the weights, each called as a module, with tensors alone.

        Where weights are shared out among processes, they are gathered one at a time; all others
        at once.
        """
        return iter(())


class Added(nn.Module):
    """A part whose output is added to what a network has without it: such as that of a new input.

    Where it is new in a network that goes on from trained weights, it begins silent, so that the
    network begins as it was.
    """

    def silence(self) -> None:
        """Set weights so that its output is 0 and its gradient is not."""
        raise NotImplementedError


class Network(ABC):
    """A family member: frozen dataclass of hyper-parameters."""

    @property
    def networks(self) -> int:
        """Networks that it builds, of which each member of a forecast takes one."""
        return 1

    @abstractmethod
    def check(self, ports: Ports) -> None:
        """Refuse ports this description cannot serve.

        Raises:
            FieldError: Naming the field, and values that would work.
        """

    @abstractmethod
    def build(self, ports: Ports) -> Module:
        """A freshly initialised module (draws from torch's global generator)."""

    def reach(self, ports: Ports) -> Reach | None:
        """How far an output cell looks; none where it depends on the whole field."""
        return None
