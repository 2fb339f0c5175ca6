"""An ensemble by one call a member, trained by the score that such ensembles are judged by."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.objectives.base import Direct
from diffsci.errors import require


@dataclass(frozen=True, kw_only=True)
class CRPS(Direct):
    """Continuous ranked probability score of a few members in each element, almost fair.

    The mean error of the members minus half their mean distance. The fair score divides the sum of
    distances by M (M - 1) and has the true law as its optimum for any M, but where all members but
    one are right it leaves that one free; a small share of the other, by M^2, holds it.

    Args:
        members: M, of each example in training; a sample may have any number.
        noise: Length of the random vector that makes a member.
        fair: Share of the fair score; the rest is the score of the M members themselves.

    Source:
        Lang et al. (2024), arXiv:2412.15832, section 3; the fair score: Ferro (2014),
        doi:10.1002/qj.2270; one random vector for a whole field: Alet et al. (2025),
        arXiv:2506.10772.
    """

    members: int = 2
    noise: int = 32
    fair: float = 0.95

    def __post_init__(self) -> None:
        require(self.members >= 2, "members", self.members, "2 or more: one has no spread")
        require(self.noise >= 1, "noise", self.noise, "1 number or more")
        require(0 <= self.fair <= 1, "fair", self.fair, "a share from 0 to 1")

    @property
    def count(self) -> int:
        """M."""
        return self.members

    @property
    def random(self) -> int:
        """As the pipeline says."""
        return self.noise

    def loss(
        self,
        found: Float[Tensor, "member batch channel *space"],
        target: Float[Tensor, "batch channel *space"],
    ) -> Float[Tensor, "batch channel *space"]:
        """The score in each element."""
        count = len(found)
        error = (found - target).abs().mean(dim=0)
        # Sorted, the distances of all pairs sum to a sum of M terms.
        ordered = found.sort(dim=0).values
        pairs = sum((2 * k + 1 - count) * ordered[k] for k in range(count))
        share = self.fair / (count * (count - 1)) + (1 - self.fair) / count**2
        return error - share * pairs
