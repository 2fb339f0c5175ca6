"""The denoiser: a network told how noisy its input is, read as an estimate of the clean field.

One network serves all levels. It sees x_t / r, of unit variance for data of unit variance, and
log(noise_std / signal_scale) / 4 as the level; what it puts out is `predict`, turned into x_0
exactly.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.diffusion.augmentation import Level, level
from diffsci.diffusion.parameterisation import Predict, clean_and_noise
from diffsci.diffusion.schedules.base import Schedule


class Denoiser(nn.Module):
    """A network, a schedule and what the network predicts.

    Args:
        network: Called as `diffsci.networks.base.Module.forward`; may be wrapped, as by DDP.
        schedule: The noise at each level.
        predict: What the network's output means; `v` is well conditioned at all levels.
    """

    def __init__(self, network: nn.Module, schedule: Schedule, predict: Predict = "v") -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.predict: Predict = predict

    def forward(
        self,
        x_t: Float[Tensor, "batch channel *space"],
        t: Float[Tensor, ""] | Float[Tensor, " batch"],
        condition: Float[Tensor, "batch given *space"] | None = None,
        scalars: Float[Tensor, "batch parameter"] | None = None,
    ) -> Float[Tensor, "batch channel *space"]:
        """The estimate of x_0, in the dtype of `x_t` also where the network ran in a smaller one.

        Args:
            x_t: Noisy fields.
            t: Level in [0, 1], one for all or one per example.
            condition: Fields the model is given.
            scalars: Numbers the model is given.
        """
        at = level(self.schedule, t.to(x_t.dtype))
        value = self.output(x_t, at, condition, scalars)
        return clean_and_noise(self.predict, value, x_t, at)[0]

    def output(
        self,
        x_t: Float[Tensor, "batch channel *space"],
        at: Level,
        condition: Float[Tensor, "batch given *space"] | None = None,
        scalars: Float[Tensor, "batch parameter"] | None = None,
    ) -> Float[Tensor, "batch channel *space"]:
        """The network's own prediction, in the dtype of `x_t`: what the loss compares."""
        told = (torch.log(at.noise_to_signal) / 4).expand(len(x_t))
        raw: Tensor = self.network(x_t / at.over(x_t).norm, told, condition, scalars)
        return raw.to(x_t.dtype)
