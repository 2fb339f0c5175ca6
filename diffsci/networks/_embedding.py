"""What all cells of an example share, as one vector: the level, the scalars and the noise.

The level is seen at many scales at once, as sin(f level) and cos(f level) with periods 2 pi / f
from 0.02 to 20 in units of log(noise_std / signal_scale) / 4, which spans about -2 to 2. Two linear
layers follow. Scalars and noise pass through two linear layers of their own, scaled so that they
are as loud as the level from the first step, and are added.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.errors import ConfigError
from diffsci.networks.base import Added, Ports


class Embedding(nn.Module):
    """Level, scalars and noise as one vector per example, in fp32 also under autocast.

    Args:
        ports: How many scalars, and how long the noise is.
        width: Of the vector; even.

    Source:
        Vaswani et al. (2017), arXiv:1706.03762, for sines at many scales.
    """

    frequency: Tensor

    def __init__(self, ports: Ports, width: int) -> None:
        super().__init__()
        self.given = {"scalars": ports.scalars, "noise": ports.noise}
        frequency = torch.logspace(math.log10(0.3), math.log10(300.0), width // 2)
        self.register_buffer("frequency", frequency, persistent=False)
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.scalars = _Numbers(ports.scalars, width, 1.0) if ports.scalars else None
        # A draw of noise has `ports.noise` entries of unit variance, a class a single 1.
        loudness = ports.noise**-0.5 if ports.noise else 0.0
        self.noise = _Numbers(ports.noise, width, loudness) if ports.noise else None

    def forward(
        self,
        level: Float[Tensor, " batch"],
        scalars: Float[Tensor, "batch parameter"] | None,
        noise: Float[Tensor, "batch random"] | None = None,
    ) -> Float[Tensor, "batch width"]:
        """The vector, in the dtype of the weights.

        Args:
            level: log(noise_std / signal_scale) / 4.
            scalars: Given numbers.
            noise: White noise; one draw a member.

        Raises:
            ConfigError: When scalars or noise are missing, too many, or not asked for.
        """
        self._check("scalars", scalars)
        self._check("noise", noise)
        dtype = self.frequency.dtype
        with _full_precision(level):
            angle = level.to(dtype)[:, None] * self.frequency
            total: Tensor = self.level(torch.cat([angle.sin(), angle.cos()], dim=1))
            if self.scalars is not None and scalars is not None:
                total = total + self.scalars(scalars.to(dtype))
            if self.noise is not None and noise is not None:
                total = total + self.noise(noise.to(dtype))
            return F.silu(total)

    def _check(self, name: str, found: Tensor | None) -> None:
        """Refuse another count of numbers than the network was built for."""
        wanted = self.given[name]
        count = 0 if found is None else found.shape[1]
        if count != wanted:
            raise ConfigError(
                f"{name}: got {count or 'none'}, the network was built for {wanted or 'none'}; "
                f"give {name} of shape [batch, {wanted}]"
                if wanted
                else f"{name}: got {count}, the network was built for none; leave {name} out"
            )


class _Numbers(nn.Sequential, Added):
    """Numbers to a vector as loud as the level's, so that a class is heard from the start."""

    def __init__(self, count: int, width: int, loudness: float) -> None:
        first, last = nn.Linear(count, width), nn.Linear(width, width)
        nn.init.normal_(first.weight, std=loudness)
        nn.init.normal_(last.weight, std=width**-0.5)
        super().__init__(first, nn.SiLU(), last)

    def silence(self) -> None:
        """By a last layer of zeros, whose gradient is not 0."""
        for each in self[2].parameters():
            nn.init.zeros_(each)


def _full_precision(like: Tensor) -> AbstractContextManager[object]:
    """No autocast on the device of `like`; the meta device, which only counts, knows none."""
    if like.device.type == "meta":
        return nullcontext()
    return torch.autocast(like.device.type, enabled=False)
