"""Any linear conditions, from a file: budgets, integrals over a part, values at stations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci.constraints.base import Equations, Setting
from diffsci.errors import DataError

_ROW, _VALUE = "row", "value"


@dataclass(frozen=True, kw_only=True)
class Linear(Equations):
    """Any conditions A x = b from a NetCDF file, in physical units.

    The file has, for each channel that takes part, a variable of its name with the dims `row` and
    those of the grid: the A; and a variable `value` along `row`: the b.

    Args:
        file: The file.
        value: `file` takes b from it; `given` takes A times the last given frame, so that what the
            rows measure is conserved.
    """

    file: str
    value: Literal["file", "given"] = "file"

    @property
    def needs_given(self) -> bool:
        """Whether b is of a frame."""
        return self.value == "given"

    @cached_property
    def _read(self) -> xr.Dataset:
        path = Path(self.file)
        if not path.is_file():
            raise DataError(f"{path}: no such file of constraints")
        try:
            with xr.open_dataset(path) as opened:
                return opened.load()
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read as NetCDF ({error})") from None

    def check(self, setting: Setting) -> None:
        """Needs rows that fit the grid and differ from each other."""
        found = self.rows(setting)
        flat = found.reshape(len(found), -1)
        size = np.linalg.norm(flat, axis=1)
        if not (np.isfinite(flat).all() and (size > 0).all()):
            bad = int(np.flatnonzero(~(np.isfinite(size) & (size > 0)))[0])
            raise DataError(f"{self.file}: row {bad} is zero or not finite; leave it out")
        unit = flat / size[:, None]
        gram = unit @ unit.T
        left = np.linalg.eigvalsh(gram)[0]
        if left < 1e-10:
            likeness = np.abs(gram - np.eye(len(gram)))
            one, other = np.unravel_index(int(likeness.argmax()), gram.shape)
            raise DataError(
                f"{self.file}: its rows are singular: some follow from the others (rows {one} and "
                f"{other} are the most alike); leave them out"
            )
        self.values(setting)

    def rows(self, setting: Setting) -> Float[np.ndarray, "row channel *space"]:
        """The A of the file.

        Raises:
            DataError: For a channel or a grid that the states do not have.
        """
        ds, grid = self._read, setting.grid
        names = [str(name) for name in ds.data_vars if name != _VALUE]
        strange = [name for name in names if name not in setting.channels]
        if strange or not names:
            known = ", ".join(setting.channels)
            raise DataError(f"{self.file}: has {', '.join(names) or 'no rows'}; channels: {known}")
        rows = np.zeros((ds.sizes.get(_ROW, 0), *setting.shape))
        for name in names:
            found = ds[name]
            if set(found.dims) != {_ROW, *grid.dims}:
                wanted = ", ".join((_ROW, *grid.dims))
                raise DataError(f"{self.file}: {name} has dims {found.dims}, expected {wanted}")
            values = found.transpose(_ROW, *grid.dims).values
            if values.shape[1:] != grid.sizes:
                sizes = " x ".join(map(str, grid.sizes))
                raise DataError(f"{self.file}: {name} is {values.shape[1:]}, the grid {sizes}")
            rows[:, setting.channels.index(name)] = values
        return rows

    def values(self, setting: Setting) -> Float[np.ndarray, " row"] | None:
        """The b of the file."""
        if self.value == "given":
            return None
        if _VALUE not in self._read:
            raise DataError(
                f"{self.file}: no variable `{_VALUE}` along `{_ROW}`; add it, or say value: given"
            )
        found = np.asarray(self._read[_VALUE].values, dtype=np.float64).reshape(-1)
        if not np.isfinite(found).all() or len(found) != self._read.sizes.get(_ROW, 0):
            raise DataError(f"{self.file}: `{_VALUE}` must be one finite number a row")
        return found
