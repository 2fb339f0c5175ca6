"""Several networks of one kind, trained apart; each member of a forecast is made by one of them.

Networks that begin from other weights agree where the data says enough, and differ where it does
not. So their differences are an uncertainty that the noise of a single network does not show: that
of what was learnt. In training each row of a batch is seen by one network, so that a step costs as
much as one of a single network, and each learns from its share of the batch. Afterwards a number
behind the scalars says which network a row is for (`Denoiser.of_members`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.errors import require
from diffsci.members import member
from diffsci.networks.base import Module, Network, Ports, Reach


@dataclass(frozen=True, kw_only=True)
class DeepEnsemble(Network):
    """Several networks of one kind, trained apart; members of a forecast take them in turn.

    Args:
        of: Each of them.
        count: How many. Each sees `train.batch_size / count` examples of a step.

    Source:
        Lakshminarayanan et al. (2017), arXiv:1612.01474; for forecasts of the weather, each member
        by one of four networks: Alet et al. (2025), arXiv:2506.10772.
    """

    of: Network = member("networks", "unet")
    count: int = 4

    def __post_init__(self) -> None:
        require(self.count >= 2, "count", self.count, "2 networks or more")
        # From a file, members are put in place after the sections are read.
        alone = not isinstance(self.of, DeepEnsemble)
        require(alone, "of", "deep_ensemble", "another network: such as unet")

    @property
    def networks(self) -> int:
        """As it says."""
        return self.count

    def check(self, ports: Ports) -> None:
        """Refuse what each of them refuses."""
        self.of.check(ports)

    def build(self, ports: Ports) -> Module:
        """Freshly initialised networks, each with its own weights."""
        return _Several([self.of.build(ports) for _ in range(self.count)], ports.scalars)

    def reach(self, ports: Ports) -> Reach | None:
        """That of each of them."""
        return self.of.reach(ports)


class _Several(Module):
    """The built networks; their description is `DeepEnsemble`."""

    def __init__(self, networks: list[Module], scalars: int) -> None:
        super().__init__()
        self.networks, self.scalars = nn.ModuleList(networks), scalars
        self.shares = len(networks)

    @property
    def checkpointing(self) -> bool:
        """Of each network."""
        return all(network.checkpointing for network in self.networks)

    @checkpointing.setter
    def checkpointing(self, value: bool) -> None:
        for network in self.networks:
            network.checkpointing = value  # type: ignore[assignment]

    def parts(self) -> Iterator[nn.Module]:
        """Those of all networks."""
        for network in self.networks:
            assert isinstance(network, Module)
            yield from network.parts()

    def forward(
        self,
        x: Float[Tensor, "batch channel *space"],
        level: Float[Tensor, " batch"],
        condition: Float[Tensor, "batch given *space"] | None,
        scalars: Float[Tensor, "batch parameter"] | None,
        noise: Float[Tensor, "batch random"] | None = None,
    ) -> Float[Tensor, "batch out *space"]:
        """See `Module.forward`.

        In training each network has its share of the rows, one after the other. In evaluation a row
        is for the network whose number, counted from 1, is the last of one scalar too many; 0, and
        rows without such a number, have the mean of all.
        """
        if self.training:
            return self._shared_out(x, level, condition, scalars, noise)
        number = None
        if scalars is not None and scalars.shape[1] == self.scalars + 1:
            number = scalars[:, -1].long()
            scalars = scalars[:, :-1] if self.scalars else None
        # Every row by all of them: the bits of a row depend on how many go through a network.
        every = [network(x, level, condition, scalars, noise) for network in self.networks]
        mean = torch.stack(every).mean(dim=0)
        if number is None:
            return mean
        out: Tensor = torch.stack([mean, *every])[number, torch.arange(len(x), device=x.device)]
        return out

    def _shared_out(self, *inputs: Tensor | None) -> Tensor:
        count = self.shares
        shares = [
            [None] * count if each is None else each.tensor_split(count, dim=0) for each in inputs
        ]
        pairs = zip(self.networks, zip(*shares, strict=True), strict=True)
        # Of fewer rows than networks, the last ones see none.
        return torch.cat([network(*given) for network, given in pairs if len(given[0])])
