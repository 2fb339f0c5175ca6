"""The denoiser: a network told how noisy its input is, read as an estimate of the clean field.

One network serves all levels. It sees x_t / r, of unit variance for data of unit variance, and
log(noise_std / signal_scale) / 4 as the level; what it puts out is `predict`, turned into x_0
exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffsci.diffusion.augmentation import Level, level
from diffsci.diffusion.noises.base import Shaping
from diffsci.diffusion.objectives._learned import LearnedVariance
from diffsci.diffusion.parameterisation import Predict, convert, squared_error_ratio
from diffsci.diffusion.schedules.base import Schedule
from diffsci.errors import ConfigError


class Denoiser(nn.Module):
    """A network, a schedule and what the network predicts.

    Args:
        network: Called as `diffsci.networks.base.Module.forward`; may be wrapped, as by DDP.
        schedule: The noise at each level.
        predict: What the network's output means; `v` is well conditioned at all levels.
        learned: The variance that an objective learns beside the network (`Objective.learned`).
        shaping: What makes its noise of white noise, in training and sampling alike; none for
            white noise.
        random: Length of the random vector that `direct` takes; 0 for none.
        networks: Networks in `network`, of which each member of a forecast takes one.

    Attributes:
        autocast: Dtype in which the network computes where that is safe; none: as it is called. All
            that surrounds the network computes in the dtype of the fields.
        channels_last: Whether fields in two and three dims are handed to the network so that the
            channels of a cell lie side by side in memory.
    """

    autocast: torch.dtype | None = None
    channels_last: bool = False

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        predict: Predict = "v",
        learned: LearnedVariance | None = None,
        shaping: Shaping | None = None,
        random: int = 0,
        networks: int = 1,
    ) -> None:
        super().__init__()
        self.network = network
        self.schedule = schedule
        self.predict: Predict = predict
        self.learned = learned
        self._shaping = shaping
        self.random = random
        self.networks = networks

    @property
    def noise_is_white(self) -> bool:
        """Whether its noise is independent in every cell."""
        return self._shaping is None

    def shaped(
        self, white: Float[Tensor, "batch channel *space"]
    ) -> Float[Tensor, "batch channel *space"]:
        """The noise that white noise stands for."""
        return white if self._shaping is None else self._shaping(white)

    def of_members(
        self, scalars: Float[Tensor, "batch parameter"] | None, members: Sequence[int], like: Tensor
    ) -> Float[Tensor, "batch number"] | None:
        """Scalars by which each member of a forecast is made by its own network, if any has one.

        Args:
            scalars: Numbers the model is given.
            members: Number of each row's member.
            like: Of the dtype and on the device that the model is called with.
        """
        if self.networks == 1:
            return scalars
        turn = like.new_tensor([1 + number % self.networks for number in members])[:, None]
        return turn if scalars is None else torch.cat([scalars, turn], dim=1)

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

        Raises:
            ConfigError: For t outside [0, 1], or inputs of several dtypes or devices.
        """
        at = level(self.schedule, t.to(x_t))
        value = self.output(x_t, at, condition, scalars)
        return convert(value, x_t, at, given=self.predict, wanted="x0")

    def output(
        self,
        x_t: Float[Tensor, "batch channel *space"],
        at: Level,
        condition: Float[Tensor, "batch given *space"] | None = None,
        scalars: Float[Tensor, "batch parameter"] | None = None,
    ) -> Float[Tensor, "batch channel *space"]:
        """The network's own prediction, in the dtype of `x_t`: what the loss compares.

        Raises:
            ConfigError: For a condition or scalars of another dtype or device than `x_t`.
        """
        told = (torch.log(at.noise_to_signal) / 4).expand(len(x_t))
        return self._called(x_t / at.over(x_t).norm, told, condition, scalars, None)

    def direct(
        self,
        like: Float[Tensor, "batch channel *space"],
        condition: Float[Tensor, "batch given *space"] | None = None,
        scalars: Float[Tensor, "batch parameter"] | None = None,
        random: Float[Tensor, "batch random"] | None = None,
    ) -> Float[Tensor, "batch channel *space"]:
        """A sample by one call: of what is given and a random vector, with nothing noisy to see.

        Args:
            like: Of the shape, dtype and device of the sample.
            condition: Fields the model is given.
            scalars: Numbers the model is given.
            random: Standard normal; `random` numbers for each sample.
        """
        nothing = torch.zeros_like(like)
        return self._called(nothing, nothing.new_zeros(len(like)), condition, scalars, random)

    def _called(
        self,
        seen: Tensor,
        told: Tensor,
        condition: Tensor | None,
        scalars: Tensor | None,
        random: Tensor | None,
    ) -> Tensor:
        """The network, in its own precision and layout."""
        _require_alike("condition", condition, seen)
        _require_alike("scalars", scalars, seen)
        given = (told, self._laid(condition), scalars)
        with self._low(seen):
            # Networks of one's own need not know of random vectors.
            extra = () if random is None else (random,)
            raw: Tensor = self.network(self._laid(seen), *given, *extra)
        return raw.to(seen.dtype)

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """A block in which no weight changes: they are cast once in it, not in each call.

        The bits are those of casting them in each call. Not in inference mode, in which autocast
        keeps nothing, nor over a change of weights, which the network would not see.
        """
        first = next(self.network.parameters(), None)
        if self.autocast is None or first is None:
            yield
            return
        # Autocast keeps its casts until the outermost of its blocks ends, even one switched off.
        with torch.autocast(first.device.type, enabled=False):
            yield

    def _low(self, field: Tensor) -> AbstractContextManager[object]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(field.device.type, dtype=self.autocast)

    def _laid(self, field: Tensor | None) -> Tensor | None:
        """The field in the memory format of the network's filters."""
        formats = {4: torch.channels_last, 5: torch.channels_last_3d}
        if field is None or not self.channels_last or field.ndim not in formats:
            return field
        return field.contiguous(memory_format=formats[field.ndim])

    def posterior_variance(self, at: Level) -> Float[Tensor, "levels ..."] | None:
        """The learned E |x_0 - estimate|^2 of each element; none where none was learned.

        It broadcasts against [levels, channel, *space]: of waves where `learned.basis` is one, of
        cells otherwise. A single level gives one row.

        Args:
            at: Levels.
        """
        if self.learned is None:
            return None
        log_variance = self.learned(torch.log(at.noise_to_signal).reshape(-1) / 4)
        # What is learned is the error of v, whose square is SNR + 1 times that of x_0.
        ratio = squared_error_ratio("v", at).reshape(-1).to(log_variance)
        return torch.exp(log_variance) * ratio.reshape(-1, *(1,) * (log_variance.ndim - 1))


def _require_alike(name: str, given: Tensor | None, x_t: Tensor) -> None:
    if given is None or (given.dtype == x_t.dtype and given.device == x_t.device):
        return
    raise ConfigError(
        f"{name}: it has {given.dtype} on {given.device}, x_t has {x_t.dtype} on {x_t.device}: "
        f"give both alike, as by {name}.to(x_t)"
    )
