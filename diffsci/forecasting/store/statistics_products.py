"""Statistics over the members: mean, standard deviation, quantiles, probabilities of exceedance.

Members that failed are NaN in the store and are left out; where all are NaN, as under a mask, so is
the result. Sums are in float64, results float32 as the members are.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from diffsci.errors import ConfigError
from diffsci.families import did_you_mean

MEMBERS = ("number", "realization", "ensemble", "member")
"""What the dim of members is called in the layouts."""

SYNTAX = "mean, std, quantiles=0.1/0.5/0.9, exceed=VARIABLE>VALUE[/VALUE...] (or < for falling)"

_EXCEED = re.compile(r"\s*([^<>=]+?)\s*([<>])\s*(.+)")


@dataclass(frozen=True, kw_only=True)
class Exceedance:
    """A probability to be beyond thresholds.

    Args:
        variable: Its name in the export.
        above: Beyond means above; else below.
        thresholds: In the variable's units.
    """

    variable: str
    above: bool
    thresholds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Products:
    """What is wanted of the members.

    Args:
        mean: Their mean.
        std: Their standard deviation, unbiased in the variance (ddof 1).
        quantiles: Shares from 0 to 1, linear between order statistics.
        exceedances: Shares of members beyond thresholds.
    """

    mean: bool = False
    std: bool = False
    quantiles: tuple[float, ...] = ()
    exceedances: tuple[Exceedance, ...] = ()

    @classmethod
    def of(cls, text: str) -> Products:
        """As the command line has it, such as `mean,std,quantiles=0.1/0.9,exceed=t2m>280/290`.

        Raises:
            ConfigError: For a word or number that is not understood.
        """
        mean = std = False
        quantiles: tuple[float, ...] = ()
        exceedances: list[Exceedance] = []
        for word in filter(None, (word.strip() for word in text.split(","))):
            key, _, value = word.partition("=")
            if key.strip() == "quantiles":
                quantiles = _joined(quantiles, _numbers(word, value, 0.0, 1.0))
            elif key.strip() == "exceed":
                exceedances.append(_exceedance(word, value))
            elif word == "mean":
                mean = True
            elif word == "std":
                std = True
            else:
                near = did_you_mean(key.strip(), ["mean", "std", "quantiles", "exceed"])
                raise ConfigError(f"--products: got {word!r}{near}; expected {SYNTAX}")
        if not (mean or std or quantiles or exceedances):
            raise ConfigError(f"--products: nothing is asked for; expected {SYNTAX}")
        return cls(mean=mean, std=std, quantiles=quantiles, exceedances=_merged(exceedances))

    def check(self, ds: xr.Dataset) -> None:
        """Refuse what the store cannot give.

        Raises:
            ConfigError: Naming the variable, or why there is no spread.
        """
        dim = member_dim(ds)
        if dim is None:
            raise ConfigError("--products: the store has no members to take statistics of")
        if self.std and ds.sizes[dim] < 2:
            raise ConfigError("--products std: the store has one member; it takes 2 or more")
        names = [str(name) for name in ds.data_vars]
        for one in self.exceedances:
            if one.variable not in names:
                near = did_you_mean(one.variable, names)
                raise ConfigError(
                    f"--products exceed={one.variable}: no such variable{near}; "
                    f"there are {', '.join(names)}"
                )

    def __call__(self, ds: xr.Dataset, *, compute: bool = True) -> xr.Dataset:
        """The statistics of a labelled data set, or of a part of it.

        Args:
            ds: With members, in memory.
            compute: False gives labels over values that are NaN and take no memory.
        """
        dim = member_dim(ds)
        assert dim is not None
        made = xr.Dataset(coords=ds.drop_vars(dim, errors="ignore").coords, attrs=ds.attrs)
        for name, variable in ds.data_vars.items():
            axis = variable.dims.index(dim)
            dims = tuple(d for d in variable.dims if d != dim)
            for one in self._wanted(str(name), variable):
                coordinate = one.coordinate
                shape, extra = tuple(variable.sizes[d] for d in dims), list[str]()
                if coordinate is not None:
                    extra = [str(coordinate.dims[0])]
                    made = made.assign_coords({extra[0]: coordinate})
                    shape = (coordinate.size, *shape)
                values = np.broadcast_to(np.float32(np.nan), shape)
                if compute:
                    values = _quietly(one.of, variable.values, axis).astype(np.float32)
                result = xr.Variable((*extra, *dims), values, one.attributes)
                result.encoding = {"dtype": "float32", "_FillValue": np.float32(np.nan)}
                # Behind the dims of cases and leads, which lie apart on the disk.
                lead = [d for d in dims if d in ("time", "sample", "prediction_timedelta",
                                                 "lead_time")]  # fmt: skip
                made[one.name] = result.transpose(*lead, *extra, ...)
        return made

    def _wanted(self, name: str, variable: xr.DataArray) -> Iterator[_Statistic]:
        kept = {k: v for k, v in variable.attrs.items() if k != "cell_methods"}
        before = f"{variable.attrs.get('cell_methods', '')} ".lstrip()
        word = str(kept.get("long_name", name))
        if self.mean:
            told = {**kept, "long_name": f"ensemble mean of {word}"}
            told["cell_methods"] = f"{before}realization: mean"
            yield _Statistic(f"{name}_mean", told, _mean)
        if self.std:
            told = {**kept, "long_name": f"ensemble standard deviation of {word}"}
            told["cell_methods"] = f"{before}realization: standard_deviation"
            yield _Statistic(f"{name}_std", told, _std)
        if self.quantiles:
            told = {k: v for k, v in kept.items() if k != "standard_name"}
            told["long_name"] = f"ensemble quantiles of {word}"
            at = xr.Variable(
                "quantile",
                np.array(self.quantiles),
                {"long_name": "share of members below", "units": "1"},
            )
            yield _Statistic(f"{name}_quantile", told, _quantile(self.quantiles), at)
        for one in self.exceedances:
            if one.variable == name:
                yield _probability(one, kept, word)


@dataclass(frozen=True)
class _Statistic:
    """One result: its name, attributes, function of (values, axis of members), and further dim."""

    name: str
    attributes: dict[str, object]
    of: Callable[[np.ndarray, int], np.ndarray]
    coordinate: xr.Variable | None = None


def member_dim(ds: xr.Dataset) -> str | None:
    """The dim of members, under whatever name a layout gave it."""
    return next((dim for dim in MEMBERS if dim in ds.dims), None)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.nanmean(values, axis=axis))


def _std(values: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.nanstd(values, axis=axis, ddof=1))


def _quantile(shares: tuple[float, ...]) -> Callable[[np.ndarray, int], np.ndarray]:
    """As `numpy.nanquantile` has them, which goes cell by cell and takes far longer."""

    def of(values: np.ndarray, axis: int) -> np.ndarray:
        # NaN is sorted to the end: what counts are the first so many of each cell.
        ordered = np.sort(values, axis=axis)
        last = np.maximum(np.isfinite(values).sum(axis=axis, keepdims=True) - 1, 0)
        found = []
        for share in shares:
            place = share * last
            low = np.floor(place).astype(np.intp)
            high = np.minimum(low + 1, last)
            one, other = (np.take_along_axis(ordered, at, axis) for at in (low, high))
            part, gap = place - low, other - one
            # The end that is nearer is the one that is added to, so that both ends are exact.
            mixed = np.where(part < 0.5, one + gap * part, other - gap * (1 - part))
            found.append(mixed.squeeze(axis))
        return np.stack(found)

    return of


def _probability(one: Exceedance, kept: dict[str, object], word: str) -> _Statistic:
    side = "above" if one.above else "below"
    dim = f"{one.variable}_{side}_threshold"
    units = str(kept.get("units", "1"))
    told = {
        "long_name": f"share of members with {word} {side} the threshold",
        "units": "1",
        "cell_methods": "realization: mean",
    }
    at = xr.Variable(
        dim, np.array(one.thresholds), {"long_name": f"threshold of {word}", "units": units}
    )

    def of(values: np.ndarray, axis: int) -> np.ndarray:
        there = np.isfinite(values)
        count = there.sum(axis=axis)
        beyond = [
            (values > limit if one.above else values < limit).sum(axis=axis, dtype=np.float64)
            for limit in one.thresholds
        ]
        return np.stack([np.where(count > 0, each / np.maximum(count, 1), np.nan)
                         for each in beyond])  # fmt: skip

    return _Statistic(f"{one.variable}_{side}", dict(told), of, at)


def _quietly(
    of: Callable[[np.ndarray, int], np.ndarray], values: np.ndarray, axis: int
) -> np.ndarray:
    """Without numpy's warning where all members are NaN: the result is then NaN, as is meant."""
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        return of(values.astype(np.float64), axis)


def _numbers(word: str, text: str, low: float, high: float) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split("/"))
    except ValueError:
        found = ()
    if not found or not all(low <= value <= high for value in found):
        what = "numbers apart by /" if low == -np.inf else f"shares from {low:g} to {high:g}"
        raise ConfigError(f"--products {word}: expected {what}, such as quantiles=0.1/0.5/0.9")
    return _joined(found)


def _exceedance(word: str, text: str) -> Exceedance:
    match = _EXCEED.fullmatch(text)
    if match is None:
        raise ConfigError(f"--products {word}: expected exceed=VARIABLE>VALUE, such as t2m>300")
    thresholds = _numbers(word, match[3], -np.inf, np.inf)
    return Exceedance(variable=match[1], above=match[2] == ">", thresholds=thresholds)


def _merged(given: list[Exceedance]) -> tuple[Exceedance, ...]:
    """One for each variable and side: their thresholds share a dim."""
    found: dict[tuple[str, bool], Exceedance] = {}
    for one in given:
        key = (one.variable, one.above)
        before = found[key].thresholds if key in found else ()
        found[key] = replace(one, thresholds=_joined(before, one.thresholds))
    return tuple(found.values())


def _joined(*numbers: tuple[float, ...]) -> tuple[float, ...]:
    """All of them, once each and in order: a coordinate of CF is monotonic."""
    return tuple(sorted(set().union(*numbers)))
