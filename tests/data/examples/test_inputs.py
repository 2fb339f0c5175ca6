"""Blocks, recalled frames, residuals, climate: counted by hand, and against least squares."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.data.examples.around import Around
from diffsci.data.examples.inputs import Inputs
from diffsci.data.examples.windows import Examples
from diffsci.data.fitting import fit_statistics
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.forecast import Forecast
from diffsci.errors import ConfigError
from tests.data import makers
from tests.data.examples.test_around import hours

GRID = makers.fields(space=(6,)).grid


def test_a_block_by_hand():
    task = Forecast(history=2, stride=2, ahead=2, recall=(4,), learn="tendency")
    # Known: 4 frames, 2 apart. Ahead: 2 more.
    assert (task.given_frames, task.frames) == (7, 11)
    assert (task.parts, task.emits, task.block) == (((1, 2),), 2, 2)
    window = torch.arange(11.0).reshape(1, 11, 1, 1)
    given = task.observe(window, GRID)
    assert given.flatten().tolist() == [0, 2, 4, 6]
    condition = task.condition(given, GRID)
    # The last two, and 4 frames of 2 before 8 and 10.
    assert condition.flatten().tolist() == [4, 6, 0, 2]
    target = task.target(window, condition)
    assert target.flatten().tolist() == [2, 4]
    assert task.restore(target, condition).flatten().tolist() == [8, 10]
    after = task.advance(given, torch.tensor([8.0, 10.0]).reshape(1, 2, 1, 1))
    assert after.flatten().tolist() == [4, 6, 8, 10]


def test_each_step_of_a_block_by_itself():
    task = Forecast(ahead=3, draw="each", recall=(3,), learn="state")
    assert (task.parts, task.emits, task.block) == (((1,), (2,), (3,)), 1, 3)
    window = torch.arange(6.0).reshape(1, 6, 1, 1)
    given = task.observe(window, GRID)
    found = []
    for part in range(3):
        condition = task.condition(given, GRID, part)
        found.append([*condition.flatten().tolist(), task.target(window, condition, part).item()])
    assert found == [[2, 0, 3], [2, 1, 4], [2, 2, 5]]


def test_what_is_recalled_must_be_known():
    with pytest.raises(ConfigError, match="recall: got .*3.*at least `ahead` \\(4\\)"):
        Forecast(ahead=4, recall=(3,))


@pytest.mark.parametrize("draw", ["together", "each"])
def test_examples_are_what_the_task_makes_of_each_window(draw):
    fields = makers.fields(space=(6,), scalars=np.linspace(0, 1, 3)[:, None], scalar_names=("nu",))
    task = Forecast(history=2, ahead=3, draw=draw, climate=True)
    statistics = fit_statistics(fields, task)
    examples = Examples(fields, task, statistics)
    # 10 times leave 6 windows of 5 frames in each of 3 trajectories.
    parts = 1 if draw == "together" else 3
    assert len(examples) == 18 * parts and examples.condition_channels == 2 * 2 + 4
    index = np.array([7, len(examples) - 1, 0, 18 % len(examples)])
    batch = examples.batch(index)
    for place, number in enumerate(index):
        part, window = divmod(int(number), 18)
        trajectory, start = examples.windows[window]
        states = torch.from_numpy(statistics.encode(fields.values[trajectory, start : start + 5]))
        condition = task.condition(task.observe(states[None], fields.grid), fields.grid, part)
        wanted = statistics.scale_target(task.target(states[None], condition, part), part=part)
        assert torch.allclose(batch.target[place], wanted[0], atol=1e-5)  # float32, order 1
        lead = [] if draw == "together" else [part - 1.0]
        own = statistics.encode_scalars(fields.scalars)[trajectory]
        assert batch.scalars[place].tolist() == pytest.approx([*own, *lead])
    alone = examples.batch(index[1:2])
    assert torch.equal(alone.target[0], batch.target[1])


def test_scaled_targets_of_every_part_have_mean_0_and_variance_1():
    fields = makers.fields(space=(6,), trajectories=20)
    walk = np.cumsum(fields.values, axis=1)  # the longer the lead, the larger the change
    fields = makers.fields(space=(6,), trajectories=20, values=walk)
    for draw in ("together", "each"):
        task = Forecast(ahead=3, draw=draw)
        examples = Examples(fields, task, fit_statistics(fields, task))
        target = examples.batch(np.arange(len(examples))).target
        by_lead = target.unflatten(1, (3, 2)).transpose(0, 1) if draw == "together" else (
            target.unflatten(0, (3, -1)))  # fmt: skip
        for one in by_lead:
            assert one.mean().abs() < 1e-4 and (one.var() - 1).abs() < 1e-2


def dated(count=60, space=(5,), seed=1):
    """One trajectory of 6-hourly dates, its values a daily cycle of each cell and noise."""
    rng = np.random.default_rng(seed)
    times = hours("2021-03-01T00", count, 6)
    turn = 2 * np.pi * np.arange(count) / 4
    height = rng.normal(size=(2, 2, *space))
    values = np.einsum("wt,wcx->tcx", np.stack([np.cos(turn), np.sin(turn)]), height)
    values = values + 0.3 * rng.normal(size=values.shape) + 10
    whole = makers.fields(space=space, trajectories=1, times=count)
    return replace(whole, values=values[None].astype("f4"), times=times, time_unit="")


def test_residuals_are_what_least_squares_leaves():
    """With a dummy for each cell, and for each cell's forcing, as one great regression."""
    fields = dated()
    task = Forecast(history=2, learn="residual", recall=(4,), ahead=2)
    statistics = fit_statistics(fields, task, ("hour_of_day",))
    states = statistics.encode(fields.values)[0].astype(np.float64)
    count, cells = len(states) - 5, 5
    around = Examples(fields, task, statistics, ("hour_of_day",)).inputs.around
    forced = around.scalars(fields.times[4 : 4 + count]).astype(np.float64)  # at the first step
    z = np.concatenate([np.ones((count, 1)), forced], axis=1)
    for channel in range(2):
        for step in (0, 1):
            y = states[4 + step : 4 + step + count, channel]
            frames = [states[2 + k : 2 + k + count, c] for k in (0, 1) for c in (0, 1)]
            frames += [states[k : k + count, c] for k in (0, 1) for c in (0, 1)]
            rows = [frame.T.reshape(-1) for frame in frames]
            blocks = np.kron(np.eye(cells), z)
            design = np.concatenate([np.stack(rows, axis=1), blocks], axis=1)
            wanted, *_ = np.linalg.lstsq(design, y.T.reshape(-1), rcond=None)
            row = step * 2 + channel
            assert np.allclose(statistics.slope[row], wanted[:8], atol=1e-6)
            # hour_of_day has two waves, of which 6-hourly data see sin 2 as rounding of 0.
            left = y.T.reshape(-1) - design @ wanted
            window = torch.from_numpy(np.stack([states[k : k + count] for k in range(6)], axis=1))
            pair = Examples(fields, task, statistics, ("hour_of_day",)).inputs.pair(
                window, fields.times[4 : 4 + count, None] + np.zeros((1, 2), "timedelta64[ns]"), 0
            )
            found = statistics.anomaly(pair.target, pair.condition, pair.forced)[:, row]
            assert np.abs(found.numpy().T.reshape(-1) - left).max() < 1e-5  # float32 states


@pytest.mark.parametrize("draw", ["together", "each"])
def test_innovations_are_what_least_squares_on_changes_leaves(draw):
    """As one great regression, solved by other means, in each row of the target."""
    fields = dated()
    task = Forecast(history=2, learn="innovation", recall=(4,), ahead=2, draw=draw)
    statistics = fit_statistics(fields, task, ("hour_of_day",))
    states = statistics.encode(fields.values)[0].astype(np.float64)
    count = len(states) - 5
    for step in (0, 1):
        recalled = (0, 1) if draw == "together" else (step,)
        places = [2, 3, *recalled]  # of the frames that are given, in a window; 3 is the last
        frames = np.stack([states[k : k + count] for k in places])  # frame, window, channel, cell
        changes = np.delete(frames - frames[1], 1, axis=0)
        design = changes.transpose(0, 2, 1, 3).reshape(2 * len(changes), -1).T
        for channel in range(2):
            y = (states[4 + step : 4 + step + count] - frames[1])[:, channel].reshape(-1)
            wanted, *_ = np.linalg.lstsq(design, y, rcond=None)
            slope = statistics.slope[step * 2 + channel].reshape(-1, 2)
            assert np.allclose(np.delete(slope, 1, axis=0).reshape(-1), wanted, atol=1e-6)
            assert np.allclose(slope.sum(axis=0), np.eye(2)[channel], atol=1e-12)


def test_an_innovation_does_not_see_what_all_frames_share():
    """Of any data: a constant on all frames, in each channel its own, changes no target."""
    task = Forecast(history=2, learn="innovation", recall=(4,), ahead=2)
    statistics = fit_statistics(dated(), task)
    window = torch.randn(3, task.frames, 2, 5, dtype=torch.float64)
    shift = torch.tensor([5.0, -70.0], dtype=torch.float64)[:, None]
    inputs = Inputs(task=task, around=Around(forcings=(), grid=dated().grid), statistics=statistics)
    plain, moved = (
        statistics.scale_target(pair.target, pair.condition, pair.forced)
        for pair in (inputs.pair(window, None, 0), inputs.pair(window + shift, None, 0))
    )
    assert (plain - moved).abs().max() < 1e-12
    assert plain.abs().max() > 0.1


def test_an_autoregression_is_that_of_the_targets_that_are_there():
    """By numpy, over those cells alone; the frames that are given have no gaps."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(60, 3, 2, 4))
    values[:, 2] = 1.5 * values[:, 1] - 0.5 * values[:, 0] + 0.3 * rng.normal(size=(60, 2, 4))
    gone = rng.random((60, 2, 4)) < [[[0.6], [0.1]]]
    values[:, 2][gone] = np.nan
    fields = makers.fields(space=(4,), channels=2, trajectories=60, times=3,
                           values=values.astype("f4"))  # fmt: skip
    gappy = tuple(replace(c, attributes=(("missing", "moving"),)) for c in fields.channels)
    fields = replace(fields, channels=gappy)
    statistics = fit_statistics(fields, Forecast(learn="innovation", history=2))
    older, last, after = statistics.encode(fields.values).astype(np.float64).transpose(1, 0, 2, 3)
    for channel in range(2):
        there = ~gone[:, channel]
        design = (older - last).transpose(0, 2, 1)[there]
        wanted, *_ = np.linalg.lstsq(design, (after - last)[:, channel][there], rcond=None)
        assert np.allclose(statistics.slope[channel, :2], wanted, atol=1e-9)


def test_an_autoregression_finds_the_one_that_made_the_data():
    """x(t) = x(t-1) + 0.6 (x(t-3) - x(t-1)) + 0.1 noise, with a level of its own in each cell."""
    rng = np.random.default_rng(0)
    values = np.zeros((400, 14, 1, 4))
    values[:, :3] = rng.normal(size=(400, 3, 1, 4))
    for time in range(3, 14):
        values[:, time] = 0.4 * values[:, time - 1] + 0.6 * values[:, time - 3]
        values[:, time] += 0.1 * rng.normal(size=(400, 1, 4))
    values += 5 * rng.normal(size=(1, 1, 1, 4))
    fields = makers.fields(space=(4,), channels=1, trajectories=400, times=14,
                           values=values.astype("f4"))  # fmt: skip
    statistics = fit_statistics(fields, Forecast(learn="innovation", recall=(3,)))
    # 400 x 11 x 4 examples whose frames differ by 0.5 and more: standard error under 0.002.
    assert statistics.slope[0] == pytest.approx([0.4, 0.6], abs=0.01)
    assert (statistics.target_std * statistics.state_std).item() == pytest.approx(0.1, rel=0.03)


def test_a_residual_of_linear_data_is_nothing_but_its_noise():
    rng = np.random.default_rng(0)
    values = np.zeros((400, 12, 1, 4))
    values[:, 0] = rng.normal(size=(400, 1, 4))
    for time in range(1, 12):
        values[:, time] = 0.8 * values[:, time - 1] + 0.1 * rng.normal(size=(400, 1, 4))
    fields = makers.fields(space=(4,), channels=1, trajectories=400, times=12,
                           values=values.astype("f4"))  # fmt: skip
    statistics = fit_statistics(fields, Forecast(learn="residual"))
    # 400 x 11 x 4 examples: standard error of a slope 0.1 / 0.33 / 133 = 0.0023.
    assert statistics.slope == pytest.approx(0.8, abs=0.01)
    assert (statistics.target_std * statistics.state_std).item() == pytest.approx(0.1, rel=0.03)


def test_scaling_inverts_with_a_regression_and_survives_saving(tmp_path):
    fields = dated()
    task = Forecast(history=1, learn="residual", ahead=2, draw="each", climate=True)
    found = fit_statistics(fields, task, ("hour_of_day",))
    condition = torch.randn(3, 2, 5, dtype=torch.float64)
    forced, target = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 2, 5).double()
    for part in (0, 1):
        scaled = found.scale_target(target, condition, forced, part)
        back = found.unscale_target(scaled, condition, forced, part)
        assert torch.allclose(back, target, rtol=0, atol=1e-13)
    assert not torch.equal(scaled, found.scale_target(target, condition, forced, 0))
    found.save(tmp_path)
    again = Statistics.load(tmp_path)
    for name in ("slope", "cycle", "climate", "target_mean"):
        assert np.array_equal(getattr(again, name), getattr(found, name))


def test_climate_is_mean_and_spread_of_each_cell():
    fields = dated()
    found = fit_statistics(fields, Forecast(climate=True))
    normal = found.encode(fields.values)[0].astype(np.float64)
    assert np.allclose(found.climate[:2], normal.mean(axis=0), atol=1e-6)
    assert np.allclose(found.climate[2:], normal.std(axis=0), atol=1e-6)
