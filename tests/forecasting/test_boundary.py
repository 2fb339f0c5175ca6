"""Forecasts of a limited area that are given the rim of each later state, by hand and by file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.data.domains.weather import Weather
from diffsci.data.examples.cases import cases_given
from diffsci.data.examples.rims import rim, taken
from diffsci.data.examples.windows import Examples
from diffsci.data.tasks.forecast import Forecast
from diffsci.errors import DataError
from diffsci.forecasting.given import Given
from diffsci.networks.unet import UNet
from diffsci.runtime import Device
from diffsci.stages.ensembles.job import some
from tests import tiny_runs
from tests.forecasting import makers
from tests.stages.ensembles.test_sampling import written

CPU = Device(name="cpu", precision="fp32", threads=1)
SMALL = UNet(channels=(8,), blocks=1, groups=4, embedding=8)
TASKS = {
    "one": Forecast(history=2, boundary=2),
    "each": Forecast(ahead=2, draw="each", boundary=1, recall=(2,)),
}


def model_of(kind, leads=3):
    fields = makers.weather_fields(times=9)
    return makers.surrogate(
        fields, "weather", TASKS[kind], leads=leads, network=SMALL, step=6 * 3600e9,
        domain_made=Weather(forcings=("solar_zenith",)),
    )  # fmt: skip


def evaluation_of(model, leads=3):
    fields, data = makers.weather_fields(times=9), model.pipeline.data
    return cases_given(fields, data.task, data.domain, model.statistics, leads=leads)


@pytest.mark.parametrize("kind", TASKS)
def test_the_rim_of_every_member_is_the_given_one(kind):
    """To the bit, at every lead, as the store has the truth; and the inside is another."""
    model = model_of(kind)
    evaluation = evaluation_of(model)
    given = Given.of_tests(evaluation, None)
    values = model.values(model.engine(CPU), given, range(2), 0)
    there = rim(model.grid, model.pipeline.data.task.boundary).numpy()
    rows = evaluation.cases.rows[:, 1:] + np.array(evaluation.cases.leads)
    exact = makers.weather_fields(times=9).values[0][rows]
    truth = model.statistics.decode(model.statistics.encode(exact))
    for member in range(2):
        np.testing.assert_array_equal(values[:, member][..., there], truth[..., there])
        assert (values[:, member] != truth)[..., ~there].all()
    # A float32 of 280 is right to 3e-5 K.
    assert np.abs(truth - exact).max() < 4e-5
    # What is given is not asked for.
    assert np.array_equal(evaluation.truth.read(), np.where(there, np.nan, exact), equal_nan=True)


@pytest.mark.parametrize("kind", TASKS)
def test_training_and_sampling_give_the_network_the_same(kind):
    """The condition of a rollout's first draw is that of the training window."""
    model = model_of(kind)
    task, statistics = model.pipeline.data.task, model.statistics
    fields = makers.weather_fields(times=9)
    examples = Examples(fields, task, statistics, ("solar_zenith",))
    batch = examples.batch(np.array([0]))
    engine, found = model.engine(CPU), []
    hook = engine.denoiser.network.register_forward_pre_hook(
        lambda _, given: found.append(next(e for e in given[1:] if e is not None and e.ndim == 4))
    )
    evaluation = evaluation_of(model)
    start = int(examples.windows[0, 1]) + task.given_frames - 1
    case = evaluation.cases.rows[:, 1].tolist().index(start)
    try:
        model.values(engine, Given.of_tests(evaluation, None), [0], 0)
    finally:
        hook.remove()
    row = case if case < engine.compute_batch else 0
    assert case < engine.compute_batch
    assert torch.allclose(found[0][row], batch.condition[0], atol=1e-6)  # float32
    channels = task.condition_channels(1)
    width = task.boundary
    window = torch.from_numpy(statistics.encode(fields.values[:, start + task.step :][:, :1]))
    last = (batch.condition * torch.as_tensor(statistics.condition_std).float()
            + torch.as_tensor(statistics.condition_mean).float())[:, channels - 1]  # fmt: skip
    there = rim(model.grid, width)
    assert torch.allclose(last[:, there], window[:, 0, 0][:, there], atol=1e-5)
    assert last[:, ~there].abs().max() < 1e-6


def test_what_comes_in_reaches_the_inside_at_its_own_lead():
    """Another rim at lead 2 changes what lies inside from lead 2 on, and nothing before."""
    model = model_of("one")
    given = Given.of_tests(evaluation_of(model), None)
    other = given.edges.clone()
    other[:, 1] += 1.0
    one, two = (
        model.values(model.engine(CPU), replace(given, edges=edges), [0], 0)
        for edges in (given.edges, other)
    )
    inside = ~rim(model.grid, 2).numpy()
    assert np.array_equal(one[:, :, 0], two[:, :, 0])
    assert (one != two)[:, :, 1:][..., inside].mean() > 0.9


def test_grouping_and_growth_change_no_bit(tmp_path):
    model = model_of("each", leads=2)
    evaluation = evaluation_of(model, leads=2)
    given = some(Given.of_tests(evaluation, None), 1, 3)
    for batch, store in ((1, "a.zarr"), (64, "b.zarr")):
        written(model, given, tmp_path / store, 3, batch, 0)
    written(model, given, tmp_path / "c.zarr", 1, 4, 0)
    written(model, given, tmp_path / "c.zarr", 3, 4, 0)
    assert tiny_runs.tree(tmp_path / "a.zarr") == tiny_runs.tree(tmp_path / "b.zarr")
    assert tiny_runs.tree(tmp_path / "a.zarr") == tiny_runs.tree(tmp_path / "c.zarr")


def frames(first, after, seed=0):
    fields = makers.weather_fields(times=9, seed=seed)
    return xr.Dataset(
        {"2m_temperature": (("time", "latitude", "longitude"), fields.values[0, first:after, 0],
                            {"units": "K"})},
        {"time": fields.times[first:after],
         "latitude": ("latitude", list(fields.grid.coordinates[0]), {"units": "degrees_north"}),
         "longitude": ("longitude", list(fields.grid.coordinates[1]), {"units": "degrees_east"})},
    )  # fmt: skip


def test_a_users_frames_are_followed_by_those_whose_edges_are_given():
    """The same bits as of the test case; the inside of later frames is not looked at."""
    model = model_of("one")
    evaluation = evaluation_of(model)
    case = evaluation.cases.rows[:, 1].tolist().index(1)
    wanted = model.values(model.engine(), Given.of_tests(evaluation, None), [0, 1], 0)[case]
    given = frames(0, 5)
    given["2m_temperature"][2:, 2:-2, 2:-2] = 250.0
    made = model.sample(given, members=2)
    np.testing.assert_array_equal(made["2m_temperature"].values[0], wanted[:, :, 0])
    with pytest.raises(DataError, match="got 4 times, expected the last 2 .* then 3 times whose"):
        model.sample(frames(0, 4))


def test_each_member_of_a_host_ensemble_has_its_own_rim():
    model = model_of("one")
    hosts = [frames(0, 5, seed) for seed in (0, 1)]
    both = xr.concat(hosts, "number")
    made = model.sample(both, members=4)["2m_temperature"].values
    there = rim(model.grid, 2).numpy()
    for member in range(4):
        own = hosts[member % 2]["2m_temperature"].values[2:]
        np.testing.assert_allclose(made[0, member][:, there], own[:, there], atol=4e-5)
    assert taken(torch.zeros(1, 1, 1, 9, 13), model.grid, 2).shape[-1] == there.sum()
