"""What every solver is: a PDE whose trajectories are training data, or a reference when coarse."""

from __future__ import annotations

from abc import ABC, abstractmethod

import xarray as xr


class Solver(ABC):
    """A family member: frozen dataclass of the PDE's parameters, resolution and the set's size."""

    @abstractmethod
    def __call__(self) -> xr.Dataset:
        """Labelled float32 trajectories, dims `sample, time, *space`; deterministic from `seed`.

        What differs between trajectories as a parameter has the dim `sample` alone.
        """
