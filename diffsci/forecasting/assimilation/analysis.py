"""Analyses: trajectories of a trained model, drawn to all observations at once.

The model's task is `trajectory`: it knows the law of short pieces. Pieces that overlap are put
together (see `chain.py`), and the whole is guided by the exact posterior, so that an observation
draws what lies around it, before and after it too. Nothing is trained anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffsci import families
from diffsci.data.fields import Cases
from diffsci.data.tasks.trajectory import Trajectory
from diffsci.diffusion.augmentation import pure_noise
from diffsci.diffusion.guidance.base import ConditionalDenoise, Guidance, Observed
from diffsci.diffusion.guidance.posterior import Posterior
from diffsci.diffusion.noise import MemberNoise
from diffsci.diffusion.samplers.base import Sampler
from diffsci.errors import ConfigError, NotFiniteError, NumericsError
from diffsci.forecasting.assimilation.chain import Chain
from diffsci.forecasting.assimilation.sighting import Placed
from diffsci.forecasting.surrogate import Surrogate
from diffsci.runtime import Device, as_written


@dataclass(frozen=True, kw_only=True, eq=False)
class Analyst:
    """A trained model with all that makes an analysis.

    Args:
        model: Of the task `trajectory`, trained by noise levels.
        device: Where it computes.
        guidance: How members are drawn to observations.
        overlap: Frames that neighbouring pieces share, at least.
        scalars: Physical parameters of the trajectory, encoded, `[1, parameter]`; none where the
            model has none.
    """

    model: Surrogate
    device: Device
    guidance: Guidance = Posterior(iterations=8)
    overlap: int = 4
    scalars: Tensor | None = None

    def __post_init__(self) -> None:
        pipeline = self.model.pipeline
        task, sample = pipeline.data.task, pipeline.sample
        if not isinstance(task, Trajectory):
            raise ConfigError(
                f"assimilate: the model's task is {families.name_of(task)}, expected trajectory: "
                "single steps have too little spread for observations to move what came before"
            )
        if sample is None or sample.sampler is None:
            raise ConfigError(
                "assimilate: this model makes a sample by a single call, which nothing can guide; "
                "train one by noise levels (train.objective: edm)"
            )
        if self.model.scalar_names and self.scalars is None:
            names = ", ".join(self.model.scalar_names)
            raise ConfigError(f"assimilate: the model is given {names}; say them by --given NAME=")
        if sample.needs_covariance:
            raise ConfigError("sample.sampler: the exact variance is that of the unguided model")
        if not 0 <= self.overlap < task.length:
            raise ConfigError(
                f"--overlap: got {self.overlap}, expected 0 to {task.length - 1}, fewer frames "
                "than a piece has"
            )

    @property
    def _task(self) -> Trajectory:
        task = self.model.pipeline.data.task
        assert isinstance(task, Trajectory)
        return task

    @property
    def step(self) -> float | np.timedelta64:
        """Time between frames."""
        assert self.model.step is not None
        step = self.model.step * self._task.stride
        return step if self.model.time_unit else np.timedelta64(int(step), "ns")

    @property
    def _sampler(self) -> Sampler:
        sample = self.model.pipeline.sample
        assert sample is not None and sample.sampler is not None
        return sample.sampler

    @property
    def calls(self) -> int:
        """Network calls of one piece of one member."""
        return self.guidance.calls_per_step * self._sampler.calls

    def _scales(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale of what the network sees of each channel, in physical units.

        The frames of a piece have the same law, and statistics that differ by chance alone: here
        all take the same ones.
        """
        found, count = self.model.statistics, len(self.model.channels)
        mean = found.target_mean.reshape(self._task.length, count, -1).mean(axis=(0, 2))
        square = (found.target_std**2).reshape(self._task.length, count, -1).mean(axis=(0, 2))
        return (
            found.state_mean + found.state_std * mean,
            np.asarray(found.state_std * np.sqrt(square)),
        )

    def analysis(
        self, seen: Placed, first: int, after: int, members: int, seed: int, key: str = "analysis"
    ) -> Float[np.ndarray, "member frame channel *space"]:
        """Members of the trajectory in some frames given what is observed there, physical units.

        Args:
            seen: All observations.
            first: First frame.
            after: One past the last.
            members: How many; member k does not depend on it.
            seed: Of the noise.
            key: Of the noise, beside the seed.

        Raises:
            ConfigError: Where nothing is observed.
            NumericsError: For an estimate that is not finite.
        """
        # A piece is the least that can be computed.
        frames = max(after - first, self._task.length)
        rows = seen.within(first, after)
        if not len(rows):
            raise ConfigError(f"assimilate: nothing is observed in frames {first} to {after - 1}")
        channels = len(self.model.channels)
        chain = Chain.of(frames, self._task.length, channels, self.overlap)
        mean, scale = self._scales()
        of = seen.channels[rows]
        observed = Observed(
            operator=seen.operator(rows, first, channels),
            values=self._tensor(((seen.values[rows] - mean[of]) / scale[of])[None]),
            noise_std=self._tensor((seen.errors[rows] / scale[of])[None]),
        )
        made = [self._member(chain, observed, member, seed, key) for member in range(members)]
        shape = (members, frames, channels, *self.model.grid.sizes)
        wide = (-1, *[1] * len(self.model.grid.sizes))
        states = np.stack(made).reshape(shape)[:, : after - first].astype(np.float64)
        physical = states * scale.reshape(wide) + mean.reshape(wide)
        made_of: np.ndarray = physical.astype(np.float32)
        return made_of

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).float().to(self.device.name)

    def _member(
        self, chain: Chain, observed: Observed, member: int, seed: int, key: str
    ) -> Float[np.ndarray, "channel *space"]:
        """One member at a time: its bits do not depend on the others."""
        denoiser = self.device.laid_out(self.model.denoiser).eval()
        noise = MemberNoise(seed=seed, cases=(key,), members=(member,), leads=(0,))
        like = torch.empty(
            1, chain.frames * chain.channels, *self.model.grid.sizes, device=self.device.name
        )

        def estimate(
            x_t: Tensor, t: Tensor, condition: Tensor | None, scalars: Tensor | None
        ) -> Tensor:
            found: Tensor = denoiser(x_t, t, condition, scalars)
            return found

        schedule = denoiser.schedule
        guided: ConditionalDenoise = self.guidance(chain.over(estimate), schedule, observed)
        given = None if self.scalars is None else self.scalars.to(self.device.name)
        # Guidance goes back through a call several times, which compiled code does not allow.
        with torch.no_grad(), denoiser.unchanged(), as_written(denoiser):
            x_1 = pure_noise(schedule, noise(like, 0))
            try:
                x_0 = self._sampler(
                    lambda x_t, t: guided(x_t, t, None, given), schedule, x_1, noise
                )
            except NotFiniteError as error:
                raise NumericsError(
                    f"assimilate: member {member}: the estimate is not finite in call {error.call} "
                    f"of {error.calls}; take more sample.sampler.steps, or fewer --iterations, "
                    "or check the observations' errors"
                ) from None
        signal_scale, _ = schedule(torch.zeros((), dtype=torch.float64))
        found: np.ndarray = (x_0 / signal_scale)[0].cpu().numpy()
        return found

    def online(
        self, seen: Placed, frames: int, block: int, lag: int, members: int, seed: int
    ) -> Iterator[tuple[int, int, Float[np.ndarray, "member frame channel *space"]]]:
        """Analyses as blocks arrive: of each block, given itself and what came before.

        What came before is looked at `lag` frames back; it is not taken as known, so that what a
        block says corrects it.

        Args:
            seen: All observations; of later blocks nothing is used.
            frames: In all.
            block: Frames that arrive at once.
            lag: Frames before the block that are analysed with it.
            members: How many.
            seed: Of the noise.

        Yields:
            First frame of the block, one past its last, and the members of its frames.
        """
        for first in range(0, frames, block):
            after, begin = min(first + block, frames), max(0, first - lag)
            if len(seen.within(begin, after)):
                made = self.analysis(seen, begin, after, members, seed, f"analysis {first}")
                yield first, after, made[:, first - begin :]


def cases_of(placed: Placed, frames: int, step: float | np.timedelta64) -> Cases:
    """One case, whose leads are the frames from the first on."""
    start = placed.start
    stamp = np.array([start], dtype="datetime64[ns]" if isinstance(step, np.timedelta64) else float)
    return Cases(
        rows=np.zeros((1, 2), dtype=np.int64),
        keys=("analysis",),
        trajectories=np.zeros(1, dtype=np.int64),
        times=stamp,
        leads=tuple(range(frames)),
        step=step,
    )
