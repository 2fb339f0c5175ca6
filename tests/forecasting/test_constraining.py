"""Constraints in a model's engine: met by every state, in physical units, over a rollout."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.constraints._projection import Projection
from diffsci.constraints.base import Setting
from diffsci.constraints.bounds import Bounds
from diffsci.constraints.divergence_free import DivergenceFree
from diffsci.constraints.mean import Mean
from diffsci.data.fields import Channel, Fields
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.diffusion.objectives.deterministic import Deterministic
from diffsci.errors import ConfigError
from diffsci.forecasting.constraining import Constrained, couples, setting_of
from diffsci.forecasting.given import Given
from diffsci.forecasting.store.ledger import identity_of
from diffsci.grid import Grid
from tests.forecasting import makers


def flow_fields(trajectories=2, times=6, size=8, seed=0):
    """Two components of a velocity on a periodic box, of unlike size and mean."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((trajectories, times, 2, size, size))
    values = values * np.array([2.0, 0.5])[:, None, None] + np.array([1.0, -3.0])[:, None, None]
    return Fields(
        values=values.astype(np.float32),
        channels=(Channel(variable="u", unit="1"), Channel(variable="v", unit="1")),
        grid=Grid(
            dims=("y", "x"),
            coordinates=(tuple(float(i) for i in range(size)),) * 2,
            units=("1", "1"),
            boundary=(("periodic", "periodic"),) * 2,
        ),
        trajectories=np.arange(trajectories),
        times=0.2 * np.arange(times),
        breaks=np.zeros(times, dtype=bool),
        time_unit="1",
        source="made",
    )


def model_of(constraints, fields=None, task=None, **settings):
    made = makers.surrogate(
        fields or flow_fields(), "pde", task or Forecast(), leads=4, step=0.2, **settings
    )
    sample = replace(made.pipeline.sample, constraints=constraints)
    return replace(made, pipeline=replace(made.pipeline, sample=sample))


def drawn(model, members=3):
    """Physical members of two cases, and the frames that they start from."""
    fields = flow_fields()
    rows = np.array([[0, 1], [1, 1]])
    cases = model.pipeline.data.domain.cases(fields, rows, (1, 2, 3, 4))
    frames = fields.values[rows[:, 0], rows[:, 1]]
    known = torch.from_numpy(model.statistics.encode(frames[:, None]))
    given = Given(cases=cases, known=known, scalars=None)
    return model.values(model.engine(), given, range(members), 0), frames


@pytest.mark.parametrize("objective", [None, Deterministic()])
def test_a_rollout_keeps_mass_and_has_no_divergence(objective):
    """Whatever the network's weights are, for a sampler and for a single call."""
    kinds = (Mean(channels=("u",)), DivergenceFree())
    model = model_of(kinds, objective=objective)
    values, frames = drawn(model)
    mean = values.astype(np.float64).mean(axis=(-2, -1))
    # Single precision of values of size 10, of 64 cells.
    assert np.abs(mean[..., 0] - frames[:, None, None, 0].mean(axis=(-2, -1))).max() < 1e-6
    assert np.abs(mean[..., 1] - frames[:, None, None, 1].mean(axis=(-2, -1))).max() > 1e-3
    setting = setting_of(model.channels, model.grid, model.statistics)
    leray = Projection.of([DivergenceFree()], setting)
    flat = torch.from_numpy(values).reshape(-1, 2, 8, 8)
    assert leray.off(flat).max() < 1e-6
    free, _ = drawn(model_of((), objective=objective))
    assert leray.off(torch.from_numpy(free).reshape(-1, 2, 8, 8)).min() > 1e-2


def test_bounds_hold_to_the_bit_beside_a_mean():
    model = model_of((Bounds(minimum=0.5, channels=("u",)), Mean(value=(1.5, -3.0))))
    values, _ = drawn(model)
    assert values[..., 0, :, :].min() >= np.float32(0.5)
    assert (values[..., 0, :, :] == np.float32(0.5)).any()
    # Bounds and a mean end within 1e-9 std of each other; stored in single precision.
    assert np.abs(values.astype(np.float64).mean(axis=(-2, -1)) - [1.5, -3.0]).max() < 1e-6


def test_estimates_meet_them_too_and_the_sampler_sees_these():
    """The state of each estimate has the mean; of three calls all are changed."""
    model = model_of((Mean(value=0.25),))
    engine = model.engine()
    assert engine.constraints is not None
    sample = torch.randn(5, 2, 8, 8)
    known = torch.randn(5, 1, 2, 8, 8)
    std = torch.from_numpy(model.statistics.state_std).float()[:, None, None]
    mean = torch.from_numpy(model.statistics.state_mean).float()[:, None, None]

    def restore(scaled):
        target = model.statistics.unscale_target(scaled)
        return model.pipeline.data.task.restore(target, known[:, 0])

    made = engine.constraints.estimate(sample, restore, known, 0)
    physical = restore(made) * std + mean
    assert torch.allclose(physical.mean(dim=(-2, -1)), torch.tensor(0.25), rtol=0, atol=1e-5)
    # A shift of each field by one number, and nothing else.
    assert (made - sample).std(dim=(-2, -1)).max() < 1e-5


def test_a_member_does_not_depend_on_the_others():
    model = model_of((Mean(), DivergenceFree()))
    one, _ = drawn(model, members=1)
    three, _ = drawn(model, members=3)
    assert np.array_equal(one[:, 0], three[:, 0])


def test_what_does_not_fit_the_task_or_the_data_is_refused():
    fields = makers.weather_fields(sizes=(16, 16))
    model = makers.surrogate(fields, "weather", Downscale(factor=4))
    own = (model.channels, model.grid, model.statistics)
    with pytest.raises(ConfigError, match="`value: given` is what the last given frame has, and"):
        Constrained.of((Mean(),), *own, model.pipeline.data.task)
    gappy = replace(model.statistics, missing=("static",))
    with pytest.raises(ConfigError, match="the data has cells that are missing"):
        Constrained.of((Mean(value=1.0),), model.channels, model.grid, gappy, Forecast())
    assert Constrained.of((), *own, Forecast()) is None


def test_declared_bounds_hold_beside_a_mean():
    """Those of the catalog entry are met by the same projection, not cut off afterwards."""
    fields = flow_fields()
    told = (("valid_min", "0.0"),)
    channels = (replace(fields.channels[0], attributes=told), fields.channels[1])
    model = model_of((Mean(value=(1.0, -3.0)),), fields=replace(fields, channels=channels))
    values, _ = drawn(model)
    assert values[..., 0, :, :].min() >= 0.0
    assert np.abs(values.astype(np.float64).mean(axis=(-2, -1)) - [1.0, -3.0]).max() < 1e-6


def test_a_store_knows_what_its_states_meet():
    """Members with other constraints are others: one store never holds both."""
    sets = [(), (Mean(),), (Mean(value=1.0),), (DivergenceFree(),), (Bounds(minimum=0.0),)]
    told = []
    for constraints in sets:
        model = model_of(constraints)
        told.append(identity_of(model, model.engine(), 0))
    assert "constraints" not in told[0]
    assert len({each.get("constraints") for each in told}) == len(sets)
    again = model_of(sets[1])
    assert identity_of(again, again.engine(), 0) == told[1]


@pytest.mark.parametrize(
    ("constraints", "between"),
    [
        ((), False),
        ((Mean(value=0.0),), False),
        ((Bounds(minimum=0.0),), False),
        ((Mean(value=0.0), DivergenceFree(velocity=("v", "u"))), True),
    ],
)
def test_which_constraints_hold_between_channels(constraints, between):
    fields = flow_fields()
    scale = np.ones(len(fields.channels))
    names = tuple(channel.name for channel in fields.channels)
    setting = Setting(grid=fields.grid, channels=names, scale=scale)
    assert couples(constraints, setting) == between
    both = np.ones((1, 2, 8, 8))
    row = type("Row", (Mean,), {"rows": lambda self, setting: both})(value=0.0)
    assert couples((row,), setting)
