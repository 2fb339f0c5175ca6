"""The exact reverse variance for fields: Cov[x_0 | x_t] by channel and wavenumber, from data.

A step of ancestral sampling needs the variance of x_0 given x_t. Stationary fields have it diagonal
in waves, so a table by level, channel and band of wavenumbers holds it, and a trained denoiser D is
all that it takes to fill it:

    Var = E |waves of x_0 - D(c x_0 + d z)|^2,    the error of the network included,

which is the most likely variance for the mean that the network has. A normal wave of variance P
seen through noise of sigma = d / c has 1 / Var = 1 / P + 1 / sigma^2. We keep the P of that
formula, the power: for normal data it is the same at all levels, so it may be interpolated in
log(sigma), and held beyond the ends. Var > sigma^2 would be to know less than x_t / c, which is an
estimate of x_0 too; what is above is the network's error, and counts as sigma^2.

An average over few waves is noisy, and the lowest band has one wave for each example. Three things
explain most of the noise, and their means are known: |z|^2, which is 1 in the mean, x_0 z, which is
0, and |x_0|^2, averaged over the examples of all levels. Regression on them leaves, for normal
data, no noise but that of the data's own spectrum. So each example is shown to the denoiser once,
at one level.

Source: Bao et al. (2022), Analytic-DPM, arXiv:2201.06503; Bao et al. (2022b), Estimating the
Optimal Covariance with Imperfect Mean in Diffusion Probabilistic Models, arXiv:2206.07309.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.batch import Batch
from diffsci.diffusion.augmentation import Level, ends, level, level_of
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.covariance import InWaves, WithCovariance
from diffsci.diffusion.guidance.base import ConditionalDenoise
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.noises.base import Shaping
from diffsci.diffusion.samplers.base import Denoise
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import ConfigError, NumericsError, require

ROWS = 16
"""Fewest examples of a level: the regression has 4 coefficients."""

_SEED = 2201_06503
"""Data may have been made with small seeds; its noise would explain our own."""

_KNOWN_AT_MOST, _KNOWN_AT_LEAST = 1 - 1e-4, 1e-30
"""Ends of Var / sigma^2: at 1 the power would be infinite, at 0 its logarithm."""


@dataclass(frozen=True, kw_only=True)
class VarianceTable:
    """Posterior variance by level, channel and band; float64, on the CPU.

    Args:
        log_sigma: Logarithm of noise_std / signal_scale, rising.
        log_power: Logarithm of the variance of a normal wave that would be known as well, by level,
            channel and band.
        relative_error: Standard error of the posterior variance, as a share of it; likewise.
    """

    log_sigma: Float[Tensor, " level"]
    log_power: Float[Tensor, "..."]
    relative_error: Float[Tensor, "..."]

    def __post_init__(self) -> None:
        count, shape = len(self.log_sigma), tuple(self.log_power.shape)
        require(count >= 2, "log_sigma", count, "2 or more levels")
        rising = bool((self.log_sigma.diff() > 0).all())
        require(rising, "log_sigma", self.log_sigma.tolist(), "rising values")
        require(len(shape) == 3 and shape[0] == count, "log_power", shape, f"{count} levels")
        found = tuple(self.relative_error.shape)
        require(found == shape, "relative_error", found, f"the shape of log_power, {shape}")
        finite = bool(torch.isfinite(self.log_power).all())
        require(finite, "log_power", "NaN or infinity", "finite values")

    def variance(
        self, log_sigma: Float[Tensor, "*levels"]
    ) -> Float[Tensor, "*levels channel band"]:
        """Of a wave of each band given x_t, in units of x_0, at any noise_std / signal_scale."""
        at = log_sigma.to(self.log_sigma)
        after = torch.searchsorted(self.log_sigma, at).clamp(1, len(self.log_sigma) - 1)
        low, high = self.log_sigma[after - 1], self.log_sigma[after]
        share = ((at - low) / (high - low)).clamp(0, 1)[..., None, None]
        power = torch.lerp(self.log_power[after - 1], self.log_power[after], share)
        twice = 2 * at[..., None, None]
        return torch.exp(twice) * torch.sigmoid(power - twice)

    @classmethod
    def of_variance(
        cls,
        log_sigma: Float[Tensor, " level"],
        variance: Float[Tensor, "level channel band"],
        relative_error: Float[Tensor, "level channel band"],
    ) -> VarianceTable:
        """The table that has this posterior variance at its levels, in units of x_0."""
        twice = 2 * log_sigma[:, None, None]
        share = (variance / torch.exp(twice)).clamp(_KNOWN_AT_LEAST, _KNOWN_AT_MOST)
        return cls(
            log_sigma=log_sigma,
            log_power=torch.logit(share) + twice,
            relative_error=relative_error,
        )

    def to_tensors(self) -> dict[str, Tensor]:
        """Its tensors by name, ready for a file."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> VarianceTable:
        """The table that `to_tensors` described."""
        names = sorted(item.name for item in fields(cls))
        if sorted(tensors) != names:
            raise ConfigError(f"variance table: found {sorted(tensors)}, expected {names}")
        return cls(**tensors)


@dataclass(frozen=True)
class Calibrated(WithCovariance):
    """A denoiser with the posterior variance of a table, as `variance: exact` needs it.

    Args:
        denoise: Estimates x_0.
        table: Of its errors.
        basis: Of the fields' space dims.
    """

    denoise: Denoise
    table: VarianceTable
    basis: Basis

    def __post_init__(self) -> None:
        bands = self.table.log_power.shape[2]
        require(bands == self.basis.bands, "table", bands, f"{self.basis.bands} bands of this box")

    def __call__(self, x_t: Float[Tensor, "batch *shape"], t: Tensor) -> Tensor:
        """E[x_0 | x_t]."""
        return self.denoise(x_t, t)

    def with_covariance(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> tuple[Tensor, InWaves]:
        """E[x_0 | x_t], and its covariance in waves.

        Raises:
            ConfigError: For fields of other channels or sizes than the table's.
        """
        found, wanted = tuple(x_t.shape[1:]), (self.table.log_power.shape[1], *self.basis.sizes)
        if found != wanted:
            raise ConfigError(
                f"variance table: it is of channels and space {wanted}, the fields have {found}: "
                "estimate one for these fields"
            )
        bands = self.table.variance(torch.log(at.noise_to_signal))
        return self.denoise(x_t, at.t), InWaves(self.basis, self.basis.by_band(bands.to(x_t)))


@torch.no_grad()
def estimate(
    denoise: ConditionalDenoise,
    schedule: AnySchedule,
    batches: Iterable[Batch],
    basis: Basis,
    *,
    levels: int = 24,
    shaping: Shaping | None = None,
) -> VarianceTable:
    """The table of a trained denoiser, by one call of it for each example.

    Args:
        denoise: Estimates x_0, one level for each example.
        schedule: The noise at each level.
        batches: Examples, on the denoiser's device; those it was trained on will do. They may be
            given again: their noise is new for each batch.
        basis: Of the fields' space dims.
        levels: Of the table, equally spaced in log(noise_std / signal_scale).
        shaping: Of the noise; none for white noise.

    Raises:
        ConfigError: For too few examples, or noise whose waves are not independent.
        NumericsError: When an estimate is not finite.
    """
    require(levels >= 2, "levels", levels, "2 or more")
    high, low = torch.log(level(schedule, ends(schedule)).noise_to_signal).tolist()
    spaced = torch.linspace(low, high, levels, dtype=torch.float64)
    at = level(schedule, level_of(schedule, torch.exp(spaced)))
    noise, deal, root = seeded(_SEED), _dealt(levels), _root(shaping, basis)
    sums: Tensor | None = None
    for index, batch in enumerate(batches):
        x_0, z = batch.target, noise(batch.target, index)
        rows = torch.tensor(list(islice(deal, len(x_0))))
        here = Level(at.t[rows], at.signal_scale[rows], at.noise_std[rows]).to(x_0)
        shaped = here.over(x_0)
        x_t = shaped.signal_scale * x_0 + shaped.noise_std * (shaping(z) if shaping else z)
        error = x_0 - denoise(x_t, here.t, batch.condition, batch.scalars)
        means = _terms(batch, error, z, basis, root)
        if sums is None:
            sums = means.new_zeros(levels, *means.shape[1:], means.shape[-1])
        sums.index_add_(0, rows, means[..., :, None] * means[..., None, :])
    seen = 0 if sums is None else int(sums[:, ..., 1, 1].flatten(1).amax(dim=1).min())
    if sums is None or seen < ROWS:
        raise ConfigError(
            f"variance.estimate: {seen} examples for each of {levels} levels, expected {ROWS} or "
            "more: give the examples again (their noise is new), or take fewer levels"
        )
    if not bool(torch.isfinite(sums).all()):
        raise NumericsError(
            "variance.estimate: an estimate of the denoiser is not finite: train longer, lower "
            "train.lr, or set runtime.precision: fp32"
        )
    return _regressed(sums, torch.log(at.noise_to_signal))


def _terms(
    batch: Batch,
    error: Float[Tensor, "batch channel *space"],
    z: Float[Tensor, "batch channel *space"],
    basis: Basis,
    root: Float[Tensor, "*space"],
) -> Float[Tensor, "batch channel band 5"]:
    """Each example's mean squared error by band, and what explains it; zeros: does not count."""
    fields = torch.stack([batch.target, error])
    counts = None
    if batch.mask is not None:
        mask = batch.mask.to(fields)
        share = mask.flatten(2).mean(dim=2)
        counts = share > 0
        # As much power as a whole field would have.
        over = share.clamp(min=1 / mask[0, 0].numel()).reshape(*share.shape, *[1] * (mask.ndim - 2))
        fields = fields * mask / torch.sqrt(over)
    x, e = basis.forward(fields) / root.to(fields)
    z = basis.forward(z)
    terms = torch.stack([e**2, torch.ones_like(e), z**2 - 1, x * z, x**2])
    means = basis.mean_by_band(terms).movedim(0, -1).double().cpu()
    return means if counts is None else means * counts.cpu()[..., None, None]


def _dealt(levels: int) -> Iterator[int]:
    """All levels in random order, and again: neither levels nor examples are in step with it."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield from torch.randperm(levels, generator=generator).tolist()


def _root(shaping: Shaping | None, basis: Basis) -> Float[Tensor, "*space"]:
    """The factor of each wave by which noise is shaped."""
    one = torch.ones(1, 1, *basis.sizes, dtype=torch.float64)
    if shaping is None:
        return one[0, 0]
    root = basis.forward(shaping(basis.inverse(one)))
    signs = torch.sign(seeded(_SEED)(one, 0))
    again = basis.forward(shaping(basis.inverse(one * signs)))
    if not torch.allclose(again, root * signs, rtol=1e-6, atol=1e-9):
        raise ConfigError(
            "variance: exact: the noise mixes waves, so that no table by wavenumber can be exact: "
            "use white noise, coloured noise on a periodic grid, or another sampler"
        )
    return root[0, 0]


def _regressed(sums: Float[Tensor, "level channel band 5 5"], log_sigma: Tensor) -> VarianceTable:
    """The table, from sums of the products of squared errors and terms."""
    gram, cross, square = sums[..., 1:, 1:], sums[..., 1:, 0], sums[..., 0, 0]
    count = gram[..., 0, 0].clamp(min=1)
    whole = gram.sum(dim=0)
    examples = whole[..., 0, 0].clamp(min=1)
    power = whole[..., 0, 3] / examples
    means = torch.stack([torch.ones_like(power), *[torch.zeros_like(power)] * 2, power], dim=-1)
    # Terms of size 1; one that says nothing, such as |x_0|^2 where it never changes, gets nothing.
    scale = torch.sqrt(gram.diagonal(dim1=-2, dim2=-1)).clamp(min=1e-150)
    inverse = torch.linalg.pinv(
        gram / (scale[..., :, None] * scale[..., None, :]), rtol=1e-10, hermitian=True
    )
    slopes = (inverse @ (cross / scale)[..., None])[..., 0]
    probe = means / scale
    found = (probe * slopes).sum(dim=-1)
    residual = (square - (slopes * cross / scale).sum(dim=-1)).clamp(min=0) / (count - 4).clamp(
        min=1
    )
    of_fit = residual * (probe * (inverse @ probe[..., None])[..., 0]).sum(dim=-1)
    of_power = (slopes / scale)[..., 3] ** 2 * (whole[..., 3, 3] / examples - power**2) / examples
    plain = cross[..., 0] / count
    # An explanation that leaves next to nothing of a mean of squares is none.
    found = torch.where(found > plain / 10, found, plain)
    error = torch.sqrt((of_fit + of_power).clamp(min=0)) / found.clamp(min=1e-300)
    return VarianceTable.of_variance(log_sigma, found, error)
