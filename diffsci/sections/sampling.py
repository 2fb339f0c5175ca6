"""Section `sample`: the ensemble."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from diffsci.errors import require
from diffsci.members import member
from diffsci.members import members as several
from diffsci.sections.storing import Storing

if TYPE_CHECKING:
    from diffsci.constraints.base import Constraint
    from diffsci.diffusion.guidance.base import Guidance
    from diffsci.diffusion.noises.base import NoiseShape
    from diffsci.diffusion.operators.base import Operator
    from diffsci.diffusion.samplers.base import Sampler


@dataclass(frozen=True, kw_only=True)
class Observing:
    """A twin experiment: the truth of each test case is observed, and guides its members.

    Args:
        operator: What is observed of the physical fields.
        noise_std: Standard deviation of the observations' errors, in physical units: one for all,
            or one for each channel that is observed.
        seed: Of the errors.
    """

    operator: Operator = member("operators")
    noise_std: float | tuple[float, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        values = self.noise_std if isinstance(self.noise_std, tuple) else (self.noise_std,)
        require(all(v > 0 for v in values), "noise_std", self.noise_std, "more than 0")
        require(self.seed >= 0, "seed", self.seed, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Perturbing:
    """What each member's initial state differs by: noise of a spectrum, the same in all frames.

    Args:
        amplitude: In standard deviations of each channel.
        noise: Its spectrum.
    """

    amplitude: float
    noise: NoiseShape = member("noises", "coloured")

    def __post_init__(self) -> None:
        fits = 0 < self.amplitude <= 10
        require(
            fits, "amplitude", self.amplitude, "more than 0, and at most 10 standard deviations"
        )


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How a domain that does not fit into memory goes through the network: in overlapping parts.

    Args:
        cells: Of a tile along each dim of the grid, overlap included; one number serves all dims.
        overlap: Cells of each side of a tile that are computed, but not kept; `auto` takes as many
            as the network looks, so that the result is that of the whole domain.
    """

    cells: int | tuple[int, ...]
    overlap: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        each = (self.cells,) if isinstance(self.cells, int) else self.cells
        fits = len(each) >= 1 and all(cells >= 1 for cells in each)
        require(fits, "cells", self.cells, "1 or more, one number or one for each dim")
        fits = self.overlap == "auto" or self.overlap >= 0
        require(fits, "overlap", self.overlap, "auto, or 0 or more cells")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The ensemble.

    Args:
        members: Members per case.
        seed: Of the members' noise; member k of a case depends on it, on k and on the case alone.
        sampler: How noise becomes a sample; null where the objective trained a network that makes
            a sample by a single call.
        guidance: Changes the denoiser, where wanted.
        observed: What is observed of the truth, for guidance that draws samples to observations.
        constraints: What every state meets: kept in each estimate, and exactly in each state.
        leads: Forecast steps, where the task has leads.
        every: Take every n-th possible start of each trajectory of the test part.
        cases: At most so many cases, evenly spread; none takes all.
        compute_batch: Fields that go through the network at once, always padded to this number: the
            bits of a member depend on it, and on no other grouping.
        tiles: For a domain that does not fit into memory: the parts in which it is computed.
        perturb: What the members' initial states differ by, where forecasts begin from one state.
        persistent_noise: Share (of the variance) of each member's starting noise that it keeps from
            lead to lead, so that what it makes of a step is made of the next ones too: 0 draws
            it anew at each lead, 1 draws it once.
        limit: Standard deviations from the mean beyond which a member counts as exploded: it is
            recorded as failed, and NaN.
        calibrated: Whether members take the calibration that is kept with the model, where one is.
        store: Format of the store, and what of the values it keeps.
    """

    members: int = 16
    seed: int = 0
    sampler: Sampler | None = member("samplers", "dpmpp", optional=True)
    guidance: Guidance | None = member("guidance", optional=True)
    observed: Observing | None = None
    constraints: tuple[Constraint, ...] = several("constraints")
    leads: int = 1
    every: int = 1
    cases: int | None = None
    compute_batch: int = 16
    tiles: Tiles | None = None
    perturb: Perturbing | None = None
    persistent_noise: float = 0.0
    limit: float = 1000.0
    calibrated: bool = True
    store: Storing = field(default_factory=Storing)

    def __post_init__(self) -> None:
        require(self.limit > 0, "limit", self.limit, "more than 0, in standard deviations")
        most = 2**32
        require(
            self.members <= most,
            "members",
            self.members,
            f"at most {most}: noise is counted by 32 bits",
        )
        require(
            self.leads <= most, "leads", self.leads, f"at most {most}: noise is counted by 32 bits"
        )
        for name in ("members", "leads", "every", "compute_batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        share = self.persistent_noise
        require(0 <= share <= 1, "persistent_noise", share, "a share from 0 to 1")
        require(
            self.cases is None or self.cases >= 1, "cases", self.cases, "1 or more, or null for all"
        )

    @property
    def calls(self) -> int:
        """Network calls of one sampling, without guidance."""
        return 1 if self.sampler is None else self.sampler.calls

    @property
    def needs_covariance(self) -> bool:
        """Whether the sampler needs the posterior variance of the model's estimates."""
        return self.sampler is not None and self.sampler.needs_covariance
