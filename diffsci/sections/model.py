"""Section `model`: the denoiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from diffsci.members import member

if TYPE_CHECKING:
    from diffsci.diffusion.noises.base import NoiseShape
    from diffsci.diffusion.schedules.base import Schedule
    from diffsci.networks.base import Network


Predict = Literal["mean", "x0", "epsilon", "v", "score", "flow", "edm"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """The denoiser: a network, a noise schedule, its noise, and what the network predicts."""

    network: Network = member("networks", "unet")
    schedule: Schedule = member("schedules", "edm")
    noise: NoiseShape = member("noises", "white")
    predict: Predict = "v"
