"""What every sampler is: the way from noise at t = 1 to a sample at t = 0.

A member says where its steps lead (`walk`); what all of them owe the caller is done here once: one
dtype and device throughout, the ends of any schedule, and an estimate that is not finite named by
step and example.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from diffsci.diffusion.augmentation import Descent, Level, Spacing, descent
from diffsci.diffusion.covariance import Covariance, with_covariance
from diffsci.diffusion.schedules.base import AnySchedule
from diffsci.errors import ConfigError, NotFiniteError

Denoise = Callable[[Tensor, Tensor], Tensor]
"""`denoise(x_t, t) -> E[x_0 | x_t]`, with `t` a scalar tensor or one value per example."""

Noise = Callable[[Tensor, int], Tensor]
"""`noise(like, index)`: standard normal of the shape of `like`, the only randomness.

`index` counts draws: draw 0 made x_1, a sampler takes 1, 2, ... itself.
"""


class Sampler(ABC):
    """A family member: frozen keyword-only dataclass with fields `steps` and `spacing`, stateless.

    Float64 in gives float64 throughout. The result is x at t = 0, whose remaining noise is
    `noise_std(0)`.
    """

    steps: int
    spacing: Spacing

    @property
    def needs_covariance(self) -> bool:
        """Whether it asks the denoiser for the covariance of its estimate."""
        return False

    @property
    @abstractmethod
    def order(self) -> int:
        """Order of convergence in 1 / steps: of the path if deterministic, else of the law.

        0 for a sampler whose law is not that of the data however many steps it takes.
        """

    @property
    @abstractmethod
    def calls(self) -> int:
        """Exact number of `denoise` calls of one sampling."""

    @abstractmethod
    def walk(
        self, denoise: Watched, path: Descent, x: Float[Tensor, "batch *shape"], noise: Noise
    ) -> Float[Tensor, "batch *shape"]:
        """From x at the first level of `path` to x at its last."""

    def __call__(
        self,
        denoise: Denoise,
        schedule: AnySchedule,
        x_1: Float[Tensor, "batch *shape"],
        noise: Noise,
    ) -> Float[Tensor, "batch *shape"]:
        """A sample at t = 0 for each example of `x_1`, drawn at `(signal_scale(1), noise_std(1))`.

        Under a schedule whose `signal_scale(0)` is not 1, divide by it to have x_0 itself.

        Raises:
            ConfigError: For a schedule whose noise does not fall from t = 1 to t = 0, for an `x_1`
                that is no batch of floating-point fields, or for estimates or noise of another
                shape, dtype or device than it.
            NotFiniteError: For an estimate that is not finite, with its step and example.
        """
        if not (x_1.is_floating_point() and x_1.ndim >= 1 and len(x_1) >= 1):
            raise ConfigError(
                f"x_1: got {list(x_1.shape)} {x_1.dtype}, expected one or more examples, [batch, "
                "...], of a floating-point dtype"
            )
        path = descent(schedule, self.steps, self.spacing, x_1)
        watched = Watched(denoise)
        # 1 but for a schedule that is entered later than at t = 1.
        _, noise_std = schedule(torch.ones((), dtype=torch.float64))
        x = x_1 * (path.jumps[0].now.noise_std / noise_std)
        x_0 = self.walk(watched, path, x, watched.noise(noise))
        watched.report(x_0)
        return x_0


class Watched:
    """A denoiser whose estimates are checked; what is read of a device is read once, at the end."""

    def __init__(self, denoise: Denoise) -> None:
        self._denoise = denoise
        self._finite: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x_t: Float[Tensor, "batch *shape"], t: Tensor) -> Tensor:
        """E[x_0 | x_t]."""
        return self._seen(self._denoise(x_t, t), x_t, t)

    def with_covariance(
        self, x_t: Float[Tensor, "batch *shape"], at: Level
    ) -> tuple[Tensor, Covariance]:
        """E[x_0 | x_t] and Cov[x_0 | x_t], by one call."""
        mean, covariance = with_covariance(self._denoise, x_t, at)
        return self._seen(mean, x_t, at.t), covariance

    @staticmethod
    def noise(noise: Noise) -> Noise:
        """The noise, held to the kind of the fields: broadcast, members would share it."""

        def drawn(like: Tensor, index: int) -> Tensor:
            found = noise(like, index)
            _require_alike("noise: its draw", found, like)
            return found

        return drawn

    def _seen(self, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        _require_alike("denoise: its estimate", x_0, x_t)
        self._finite.append((torch.isfinite(x_0.reshape(len(x_0), -1)).all(dim=1), t))
        return x_0

    def report(self, x_0: Float[Tensor, "batch *shape"]) -> None:
        """Name the first estimate that was not finite; the sample itself counts as the last one.

        Raises:
            NotFiniteError: With the number of its call, its level and the example.
        """
        if not self._finite or self._finite[0][0].device.type == "meta":
            return
        self._finite.append(
            (torch.isfinite(x_0.reshape(len(x_0), -1)).all(dim=1), self._finite[-1][1])
        )
        good = torch.stack([finite for finite, _ in self._finite]).cpu()
        if bool(good.all()):
            return
        call, example = (~good).nonzero()[0].tolist()
        t = self._finite[call][1].expand(good.shape[1])[example]
        calls = len(good) - 1
        raise NotFiniteError(call=min(call + 1, calls), calls=calls, t=float(t), example=example)


def _require_alike(what: str, found: Tensor, wanted: Tensor) -> None:
    for name in ("shape", "dtype", "device"):
        one, other = getattr(found, name), getattr(wanted, name)
        if one != other:
            raise ConfigError(f"{what} has {name} {one}, x_t has {other}: give both alike")
