"""Augmentation: data plus ever less faithful copies of itself, a Gaussian AR(1) process.

At level t the copy is x_t = c_t x_0 + d_t eps, with the signal scale c and the noise std d of the
schedule. Between two levels s < t it is made by x_t = lambda x_s + sigma eps,

    lambda = c_t / c_s (`step_scale`),    sigma^2 = d_t^2 - lambda^2 d_s^2 (`step_std`),

and seen backwards, knowing the clean field, x_s is exactly normal:

    q(x_s | x_t, x_0) = N(a x_0 + b x_t, v),
    a = c_s sigma^2 / d_t^2,    b = lambda d_s^2 / d_t^2,    v = d_s^2 sigma^2 / d_t^2.

All of it holds for any jump, not for neighbouring levels alone, which is what sampling in few
steps needs. We write it with kept = SNR_t / SNR_s, the share of the precision of x_s that x_t
kept, so that the only subtraction is 1 - kept.

Source: Turner et al. (2024), Denoising Diffusion Probabilistic Models in Six Simple Steps,
arXiv:2402.04384.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.schedules.base import AnySchedule, Schedule, check_levels
from diffsci.errors import ConfigError, require

Spacing = Literal["karras", "log_snr", "time"]
"""How a sampler spaces its levels: sigma^(1/7), log(sigma) or t itself in equal steps."""


@dataclass(frozen=True)
class Level:
    """The law of x_t given x_0 at one level, or at one level per example.

    Args:
        t: The level, in the dtype and on the device of the fields.
        signal_scale: Multiplier of x_0.
        noise_std: Multiplier of the unit noise.
    """

    t: Float[Tensor, "*levels"]
    signal_scale: Float[Tensor, "*levels"]
    noise_std: Float[Tensor, "*levels"]

    @property
    def norm(self) -> Float[Tensor, "*levels"]:
        """Standard deviation of x_t for data of unit variance."""
        return torch.hypot(self.signal_scale, self.noise_std)

    @property
    def noise_to_signal(self) -> Float[Tensor, "*levels"]:
        """noise_std / signal_scale, the literature's sigma."""
        return self.noise_std / self.signal_scale

    @property
    def snr(self) -> Float[Tensor, "*levels"]:
        """Signal-to-noise ratio of the variances."""
        return (self.signal_scale / self.noise_std) ** 2

    def to(self, field: Float[Tensor, "..."]) -> Level:
        """The same level in the dtype and on the device of a field."""
        return Level(self.t.to(field), self.signal_scale.to(field), self.noise_std.to(field))

    def over(self, field: Float[Tensor, "..."]) -> Level:
        """The same level shaped to multiply a field whose leading dims are those of `t`."""
        shape = self.t.shape + (1,) * (field.ndim - self.t.ndim)
        return Level(
            self.t.reshape(shape), self.signal_scale.reshape(shape), self.noise_std.reshape(shape)
        )


def level(schedule: AnySchedule, t: Float[Tensor, "*levels"]) -> Level:
    """The level of a schedule at t.

    Raises:
        FieldError: For t outside [0, 1], where its value can be read without making a device wait.
    """
    check_levels(t)
    return Level(t, *schedule(t))


@dataclass(frozen=True)
class Jump:
    """From a level to a cleaner one, in any distance."""

    now: Level
    after: Level

    @property
    def step_scale(self) -> Float[Tensor, "*levels"]:
        """The lambda of x_now = lambda x_after + sigma eps."""
        return self.now.signal_scale / self.after.signal_scale

    @property
    def step_std(self) -> Float[Tensor, "*levels"]:
        """The sigma of x_now = lambda x_after + sigma eps."""
        return self.now.noise_std * torch.sqrt(1 - self._kept)

    @property
    def weight_x_0(self) -> Float[Tensor, "*levels"]:
        """The a in the mean a x_0 + b x_now of x_after given both."""
        return self.after.signal_scale * (1 - self._kept)

    @property
    def weight_x_t(self) -> Float[Tensor, "*levels"]:
        """The b in the mean a x_0 + b x_now of x_after given both."""
        return self.step_scale * (self.after.noise_std / self.now.noise_std) ** 2

    @property
    def posterior_std(self) -> Float[Tensor, "*levels"]:
        """Standard deviation of x_after given x_0 and x_now."""
        return self.after.noise_std * torch.sqrt(1 - self._kept)

    @property
    def width(self) -> Float[Tensor, "*levels"]:
        """Fall of log(noise_std / signal_scale), which is half the rise of the log of the SNR."""
        return torch.log(self.now.noise_to_signal / self.after.noise_to_signal)

    @property
    def _kept(self) -> Float[Tensor, "*levels"]:
        return (self.after.noise_to_signal / self.now.noise_to_signal) ** 2


def level_of(
    schedule: AnySchedule, noise_to_signal: Float[Tensor, "*levels"]
) -> Float[Tensor, "*levels"]:
    """The t at which noise_std / signal_scale has the given value, clipped to [0, 1].

    A schedule that is a mere function is inverted by bisection: 60 halvings leave 1e-18.
    """
    if isinstance(schedule, Schedule):
        exact: Tensor = schedule.level_of(noise_to_signal)
        return exact
    low, high = torch.zeros_like(noise_to_signal), torch.ones_like(noise_to_signal)
    for _ in range(60):
        middle = (low + high) / 2
        signal_scale, noise_std = schedule(middle)
        above = noise_std > noise_to_signal * signal_scale
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return (low + high) / 2


def ends(schedule: AnySchedule) -> Float[Tensor, "2"]:
    """The noisiest and the cleanest t that a sampler visits, in float64.

    They are 1 and 0. Where noise_std / signal_scale is infinite or 0 there, as at the ends of a
    bare rectified flow, they are where it is 1000 and 0.001. What lies beyond moves the mean of
    data of unit variance by less than a thousandth of itself, and its variance by a millionth.
    A billion counts as infinite: cos(pi / 2) is 6e-17, not 0.
    """
    t = torch.tensor([1.0, 0.0], dtype=torch.float64)
    signal_scale, noise_std = schedule(t)
    clip = torch.tensor([_SIGMA_ENTERED, _SIGMA_LEFT], dtype=torch.float64)
    singular = torch.stack(
        [signal_scale[0] <= 1e-9 * noise_std[0], noise_std[1] <= 1e-9 * signal_scale[1]]
    )
    return torch.where(singular, level_of(schedule, clip), t) if bool(singular.any()) else t


_SIGMA_ENTERED, _SIGMA_LEFT = 1e3, 1e-3


def step_times(schedule: AnySchedule, steps: int, spacing: Spacing) -> Float[Tensor, " times"]:
    """Levels from 1 down to 0, `steps` + 1 of them, in float64 on the CPU; see also `ends`.

    Args:
        schedule: Gives the noise of each t; with `time` only its ends are asked.
        steps: Number of jumps.
        spacing: `karras` and `log_snr` make the sigmas independent of the schedule but for its
            ends.
    """
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    limits = ends(schedule)
    if spacing == "time":
        return limits[1] + times * (limits[0] - limits[1])
    high, low = level(schedule, limits).noise_to_signal
    if spacing == "karras":
        root = 1 / 7
        sigma = (low**root + times * (high**root - low**root)) ** 7
    else:
        sigma = torch.exp(torch.log(low) + times * torch.log(high / low))
    inner = level_of(schedule, sigma[1:-1])
    return torch.cat([limits[:1], inner, limits[1:]])


@dataclass(frozen=True)
class Descent:
    """The way of a sampler from noise to data.

    Scales are 0-dimensional float64 tensors on the CPU: they combine with fields of any dtype and
    device, keep the field's dtype, and no step makes the host wait. `t` alone lies with the field.

    Args:
        schedule: The noise at each level.
        jumps: From t = 1 to t = 0, one a step.
        like: A field of the sampler's dtype and device.
    """

    schedule: AnySchedule
    jumps: tuple[Jump, ...]
    like: Float[Tensor, "..."]

    def at(self, noise_to_signal: Float[Tensor, ""]) -> Level:
        """A level off the path, by its noise_std / signal_scale; clipped to the schedule's ends."""
        t = level_of(self.schedule, noise_to_signal)
        return Level(t.to(self.like), *self.schedule(t))


def descent(
    schedule: AnySchedule, steps: int, spacing: Spacing, like: Float[Tensor, "..."]
) -> Descent:
    """The jumps of a sampler from t = 1 to t = 0.

    Raises:
        ConfigError: When noise_std / signal_scale does not fall strictly.
    """
    times = step_times(schedule, steps, spacing)
    signal_scale, noise_std = schedule(times)
    sigma = noise_std / signal_scale
    falls = bool((sigma[:-1] > sigma[1:]).all() and (times[:-1] > times[1:]).all())
    if not isinstance(schedule, Schedule):
        # Between the levels too: going back and forth, it would have several inverses.
        c, d = schedule(torch.linspace(0, 1, 65, dtype=torch.float64))
        falls = falls and bool((d[1:] * c[:-1] > d[:-1] * c[1:]).all())
    if not (falls and sigma[-1] > 0 and sigma[0] < math.inf):
        shown = ", ".join(f"{value:.4g}" for value in sigma[[0, 1, -2, -1]].tolist())
        raise ConfigError(
            f"schedule {schedule!r}: noise_std / signal_scale must fall strictly from t = 1 to "
            f"t = 0; the first two and last two of {steps} steps are {shown}: take fewer steps, or "
            "another schedule"
        )
    levels = [Level(*parts) for parts in zip(times.to(like), signal_scale, noise_std, strict=True)]
    return Descent(schedule, tuple(Jump(now, after) for now, after in pairwise(levels)), like)


def pure_noise(
    schedule: AnySchedule, unit_noise: Float[Tensor, "batch *shape"]
) -> Float[Tensor, "batch *shape"]:
    """Where sampling starts: x_1, from standard normal numbers (draw 0 of a `Noise`)."""
    _, noise_std = schedule(torch.ones((), dtype=torch.float64))
    return noise_std * unit_noise


def check_descent(steps: int, spacing: str, minimum: int = 1) -> None:
    """Refuse step counts and spacings that a sampler does not have.

    Args:
        steps: Asked for.
        spacing: Asked for.
        minimum: Fewest steps with which the sampler is what it says it is.

    Raises:
        FieldError: Naming the field.
    """
    whole = isinstance(steps, int) and not isinstance(steps, bool)
    require(whole, "steps", steps, "a whole number")
    require(steps >= minimum, "steps", steps, f"{minimum} or more")
    known = get_args(Spacing)
    require(spacing in known, "spacing", spacing, f"one of {known}")
