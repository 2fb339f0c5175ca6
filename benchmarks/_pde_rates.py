"""Gray-Scott by its rates: one step at trained, interpolated and extrapolated ones, and shuffled.

All of it is of one step from several frames of each trajectory, so that those of one rate are many
cases. In the shuffled rows each trajectory is told the rates of another: a network that makes
use of them must become worse.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

import diffsci
from benchmarks import _pde_scores as of
from diffsci.forecasting.surrogate import Surrogate

ENTRIES = ("gray_scott_test", "gray_scott_interpolation", "gray_scott_extrapolation")
STARTS = (1, 11, 21, 31, 41)
RATES = ("feed", "kill")


def rows(model: Surrogate) -> dict[str, dict[str, float]]:
    """Mean VRMSE of one step by feed rate: of the model, of it shuffled, of references."""
    found: dict[str, dict[str, list[float]]] = {}
    for entry in ENTRIES:
        ds = diffsci.open_data(entry)
        rates = ds["feed"].values
        for name, errors in _errors(model, ds, shuffled=entry == ENTRIES[0]).items():
            for rate in np.unique(rates):
                some = errors[:, rates == rate]
                found.setdefault(name, {}).setdefault(f"{rate:g}", []).append(float(some.mean()))
    return {name: {k: float(np.mean(v)) for k, v in by.items()} for name, by in found.items()}


def _errors(model: Surrogate, ds: xr.Dataset, shuffled: bool) -> dict[str, np.ndarray]:
    """`[start, trajectory]` of each row, mean over channels."""
    names = [channel.name for channel in model.channels]
    values = np.stack([ds[name].values for name in names], axis=2)
    made: dict[str, list[np.ndarray]] = {}
    for start in STARTS:
        known = ds.isel(time=slice(start - 1, start + 1))
        truth = values[:, start + 1][:, None]
        members = 4 if model.pipeline.sample.members > 1 else 1
        forecasts = {"model": _fields(model, known, members)}
        if shuffled:
            # Rates follow each other in turn, so that the next trajectory has others.
            others = {name: known[name].roll(sample=1, roll_coords=False) for name in RATES}
            forecasts["shuffled"] = _fields(model, known.assign(others), members)
        forecasts["persistence"] = values[:, start][:, None, None]
        last = 2 * values[:, start] - values[:, start - 1]
        forecasts["linear extrapolation"] = last[:, None, None]
        for name, fields in forecasts.items():
            made.setdefault(name, []).append(of.vrmse(fields, truth, 0).mean(axis=1))
    return {name: np.stack(each) for name, each in made.items()}


def _fields(model: Surrogate, known: xr.Dataset, members: int) -> np.ndarray:
    sampled = model.sample(known, members=members, leads=1)
    return model.pipeline.data.domain.unlabel(sampled, model.channels, model.grid)
