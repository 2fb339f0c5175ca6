"""Transforms: what is learnt in place of values, and what that changes and what it does not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffsci.data.catalog import Entry, Source, Variable
from diffsci.data.checks.problems import Report
from diffsci.data.domains.weather import Weather
from diffsci.data.examples.seeing import Seeing
from diffsci.data.fitting import fit_statistics
from diffsci.data.reader import read
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.generate import Generate
from diffsci.errors import ConfigError, DataError
from diffsci.forecasting.bounds import Bounds
from diffsci.forecasting.ensemble import Engine
from diffsci.sections import Part
from tests.data import makers


def fields(space=(8, 12), **changes):
    """A channel as it is, and rain that is learnt as its logarithm."""
    made = makers.fields(space=space, trajectories=1, times=20, **changes)
    values = made.values.copy()
    values[:, :, 1] = np.random.default_rng(1).gamma(0.4, 5, values[:, :, 1].shape)
    plain, rain = made.channels
    told = (("transform", "log1p"), ("valid_min", "0"))
    return replace(made, values=values, channels=(plain, replace(rain, attributes=told)))


def test_statistics_are_those_of_what_is_learnt():
    data = fields()
    found = fit_statistics(data, Generate())
    logarithm = np.log1p(data.values[:, :, 1].astype(np.float64))
    assert found.transforms == ("", "log1p")
    assert abs(found.state_mean[1] - logarithm.mean()) < 1e-12
    assert abs(found.state_std[1] - logarithm.std()) < 1e-12
    assert abs(found.state_mean[0] - data.values[:, :, 0].mean(dtype=np.float64)) < 1e-12
    encoded = found.encode(data.values)
    assert np.allclose(
        encoded[:, :, 1], (logarithm - logarithm.mean()) / logarithm.std(), atol=1e-6
    )
    assert np.allclose(found.centre[1], np.expm1(logarithm.mean()))


def test_decode_inverts_encode_and_survives_saving(tmp_path):
    data = fields()
    found = fit_statistics(data, Generate())
    found.save(tmp_path)
    found = Statistics.load(tmp_path)
    back = found.decode(found.encode(data.values))
    # float32 normalised states: half a unit in the last place of 1 + x, times the spread.
    slack = 4 * 2**-24 * (1 + np.abs(data.values)) * (1 + np.abs(found.encode(data.values)))
    assert (np.abs(back - data.values) <= 4 * slack).all()
    one = found.encode(data.values[0, 0])
    assert np.array_equal(one, found.encode(data.values)[0, 0])


def test_bounds_hold_in_physical_values():
    data = fields()
    found = fit_statistics(data, Generate())
    bounds = Bounds.of(data.channels)
    states = bounds.keep(torch.full((1, 1, 2, 8, 12), -9.0), found)
    # What rounding leaves of 0 is brought above it when a state is stored.
    kept = bounds.physical(found.decode(states.numpy()))[0, 0, 1]
    assert kept.min() >= 0 and kept.max() < 1e-6
    assert (states[0, 0, 0] == -9).all()  # It has no bounds.
    free = bounds.keep(torch.ones(1, 1, 2, 8, 12), found)
    assert (free == 1).all()


def test_block_means_are_those_of_the_rain_and_not_of_its_logarithm():
    data, task = fields(), Downscale(factor=4)
    data = replace(data, beside=task.second(data))
    found = fit_statistics(data, task)
    rows = np.array([[0, 3]])
    window = torch.from_numpy(found.encode(data.values[:, 3:4]))
    seen = Seeing.of(data, task, found)(window, rows, np.zeros(1, dtype=np.int64))
    given = task.condition(task.observe(seen, data.grid), data.grid)
    back = found.decode(given.numpy())[0]
    plain = Downscale(factor=4)
    values = torch.from_numpy(data.values[:, 3:4])
    wanted = plain.condition(plain.observe(values, data.grid), data.grid)[0].numpy()
    assert np.allclose(back, wanted, rtol=1e-5, atol=1e-5)
    # A user's coarse field comes to the same.
    coarse = plain.observe(values, data.grid)[:, None].numpy()
    coarser = {"values": coarse, "grid": task.given_grid(data.grid), "beside": None}
    of_user = replace(data, **coarser, times=data.times[3:4], breaks=data.breaks[:1])
    placed = task.on_grid(of_user, data.grid)
    assert np.allclose(placed.beside[0, 0], wanted, rtol=1e-5, atol=1e-5)


def test_channels_without_a_transform_keep_their_bits():
    data = makers.fields()
    found = fit_statistics(data, Generate())
    assert found.transforms == () and Downscale(factor=2).second(data) is None
    mean, std = (v.reshape(-1, 1) for v in (found.state_mean, found.state_std))
    assert np.array_equal(found.encode(data.values), ((data.values - mean) / std).astype("f4"))


def test_what_takes_values_as_linear_is_refused():
    found = fit_statistics(fields(), Generate())
    engine = SimpleNamespace(guidance=None, constraints=object(), statistics=found)
    with pytest.raises(ConfigError, match="sample.constraints: takes.*of u1 that is the logarithm"):
        Engine._require_linear(engine)
    plain = SimpleNamespace(**{**vars(engine), "statistics": replace(found, transforms=())})
    assert Engine._require_linear(plain) is None


def entry(ds):
    declared = {"t2m": Variable(units="K", transform="log1p")}
    return Entry(name="made", source=Source(data=ds), variables=declared)


def test_the_entry_declares_it():
    found = read(entry(makers.weather()), Weather(), Part())
    assert found.channels[0].transform == "log1p"


def test_values_without_a_logarithm_are_refused_by_name():
    ds = makers.weather()
    ds["t2m"].values[2, 3, 4] = -1
    with pytest.raises(DataError, match=r"t2m.*values down to -1, and `transform: log1p` takes"):
        read(entry(ds), Weather(), Part())
    problems = []
    domain, report = Weather(), Report("made", problems)
    domain.fields(domain.canonical(ds, entry(ds), report), "made", report)
    assert [problem.code for problem in problems] == ["transform"]
