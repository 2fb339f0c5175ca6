"""The likelihood of a field under a model, by following its probability flow into noise.

With w = x_t / n, n = sqrt(c^2 + d^2), and u = log(d / c) the flow is

    dw/du = (c / n) (c w / n - E[x_0 | x_t]),

and the density that it carries along thins out by its divergence. So, for N numbers,

    log p(x_0) = log p(x_1) + N log(n_1 / n_0) + integral (divergence of dw/du) du,

taken from u at t = 0 to u at t = 1 in equal steps of Runge-Kutta's fourth order. In these
variables nothing happens for data of unit variance, and w comes to rest in the noise for any.

The trace is exact for small problems, one backward pass for each number. For fields it is
Hutchinson's: E[z^T J z] = tr J for random signs z, which has the smallest variance of all
independent probes, 2 sum_{i != j} J_ij^2. Each probe is drawn anew at each step, which leaves the
estimate unbiased and averages over the steps; probes are copies of the whole integral, so their
scatter is the error that we return.

Source: Chen et al. (2018), Neural ordinary differential equations, arXiv:1806.07366; Grathwohl et
al. (2019), FFJORD, arXiv:1810.01367; Song et al. (2021), arXiv:2011.13456, section 4.3;
Hutchinson (1990), doi:10.1080/03610919008812866.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Level, descent
from diffsci.diffusion.covariance import LARGEST
from diffsci.diffusion.exact.diagonal import DiagonalGaussian
from diffsci.diffusion.exact.law import Law
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.samplers.base import Denoise, Noise, Watched
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import ConfigError, require

STANDARD = DiagonalGaussian(mean=torch.zeros(()), variance=torch.ones(()))
"""Mean 0 and variance 1 in each number: what data are normalised to."""


class Likelihood(NamedTuple):
    """What `log_likelihood` returns, in float64.

    Args:
        nats: Natural logarithm of the density of each example.
        standard_error: Of `nats`, from the scatter of the probes; 0 for an exact trace.
    """

    nats: Float[Tensor, " batch"]
    standard_error: Float[Tensor, " batch"]


def log_likelihood(
    denoise: Denoise,
    schedule: AnySchedule,
    x_0: Float[Tensor, "batch *shape"],
    *,
    steps: int = 64,
    probes: int | None = None,
    noise: Noise | None = None,
    end: Law = STANDARD,
) -> Likelihood:
    """Log-density of each example at t = 0, where the data have noise of `noise_std(0)`.

    At t = 1 the flow's end is given the density of `end` with the noise of that level. For the
    default, N(0, (c_1^2 + d_1^2) I), a number or a mode of the data of mean m and variance v has
    with r = (c_1 / d_1)^2 the error z m sqrt(r) + (1 - z^2) (v - 1) r / 2, z standard normal: for
    `edm` with m = 1 that is 0.0125 z nats, and on average r m^2 / 2 + r^2 (v - 1)^2 / 4, less than
    1e-4. Give the data's own mean and variance to be rid of it.

    The densities are those of the fields as given: for normalised ones, take off the sum of
    log(std) to have them per physical unit.

    Args:
        denoise: A model that autograd can follow and whose examples do not see each other.
        schedule: Of the model.
        x_0: Fields.
        steps: Of the integration, four calls of `denoise` each.
        probes: Random vectors for the trace, 2 or more; none for the exact trace.
        noise: Makes the probes from draws 1, 2, ...; none for a fixed seed.
        end: A law of the data of which mean and variance matter alone.

    Raises:
        ConfigError: For an exact trace of too many numbers, or a model without gradients.
        NotFiniteError: For an estimate that is not finite.
    """
    require(steps >= 1, "steps", steps, "1 or more")
    require(probes is None or probes >= 2, "probes", probes, "2 or more, since one has no error")
    require(probes is not None or noise is None, "noise", noise, "none, unless `probes` are given")
    size = math.prod(x_0.shape[1:])
    if probes is None and size > LARGEST:
        raise ConfigError(
            f"probes: an example has {size} numbers, and the exact trace takes a backward pass for "
            f"each of them; that is allowed up to {LARGEST}: give probes=8 or more"
        )
    # Autograd works here also for callers under `inference_mode` or `no_grad`.
    with torch.inference_mode(False), torch.no_grad():
        watched = Watched(denoise)
        draw = None if probes is None else _signs(probes, seeded(0) if noise is None else noise)
        x_1, last, change = _integrate(watched, schedule, x_0.detach().clone(), steps, draw)
        watched.report(x_1)
        nats = end.log_density(x_1, last).to(change) + change.mean(dim=0)
        error = change.std(dim=0) / math.sqrt(len(change)) if draw else torch.zeros_like(nats)
    return Likelihood(nats, error)


def nats_per_number(
    nats: Float[Tensor, " batch"], x_0: Float[Tensor, "batch *shape"]
) -> Float[Tensor, " batch"]:
    """Log-density divided by the count of an example's numbers, to compare grids of any size.

    Independent standard normal numbers have -(1 + log(2 pi)) / 2 = -1.419 on average.
    """
    return nats / math.prod(x_0.shape[1:])


Probes = Callable[[Tensor, int], list[Tensor]]


def _signs(count: int, noise: Noise) -> Probes:
    def draw(like: Tensor, step: int) -> list[Tensor]:
        drawn = [noise(like, 1 + step * count + probe).clone() for probe in range(count)]
        return [torch.where(z < 0, -1.0, 1.0).to(like) for z in drawn]

    return draw


def _integrate(
    denoise: Denoise, schedule: AnySchedule, x: Tensor, steps: int, draw: Probes | None
) -> tuple[Tensor, Level, Float[Tensor, "probe batch"]]:
    # The end of the flow, its level, and by how much log p(x_0) exceeds log p(x_1).
    jumps = descent(schedule, 2 * steps, "log_snr", x).jumps[::-1]
    first, last = jumps[0].after, jumps[-1].now
    w = x / first.norm
    size = math.prod(x.shape[1:])
    change = x.new_full((1, len(x)), size, dtype=_wide(x)) * torch.log(last.norm / first.norm)
    for step in range(steps):
        low, middle, high = jumps[2 * step].after, jumps[2 * step].now, jumps[2 * step + 1].now
        h = torch.log(high.noise_to_signal / low.noise_to_signal)
        probes = None if draw is None else draw(x, step)
        slope_1, thinned_1 = _slope(denoise, w, low, probes)
        slope_2, thinned_2 = _slope(denoise, w + h / 2 * slope_1, middle, probes)
        slope_3, thinned_3 = _slope(denoise, w + h / 2 * slope_2, middle, probes)
        slope_4, thinned_4 = _slope(denoise, w + h * slope_3, high, probes)
        w = w + h / 6 * (slope_1 + 2 * (slope_2 + slope_3) + slope_4)
        change = change + h / 6 * (thinned_1 + 2 * (thinned_2 + thinned_3) + thinned_4)
    return w * last.norm, last, change


def _slope(
    denoise: Denoise, w: Tensor, at: Level, probes: list[Tensor] | None
) -> tuple[Tensor, Float[Tensor, "probe batch"]]:
    # dw/du and its divergence: exact, or one estimate for each probe.
    share = at.signal_scale / at.norm
    with torch.enable_grad():
        w = w.detach().requires_grad_()
        estimate = denoise(at.norm * w, at.t)
        if not estimate.requires_grad:
            raise ConfigError(
                "denoise: its estimate carries no gradient to x_t, so its divergence cannot be "
                "taken: write it in torch, without detach or no_grad"
            )
        columns = estimate.reshape(len(estimate), -1)

        def pulled(weights: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(columns, w, weights, retain_graph=True)
            return (found.reshape(len(found), -1) * weights).to(_wide(w)).sum(dim=1)

        if probes is None:
            units = torch.eye(columns.shape[1]).to(columns)
            rows = [pulled(unit.expand_as(columns)) for unit in units]
            trace = torch.stack(rows).sum(dim=0, keepdim=True)
        else:
            trace = torch.stack([pulled(probe.reshape(len(probe), -1)) for probe in probes])
    slope = share * (share * w - estimate)
    return slope.detach(), share * (share * columns.shape[1] - trace.detach())


def _wide(field: Tensor) -> torch.dtype:
    # Sums over a field's numbers; Apple's GPUs have no float64.
    return torch.float32 if field.device.type == "mps" else torch.float64
