"""What a user hands to a trained model: labelled fields or classes, checked against the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from diffsci.data.canonical.times import regular_step
from diffsci.data.catalog import Entry, Source
from diffsci.data.examples.asking import with_known
from diffsci.data.examples.rims import taken
from diffsci.data.fields import Cases, Fields
from diffsci.errors import DataError
from diffsci.forecasting.given import Given
from diffsci.forecasting.requests.grids import COARSE_SHARE, describe, same_place, way_to
from diffsci.forecasting.requests.matching import canonical_of, fields_of
from diffsci.forecasting.requests.plainly import plainly
from diffsci.forecasting.requests.plausible import WITHIN, require_plausible

if TYPE_CHECKING:
    from diffsci.forecasting.surrogate import Surrogate

_CLASS = "label="
"""How the scalar of a class begins."""

Condition = xr.Dataset | xr.DataArray | Sequence[object] | None


def given_for(model: Surrogate, condition: Condition, leads: int, within: float = WITHIN) -> Given:
    """The cases a user's condition stands for.

    Args:
        model: What it is for.
        condition: As `Surrogate.sample` takes it.
        leads: Forecast steps.
        within: See `require_plausible`.

    Raises:
        DataError: Naming what does not fit, and what would.
    """
    task = model.pipeline.data.task
    if task.condition_channels(len(model.channels)) == 0:
        return _generated(model, condition)
    if isinstance(condition, xr.DataArray):
        condition = condition.to_dataset(name=condition.name or model.channels[0].variable)
    if not isinstance(condition, xr.Dataset):
        words = ", ".join(dict.fromkeys(channel.variable for channel in model.channels))
        raise DataError(
            f"condition: got {type(condition).__name__}, expected a labelled xarray Dataset with "
            f"{words}"
        )
    if task.has_leads and "number" in condition.dims:
        each = [
            given_for(model, condition.isel(number=number, drop=True), leads, within)
            for number in range(condition.sizes["number"])
        ]
        states = [given.known for given in each if given.known is not None]
        edges = [given.edges for given in each if given.edges is not None]
        return replace(
            each[0],
            known=torch.stack(states, dim=1),
            edges=torch.stack(edges, dim=1) if edges else None,
            ensemble=True,
        )
    entry = Entry(name="condition", source=Source(path="condition"))
    with plainly(entry, condition):
        fields = fields_of(model, canonical_of(model, condition, entry), entry)
    return given_of(model, fields, leads, within)


def given_of(model: Surrogate, fields: Fields, leads: int, within: float = WITHIN) -> Given:
    """The cases that fields stand for: a forecast from the last frames, or each time a field.

    Args:
        model: What it is for.
        fields: Its channels, in their order.
        leads: Forecast steps.
        within: See `require_plausible`.

    Raises:
        DataError: Naming what does not fit.
    """
    task = model.pipeline.data.task
    fields = task.on_grid(fields, model.grid)
    values = np.asarray(fields.values)
    states = _encoded(model, values)
    require_plausible(model, fields, states.numpy(), within)
    if task.draws:  # What is missing is what is asked for.
        states = torch.where(torch.from_numpy(np.isnan(values)), torch.nan, states)
    if task.has_leads:
        return _history(model, fields, states, leads)
    return _seen(model, fields, states)


def _history(model: Surrogate, fields: Fields, states: Tensor, leads: int) -> Given:
    """Forecasts start from the last frames of each trajectory."""
    task = model.pipeline.data.task
    ahead = leads * task.step if task.boundary else 0
    if not same_place(fields.grid, model.grid):
        raise DataError(
            f"{fields.source}: its grid is {describe(fields.grid)}; "
            f"the model's is {describe(model.grid)}; {way_to(fields.grid, model.grid)}"
        )
    frames, have = task.given_frames, len(fields.times) - ahead
    if have < frames or fields.breaks[have - frames + 1 :].any():
        more = f", and then {ahead} times whose edges are given (task.boundary)" if ahead else ""
        raise DataError(
            f"{fields.source}: got {len(fields.times)} times, expected the last {frames} frames at "
            f"the data's regular step{more}"
        )
    _require_same_step(model, fields.source, fields.times[have - frames :])
    rows = np.array([[i, have - 1] for i in range(len(fields.trajectories))])
    steps = tuple(task.step * (lead + 1) for lead in range(leads))
    cases = model.pipeline.data.domain.cases(fields, rows, steps)
    step: np.timedelta64 | float | None = model.step
    if not model.time_unit and model.step is not None:
        step = np.timedelta64(int(model.step), "ns")
    cases = replace(cases, step=step)
    known, edges = task.observe(states[:, have - frames : have], model.grid), None
    if ahead:
        later = states[:, [have - 1 + step for step in steps]]
        edges = taken(later, model.grid, task.boundary)
    return Given(cases=cases, known=known, scalars=_scalars(model, fields), edges=edges)


def _require_same_step(model: Surrogate, source: str, times: np.ndarray) -> None:
    """Refuse frames further apart, or nearer, than those the model was trained on."""
    step, _ = regular_step(times)
    if step is None or model.step is None:
        return
    scale = 1.0 if model.time_unit else 3.6e12
    dated = isinstance(step, np.timedelta64)
    found = float(step / np.timedelta64(1, "ns")) if isinstance(step, np.timedelta64) else step
    # Months of a calendar have 28 to 31 days; all else agrees to a thousandth.
    slack = 0.12 if dated and model.step >= 27 * 86_400e9 else 1e-3
    if dated == bool(model.time_unit) or abs(found - model.step) > slack * model.step:
        raise DataError(
            f"{source}: its times are {found / scale:g} {model.time_unit or 'h'} apart, those of "
            f"training {model.step / scale:g}; give frames at that step"
        )


def _seen(model: Surrogate, fields: Fields, states: Tensor) -> Given:
    """What the task observes is taken as it is, or observed in a whole state; a time is a case."""
    task = model.pipeline.data.task
    coarse = task.given_grid(model.grid)
    flat = states.flatten(0, 1)
    if same_place(fields.grid, model.grid):
        seen = [states] if fields.beside is None else [_encoded(model, fields.beside), states]
        known = task.observe(torch.stack(seen, dim=2).flatten(0, 1), model.grid)
    elif same_place(fields.grid, coarse, COARSE_SHARE):
        known = flat
    else:
        raise DataError(
            f"{fields.source}: its grid is {describe(fields.grid)}; expected the coarse one, "
            f"{describe(coarse)}, or the fine one, {describe(model.grid)}; "
            f"{way_to(fields.grid, model.grid)}"
        )
    times = len(fields.times)
    rows = np.array([[i, j] for i in range(len(fields.trajectories)) for j in range(times)])
    scalars = _scalars(model, fields)
    if scalars is not None:
        scalars = scalars[rows[:, 0]]
    cases, kept = model.pipeline.data.domain.cases(fields, rows, ()), None
    cells = None if known is None else task.kept(known, len(model.channels))
    if cells is not None:
        cases = with_known(cases, cells.numpy())
        values = np.asarray(fields.values).reshape(cells.shape)
        kept = np.where(cells.numpy(), values, np.float32(np.nan))
    return Given(cases=cases, known=known, scalars=scalars, kept=kept)


def _encoded(model: Surrogate, values: np.ndarray) -> Tensor:
    return torch.from_numpy(model.statistics.encode(values))


def _scalars(model: Surrogate, fields: Fields) -> Tensor | None:
    """Encoded scalars of each trajectory, in the model's order."""
    if not model.scalar_names:
        return None
    columns: dict[str, np.ndarray] = {}
    if fields.scalars is not None:
        columns = dict(zip(fields.scalar_names, fields.scalars.T, strict=True))
    _require_known_classes(model, fields.source, columns)
    if any(name.startswith(_CLASS) for name in columns):
        # The one-hot of a condition ends at its own highest class, not at that of training.
        none = np.zeros(len(fields.trajectories))
        columns |= {
            name: none
            for name in model.scalar_names
            if name.startswith(_CLASS) and name not in columns
        }
    missing = [name for name in model.scalar_names if name not in columns]
    if missing:
        raise DataError(f"{fields.source}: lacks the parameters {', '.join(missing)}")
    scalars = np.stack([columns[name] for name in model.scalar_names], axis=1)
    return torch.from_numpy(model.statistics.encode_scalars(scalars))


def _require_known_classes(model: Surrogate, source: str, columns: dict[str, np.ndarray]) -> None:
    """Refuse a class that the model was not trained on: left out, it would mean no class."""
    for name, column in columns.items():
        if name.startswith(_CLASS) and name not in model.scalar_names and column.any():
            known = ", ".join(
                name.removeprefix(_CLASS) for name in model.scalar_names if name.startswith(_CLASS)
            )
            raise DataError(f"{source}: no class {name.removeprefix(_CLASS)}; there are {known}")


def _generated(model: Surrogate, condition: Condition) -> Given:
    """Samples of a model that is given no field: classes, parameters, or nothing."""
    if not model.scalar_names:
        if condition is not None:
            raise DataError("condition: this model is given nothing; leave it out")
        return Given(cases=_numbered(1, {}), known=None, scalars=None)
    classes = [name for name in model.scalar_names if name.startswith(_CLASS)]
    if isinstance(condition, xr.Dataset | xr.DataArray):
        found = (
            condition if isinstance(condition, xr.Dataset) else condition.to_dataset(name="label")
        )
        if not classes:
            return _parameters(model, found)
        if "label" not in found.variables:
            raise DataError("condition: has no variable `label` with the class of each sample")
        condition = found["label"].values.ravel().tolist()
    if condition is None or not classes:
        wanted = "the class of each sample, such as [0, 1, 2]" if classes else "a Dataset with "
        names = "" if classes else ", ".join(model.scalar_names)
        raise DataError(f"condition: this model is conditioned; pass {wanted}{names}")
    scalars = np.zeros((len(condition), len(model.scalar_names)))
    for row, label in enumerate(condition):
        if f"{_CLASS}{label}" not in classes:
            known = ", ".join(name.removeprefix(_CLASS) for name in classes)
            raise DataError(f"condition: no class {label!r}; there are {known}")
        scalars[row, model.scalar_names.index(f"{_CLASS}{label}")] = 1
    encoded = torch.from_numpy(model.statistics.encode_scalars(scalars))
    labels = {"label": np.asarray(condition)}
    return Given(cases=_numbered(len(scalars), labels), known=None, scalars=encoded)


def _parameters(model: Surrogate, found: xr.Dataset) -> Given:
    missing = [name for name in model.scalar_names if name not in found.variables]
    if missing:
        raise DataError(f"condition: lacks the parameters {', '.join(missing)}")
    columns = {name: found[name].values.ravel() for name in model.scalar_names}
    scalars = np.stack([columns[name].astype(np.float64) for name in model.scalar_names], axis=1)
    encoded = torch.from_numpy(model.statistics.encode_scalars(scalars))
    return Given(cases=_numbered(len(scalars), columns), known=None, scalars=encoded)


def _numbered(count: int, labels: dict[str, np.ndarray]) -> Cases:
    """Cases without a place in any data set."""
    numbers = np.arange(count)
    return Cases(
        rows=np.stack([numbers, np.zeros_like(numbers)], axis=1),
        keys=tuple(f"sample={number}" for number in numbers),
        trajectories=numbers,
        times=np.zeros(0),
        labels=labels,
    )
