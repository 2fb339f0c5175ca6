"""Where the numbers of a recalibration come from: how wrong the members of validation cases were.

Spread is matched to the error, not found by minimising a score: with the centre c the mean of M
members, a factor f with f^2 E[s^2] (M + 1) / M = E[(y - c - shift)^2] has a closed form, and it is
right at every size of ensemble up to M. Take members of variance 1 about a common mean, and truth
of variance t^2 about it. Matching gives f^2 = (t^2 + 1/M) / (1 + 1/M). Of the first m <= M members,
the mean of the calibrated ones, (1 - f) c + f c_m, misses the truth by t^2 + (1 - f^2) / M + f^2/m,
which is f^2 (1 + 1/m): their corrected spread, whatever m is. A factor for infinitely many
members, f = t, is this only for M that are many; a least CRPS is that of draws that do not
depend on each other, and members about their own mean do.

Intervals are split-conformal. The score of a cell is |y - c| over the spread of the raw members
there, of which nothing was fitted to these cases, and the radius is the quantile of all scores in
which every case has weight 1 / (n + 1), be its cells many or few, and the last 1 / (n + 1) lies at
infinity. Cases may be of any law, and cells of a case as alike as they like: if the new case is
exchangeable with the n validation cases, a point of it drawn at random by area lies within with
probability of the level or more; and with less than 1 / n more, where cells differ. A bias makes
such intervals wider than they need be, and never wrong.

Source:
    Fortin et al. (2014), doi:10.1175/JHM-D-14-0008.1, for (M + 1) / M; Lee, Barber, Willett (2023),
    Distribution-free inference with hierarchical data, arXiv:2306.06342, for weights by case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from diffsci.diffusion.basis import Basis
from diffsci.errors import ConfigError, NumericsError
from diffsci.evaluation import resampling
from diffsci.forecasting.calibration.recalibration import Recalibration, filtered, mean_of, scale_of
from diffsci.grid import Grid
from diffsci.sections.calibrating import Calibrate, fewest_cases

_ONE_SIGMA = 0.683

Errors = Float[np.ndarray, "case lead channel *space"]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a recalibration is fitted.

    Args:
        section: What is asked for.
        grid: Whose cells weigh by their area.
        shared_by: Scales of the channels, where one factor has to serve all of them, since a
            constraint holds between them; none where each has its own.
    """

    section: Calibrate
    grid: Grid
    shared_by: Float[np.ndarray, " channel"] | None = None

    def __call__(
        self,
        members: Float[np.ndarray, "case member lead channel *space"],
        truth: Float[np.ndarray, "case lead channel *space"],
        made_for: Mapping[str, Any] | None = None,
    ) -> Recalibration:
        """The numbers that fit some cases.

        Args:
            members: As they were drawn, physical units; NaN where there is a gap.
            truth: In the same unit.
            made_for: What the members depend on, kept with the numbers.

        Raises:
            ConfigError: For a level that so few cases cannot guarantee.
            NumericsError: Where all members are equal.
        """
        require_levels(self.section.levels, len(truth))
        # What was given, and so is not asked for, has no spread that could be wrong.
        members = np.where(np.isnan(truth)[:, None], np.float32(np.nan), members)
        middle = mean_of(members)
        error = truth - middle
        shift, chance = self._shift(error)
        edges = self._edges()
        spread = self._spread(error, members - middle[:, None], shift, chance, edges)
        scores = np.abs(error) / scale_of(members)
        radius = [self._quantile(scores, level) for level in self.section.levels]
        return Recalibration(
            shift=shift,
            spread=spread,
            edges=edges,
            centre=members.shape[1],
            levels=self.section.levels,
            radius=np.array(radius).reshape(-1, *shift.shape),
            cases=len(truth),
            made_for=made_for or {},
        )

    def _by_case(self, values: Errors) -> Float[np.ndarray, "case lead channel"]:
        """Area mean over the cells that are there."""
        space = tuple(range(3, values.ndim))
        there = ~np.isnan(values)
        total = (np.where(there, values, 0.0) * self.grid.cell_weights).sum(axis=space)
        return np.asarray(total / (there * self.grid.cell_weights).sum(axis=space))

    def _mean(self, values: Errors) -> Float[np.ndarray, "lead channel"]:
        return np.asarray(self._by_case(values).mean(axis=0))

    def _shared(
        self, squares: Float[np.ndarray, "lead channel"]
    ) -> Float[np.ndarray, "lead channel"]:
        """The mean over channels in units of their scales, where they share a factor."""
        if self.shared_by is None:
            return squares
        mean = (squares / self.shared_by**2).mean(axis=1, keepdims=True)
        return np.asarray(np.broadcast_to(mean, squares.shape))

    def _shift(
        self, error: Errors
    ) -> tuple[Float[np.ndarray, "lead channel"], Float[np.ndarray, "lead channel"]]:
        """What is added, and the variance with which chance moves the mean error.

        The mean error is taken as far as it is more than chance (the positive part of James and
        Stein): of few cases, or of many that are alike, it is mostly their weather.
        """
        by_case = self._by_case(error)
        found, count = by_case.mean(axis=0), len(by_case)
        if not self.section.bias:
            return np.zeros_like(found), np.zeros_like(found)
        chance = by_case.var(axis=0, ddof=1) / count
        for place in np.ndindex(chance.shape):
            chance[place] *= resampling.stretch(by_case[(slice(None), *place)], 1, _ONE_SIGMA) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(found != 0, np.maximum(0.0, 1 - chance / found**2), 0.0)
        return found * share, 2 * share * chance

    def _spread(
        self,
        error: Errors,
        off: Float[np.ndarray, "case member lead channel *space"],
        shift: Float[np.ndarray, "lead channel"],
        chance: Float[np.ndarray, "lead channel"],
        edges: tuple[float, ...],
    ) -> Float[np.ndarray, "lead channel band"]:
        """Factors of every band."""
        count = off.shape[1]
        bands = len(edges) + 1
        factor = np.ones((*shift.shape, bands))
        wide = shift.reshape(*shift.shape, *[1] * len(self.grid.sizes))
        if bands > 1:
            basis = Basis.of(self.grid)
            self._require_whole(error)
            for band in range(bands):
                alone = np.zeros_like(factor)
                alone[..., band] = 1.0
                wrong = self._shared(self._mean(filtered(error - wide, alone, edges, basis) ** 2))
                each = [filtered(off[:, k], alone, edges, basis) ** 2 for k in range(count)]
                found = self._shared(self._mean(np.sum(each, axis=0))) / (count - 1)
                with np.errstate(divide="ignore", invalid="ignore"):
                    factor[..., band] = np.sqrt(wrong / found * count / (count + 1))
            factor = np.nan_to_num(factor, nan=1.0, posinf=1.0)
            off = np.stack([filtered(off[:, k], factor, edges, basis) for k in range(count)], 1)
        # What chance takes off the error here, it adds to that of other cases.
        wrong = self._shared(self._mean((error - wide) ** 2) + chance)
        found = self._shared(self._mean(np.sum(off**2, axis=1))) / (count - 1)
        if not (found > 0).all():
            lead = int(np.argwhere(~(found > 0))[0][0])
            raise NumericsError(
                f"calibrate: all members are equal at step {lead + 1}, so that no factor gives "
                "them a spread; look at the model, or leave `calibrate` out"
            )
        return np.asarray(factor * np.sqrt(wrong / found * count / (count + 1))[..., None])

    def _edges(self) -> tuple[float, ...]:
        """Wavenumbers between bands: even in their logarithm, from the longest wave on."""
        if self.section.bands == 1:
            return ()
        numbers = Basis.of(self.grid).wavenumber
        first, last = float(numbers[numbers > 0].min()), float(numbers.max())
        steps = np.linspace(math.log(first), math.log(last), self.section.bands + 1)[1:-1]
        return tuple(float(edge) for edge in np.exp(steps))

    def _require_whole(self, error: Errors) -> None:
        if np.isnan(error).any():
            raise ConfigError(
                f"calibrate.bands: got {self.section.bands}, expected 1: the data has gaps, and a "
                "field with gaps has no waves"
            )

    def _quantile(self, scores: Errors, level: float) -> Float[np.ndarray, "lead channel"]:
        """The least radius of which cases have so much weight within."""
        cases = len(scores)
        weights = np.broadcast_to(self.grid.cell_weights, scores.shape[3:])
        found = np.empty(scores.shape[1:3])
        for place in np.ndindex(found.shape):
            own = scores[(slice(None), *place)].reshape(cases, -1)
            there = ~np.isnan(own)
            mass = np.where(there, weights.reshape(-1), 0.0)
            mass = mass / mass.sum(axis=1, keepdims=True) / (cases + 1)
            order = np.argsort(own[there])
            reached = np.cumsum(mass[there][order])
            # Sums of many weights round: a share that is reached but for that is reached.
            at = int(np.searchsorted(reached, level * (1 - 1e-12)))
            found[place] = own[there][order][min(at, len(reached) - 1)]
        return found


def require_levels(levels: tuple[float, ...], cases: int) -> None:
    """Refuse intervals that would have to be infinite.

    Raises:
        ConfigError: Naming the level, and how many cases it takes.
    """
    for level in levels:
        needed = fewest_cases(level)
        if cases < needed:
            raise ConfigError(
                f"calibrate.levels: {level:g} takes {needed} validation cases or more, and there "
                f"are {cases}; lower the level, or widen data.split.valid or calibrate.cases"
            )
