"""What every solver is: a PDE whose trajectories are training data, or a reference when coarse."""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import xarray as xr
from jaxtyping import Complex, Float, Shaped
from torch import Tensor

from diffsci import families
from diffsci.errors import ConfigError, FieldError, NumericsError, require
from diffsci.solvers._labels import labelled
from diffsci.solvers._spectral import Etdrk4, Waves, resized

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""`progress(trajectories done, all)`."""

Parameters = dict[str, Float[Tensor, "batch"]]
"""What differs between trajectories, by name."""

_RESOLVED = 1e-2
"""Tail above which a spectrum is said to be under-resolved: less than two decades of fall."""


class Solver(ABC):
    """A family member: frozen dataclass of the PDE's parameters, resolution and the set's size."""

    trajectories: int
    """How many it makes."""

    @abstractmethod
    def __call__(self) -> xr.Dataset:
        """Labelled float32 trajectories, dims `sample, time, *space`; deterministic from `seed`.

        What differs between trajectories as a parameter has the dim `sample` alone.
        """

    def parts(self, done: int = 0) -> Iterator[xr.Dataset]:
        """The same trajectories in pieces along `sample`, each a unit of work that may be kept.

        Args:
            done: Trajectories to leave out, those of whole pieces.
        """
        if done == 0:
            yield self()


@dataclass(frozen=True, kw_only=True)
class SpectralSolver(Solver):
    """Kind of solver: real fields on a periodic box, by their Fourier coefficients, in float64.

    A member says its equation by `linear` and `nonlinear`, and where it begins by `initial`; where
    it stores other fields than it solves for, also by `observed` and `state`.

    Args:
        points: Stored points along each dim.
        dt: Solver step.
        output_step: Time between stored frames, a multiple of `dt`.
        spin_up: Time discarded before the first frame, a multiple of `dt`.
        trajectories: How many; trajectory i is the same for any number of them.
        frames: Stored frames of each.
        seed: Of the initial states.
        device: Where it is computed, `cpu` or `cuda`; each has its own round-off.
    """

    title: ClassVar[str]
    equation: ClassVar[str]
    numerics: ClassVar[str] = "Fourier pseudo-spectral, 2/3 rule, ETDRK4, float64"
    dims: ClassVar[tuple[str, ...]]
    stored_fields: ClassVar[dict[str, str]]
    """Name -> long name of what is stored."""
    parameter_names: ClassVar[dict[str, str]] = {}
    """Name -> long name of what differs between trajectories."""
    time_unit: ClassVar[str] = "1"
    together: ClassVar[int] = 8
    """Trajectories solved at once, always: the bits of one do not depend on how many there are."""

    points: int
    dt: float
    output_step: float
    spin_up: float
    trajectories: int
    frames: int
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("dt", "output_step"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, value, "a finite number above 0")
        require(0 <= self.spin_up < math.inf, "spin_up", self.spin_up, "a finite number, 0 or more")
        require(self.points >= 8, "points", self.points, "8 or more")
        for name in ("trajectories", "frames"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        for name in ("output_step", "spin_up"):
            value = getattr(self, name)
            steps = value / self.dt
            require(abs(steps - round(steps)) < 1e-6, name, value, f"a multiple of dt={self.dt:g}")
        smallest = f"dt={self.dt:g} or more"
        require(self.output_step > self.dt / 2, "output_step", self.output_step, smallest)
        kind = self.device.partition(":")[0]
        require(kind in ("cpu", "cuda"), "device", self.device, "cpu or cuda")

    @property
    @abstractmethod
    def side(self) -> float:
        """Length of the box."""

    @property
    @abstractmethod
    def grid_points(self) -> int:
        """Solver points along each dim."""

    @abstractmethod
    def initial(self, numbers: np.ndarray) -> Float[Tensor, "trajectory field *space"]:
        """States before the spin-up on the solver's points: functions of seed and number alone.

        Args:
            numbers: Of the trajectories.
        """

    @abstractmethod
    def linear(self, waves: Waves, parameters: Parameters) -> Shaped[Tensor, "..."]:
        """Eigenvalues of the linear part, that broadcast against coefficients."""

    @abstractmethod
    def nonlinear(self, waves: Waves, parameters: Parameters) -> Callable[[Tensor], Tensor]:
        """The rest of the right-hand side, from coefficients to coefficients, dealiased."""

    def parameters(self, numbers: np.ndarray) -> dict[str, Float[np.ndarray, "trajectory"]]:
        """What differs between trajectories, of each of these."""
        return {}

    def observed(self, v: Complex[Tensor, "..."], waves: Waves) -> Complex[Tensor, "..."]:
        """Coefficients of the stored fields, of those of the state."""
        return v

    def state(self, c: Complex[Tensor, "..."], waves: Waves) -> Complex[Tensor, "..."]:
        """Coefficients of the state, of those of the stored fields."""
        return c

    def stable_dt(
        self, u: Float[Tensor, "batch field *space"], waves: Waves, parameters: Parameters
    ) -> float:
        """The largest step at which a state stays bounded; infinity where that is not known."""
        return math.inf

    def stepper(self, waves: Waves, parameters: Parameters) -> Callable[[Tensor], Tensor]:
        """One step of `dt` for the coefficients."""
        return Etdrk4.build(
            self.linear(waves, parameters), self.nonlinear(waves, parameters), self.dt
        )

    def waves(self, points: int | None = None) -> Waves:
        """Those of the solver's points, or of so many."""
        return Waves.build(points or self.grid_points, len(self.dims), self.side, self.device)

    def integrate(
        self,
        u: Float[Tensor, "batch field *space"],
        frames: int,
        interval: float | None = None,
        parameters: Parameters | None = None,
    ) -> Float[Tensor, "batch frame field *space"]:
        """States at `frames` times, the first of which is the given one.

        Args:
            u: State fields on any number of points of the box, in float64.
            frames: How many, the given one included.
            interval: Time between them; none takes `output_step`.
            parameters: Of each of the batch.
        """
        return torch.stack(list(self.states(u, frames, interval, parameters)), dim=1)

    def states(
        self,
        u: Float[Tensor, "batch field *space"],
        frames: int,
        interval: float | None = None,
        parameters: Parameters | None = None,
    ) -> Iterator[Float[Tensor, "batch field *space"]]:
        """The same, one time after the other."""
        waves = self.waves(u.shape[-1])
        step = self.stepper(waves, parameters or {})
        count = round((self.output_step if interval is None else interval) / self.dt)
        v = waves.to_waves(u)
        yield u
        for _ in range(frames - 1):
            for _ in range(count):
                v = step(v)
            yield waves.to_space(v)

    def stored(
        self, u: Float[Tensor, "batch field *space"]
    ) -> Float[Tensor, "batch stored *stored_space"]:
        """The stored fields on the stored points, cut off in Fourier space, of state fields."""
        waves, after = self.waves(u.shape[-1]), self.waves(self.points)
        return after.to_space(resized(self.observed(waves.to_waves(u), waves), waves, after))

    def resumed(
        self, fields: Float[Tensor, "batch stored *stored_space"], points: int
    ) -> Float[Tensor, "batch field *space"]:
        """State fields on so many points, of stored fields."""
        before, after = self.waves(fields.shape[-1]), self.waves(points)
        v = before.to_waves(fields.to(device=self.device, dtype=torch.float64))
        return after.to_space(self.state(resized(v, before, after), after))

    def __call__(self, progress: Progress | None = None) -> xr.Dataset:
        """See `Solver.__call__`.

        Args:
            progress: Told how far it is, after each group of trajectories.

        Raises:
            NumericsError: When `dt` is too large for the solution to stay finite.
        """
        shape = (self.trajectories, self.frames, len(self.stored_fields))
        values = np.empty((*shape, *[self.points] * len(self.dims)), dtype=np.float32)
        for first in range(0, self.trajectories, self.together):
            after = min(first + self.together, self.trajectories)
            values[first:after] = self._group(first)[: after - first]
            if progress is not None:
                progress(after, self.trajectories)
        return labelled(self, values, np.arange(self.trajectories))

    def parts(self, done: int = 0) -> Iterator[xr.Dataset]:
        """See `Solver.parts`: a piece is what is solved at once."""
        for first in range(done, self.trajectories, self.together):
            after = min(first + self.together, self.trajectories)
            yield labelled(self, self._group(first)[: after - first], np.arange(first, after))

    def _group(self, first: int) -> Float[np.ndarray, "sample time stored *stored_space"]:
        """Stored frames of the trajectories from `first` on that are solved at once."""
        if self.device != "cpu" and not torch.cuda.is_available():
            raise ConfigError(f"device: got {self.device!r}, expected cpu: torch finds no GPU here")
        numbers = np.arange(first, first + self.together)
        found = self.parameters(numbers)
        parameters = {k: torch.from_numpy(v).to(self.device) for k, v in found.items()}
        u = self.initial(numbers).to(self.device)
        stable = self.stable_dt(u, self.waves(), parameters)
        if self.dt > stable:
            text = f"{stable:.3g} or less, or the solution grows without bound"
            raise FieldError("dt", self.dt, text)
        if self.spin_up:
            *_, u = self.states(u, 2, self.spin_up, parameters)
        frames = []
        for now in self.states(u, self.frames, None, parameters):
            u = now
            frames.append(self.stored(u).to(device="cpu", dtype=torch.float32))
            if not torch.isfinite(frames[-1]).all():
                raise NumericsError(
                    f"{families.name_of(self)}: the solution grows without bound at "
                    f"dt={self.dt:g} with {self.grid_points} solver points: take a smaller dt"
                )
        if first == 0:
            self._warn_of_tail(u)
        return torch.stack(frames, dim=1).numpy()

    def _warn_of_tail(self, u: Float[Tensor, "batch field *space"]) -> None:
        waves = self.waves()
        tail = waves.tail(waves.to_waves(u))
        if tail > _RESOLVED:
            log.warning(
                "%s: under-resolved with %d solver points: the smallest waves have %.1e of the "
                "energy of the strongest, expected %.0e or less; take more points",
                families.name_of(self),
                self.grid_points,
                tail,
                _RESOLVED,
            )
