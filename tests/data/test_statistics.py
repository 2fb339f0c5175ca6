"""Statistics: against numpy in float64, kept bit for bit, refused when edited."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.data.fitting import fit_statistics
from diffsci.data.statistics import Statistics
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.generate import Generate
from diffsci.errors import DataError, StorageError
from tests.data import makers


def test_states_are_accurate_far_from_zero():
    rng = np.random.default_rng(0)
    values = (101325 + rng.uniform(0, 10, (4, 50, 2, 64))).astype("f4")
    found = fit_statistics(
        makers.fields(space=(64,), times=50, trajectories=4, values=values), Generate()
    )
    exact = values.astype("f8").std(axis=(0, 1, 3))
    assert np.abs(found.state_std / exact - 1).max() < 1e-6  # fault 51's bound
    assert np.allclose(found.state_mean, values.astype("f8").mean(axis=(0, 1, 3)), rtol=1e-12)


def test_tendencies_are_scaled_by_channel():
    fields = makers.fields()
    found = fit_statistics(fields, Forecast())
    normalised = found.encode(fields.values).astype("f8")
    tendency = np.diff(normalised, axis=1)
    assert found.target_std.shape == (2, 1)
    assert np.allclose(found.target_std[:, 0], tendency.std(axis=(0, 1, 3)), rtol=1e-6)
    assert np.allclose(found.target_mean[:, 0], tendency.mean(axis=(0, 1, 3)), atol=1e-7)


def test_residuals_are_scaled_by_cell_with_a_floor():
    fields = makers.fields(space=(8, 12), times=40, periodic=False)
    still = fields.values.copy()
    still[..., :4, :4] = 5.0  # A lake: nothing is ever missing inside its block.
    found = fit_statistics(
        makers.fields(space=(8, 12), times=40, values=still), Downscale(factor=4)
    )
    assert found.target_std.shape == (2, 8, 12)
    typical = found.target_std.mean(axis=(1, 2))
    assert (found.target_std.min(axis=(1, 2)) > 0.05 * typical).all()


def test_scaling_targets_inverts():
    fields = makers.fields(space=(9, 7))
    found = fit_statistics(fields, Downscale(factor=3))
    target = torch.randn(3, 2, 9, 7)
    back = found.unscale_target(found.scale_target(target))
    assert torch.allclose(back, target, rtol=0, atol=1e-5)  # a few float32 roundings of order 1


def test_conditions_are_anomalies_of_variance_1():
    """Their mean goes cell by cell, their scale is one number: differences of neighbours stay."""
    fields, task = makers.fields(space=(8, 12), times=40, periodic=False), Downscale(factor=4)
    found = fit_statistics(fields, task)
    assert found.condition_mean.shape == (2, 8, 12) and found.condition_std.shape == (2, 1, 1)
    states = torch.from_numpy(found.encode(fields.values)).flatten(0, 1)[:, None]
    condition = task.condition(task.observe(states, fields.grid), fields.grid)
    seen = found.scale_condition(condition)
    # float32 means over 120 fields of order 1.
    assert seen.mean(dim=0).abs().max() < 1e-6
    assert (seen.square().mean(dim=(0, 2, 3)) - 1).abs().max() < 1e-5
    assert found.scale_condition(None) is None


def test_one_hot_columns_stay_and_parameters_are_normalised():
    scalars = np.column_stack([np.linspace(0.5, 1.5, 3), np.eye(3)[:, :2], np.full(3, 7.0)])
    names = ("viscosity", "label=0", "label=1", "length")
    found = fit_statistics(makers.fields(scalars=scalars, scalar_names=names), Generate())
    coded = found.encode_scalars(scalars)
    assert np.array_equal(coded[:, 1:3], np.eye(3)[:, :2])
    assert abs(coded[:, 0].std() - 1) < 1e-6 and (coded[:, 3] == 0).all()


def test_of_logarithms_ratios_count(tmp_path):
    """1, 10 and 100 are evenly apart, as 1, 2 and 3 are; saved and loaded too."""
    scalars = np.column_stack([[1.0, 10.0, 100.0], [1.0, 2.0, 3.0]])
    fields = makers.fields(scalars=scalars, scalar_names=("viscosity", "length"))
    found = fit_statistics(replace(fields, scalar_logs=("viscosity",)), Generate())
    found.save(tmp_path)
    found = Statistics.load(tmp_path)
    coded = found.encode_scalars(scalars)
    assert np.allclose(coded[:, 0], coded[:, 1]) and abs(coded[2, 0] - 1.5**0.5) < 1e-6
    assert fields.scalars[1, 0] == 10  # solvers and labels have the physical value
    with pytest.raises(DataError, match="viscosity: got 0, expected above 0: the network is given"):
        found.encode_scalars(np.array([[0.0, 1.0]]))


def test_saved_statistics_come_back_bitwise_and_edits_are_refused(tmp_path):
    found = fit_statistics(makers.fields(space=(8, 9)), Downscale(factor=3))
    found.save(tmp_path)
    back = Statistics.load(tmp_path)
    for name in Statistics.__dataclass_fields__:
        assert np.array_equal(getattr(back, name), getattr(found, name))
    data = bytearray((tmp_path / "statistics.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "statistics.safetensors").write_bytes(data)
    with pytest.raises(StorageError, match="changed since it was written"):
        Statistics.load(tmp_path)
    (tmp_path / "statistics.json").write_text(json.dumps({}))
    with pytest.raises(StorageError, match="cannot be read back"):
        Statistics.load(tmp_path)


def test_constant_channels_are_refused_by_name():
    values = makers.fields().values.copy()
    values[:, :, 1] = 4.0
    with pytest.raises(DataError, match="u1 is constant"):
        fit_statistics(makers.fields(values=values), Generate())


def test_a_channel_that_never_moves_cannot_be_forecast():
    values = np.repeat(makers.fields().values[:, :1], 10, axis=1)
    with pytest.raises(DataError, match="variables u0, u1 have nothing to sample"):
        fit_statistics(makers.fields(values=values), Forecast())
