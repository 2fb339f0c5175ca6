"""The table of posterior variances: what lies between its levels, its file, and who may use it."""

import math

import pytest
import safetensors.torch
import torch

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.covariance import InWaves
from diffsci.diffusion.schedules.edm import EDM
from diffsci.diffusion.variance import Calibrated, VarianceTable
from diffsci.errors import ConfigError, FieldError
from tests.diffusion.laws import f64

SMALL, CIRCLE = Basis((16,), (True,)), Basis((128,), (True,))
TABLE = VarianceTable(
    log_sigma=torch.linspace(-6, 4, 24, dtype=torch.float64),
    log_power=torch.linspace(3, -4, 24 * 9, dtype=torch.float64).reshape(24, 1, 9),
    relative_error=torch.full((24, 1, 9), 0.03, dtype=torch.float64),
)


def posterior(power, log_sigma):
    """Var[x_0 | x_t] of normal waves."""
    return 1 / (1 / power + torch.exp(-2 * log_sigma))


def test_interpolation_is_exact_for_normal_data_and_beyond_the_ends():
    power = f64([[3.0, 0.01]])
    table = VarianceTable(
        log_sigma=f64([-1.0, 0.5, 2.0]),
        log_power=torch.log(power).expand(3, 1, 2),
        relative_error=torch.zeros(3, 1, 2, dtype=torch.float64),
    )
    at = torch.linspace(-9, 9, 37, dtype=torch.float64)
    found = table.variance(at)
    assert torch.allclose(found, posterior(power, at[:, None, None]), rtol=1e-13)
    # Slope -2 of logit(variance / sigma^2), everywhere.
    share = torch.logit(found[..., 0] / torch.exp(2 * at)[:, None])
    assert torch.allclose(share.diff(dim=0), f64(-1.0), atol=1e-6)


def test_interpolation_by_hand():
    """Half-way in log(sigma), the power is the geometric mean: sqrt(1 * 4) = 2 at sigma = 1."""
    table = VarianceTable(
        log_sigma=f64([-1.0, 1.0]),
        log_power=torch.log(f64([1.0, 4.0])).reshape(2, 1, 1),
        relative_error=torch.zeros(2, 1, 1, dtype=torch.float64),
    )
    assert float(table.variance(f64(0.0))) == pytest.approx(2 / 3, rel=1e-14)
    for beyond, power in ((-3.0, 1.0), (5.0, 4.0)):
        expected = float(posterior(f64(power), f64(beyond)))
        assert float(table.variance(f64(beyond))) == pytest.approx(expected, rel=1e-13)


def test_calibrated_asks_once_and_keeps_the_dtype():
    table, calls = TABLE, []

    def denoise(x_t, t):
        calls.append(t)
        return x_t / 2

    calibrated = Calibrated(denoise, table, SMALL)
    x_t = torch.ones(2, 1, 16)
    at = level(EDM(), torch.tensor(0.5))
    mean, covariance = calibrated.with_covariance(x_t, at)
    assert torch.equal(mean, calibrated(x_t, at.t))
    assert len(calls) == 2
    assert isinstance(covariance, InWaves)
    assert covariance.draw(x_t, f64(0.1), f64(0.2)).dtype == torch.float32
    # In units of x_0, at the level's noise_std / signal_scale, whatever they are by themselves.
    sigma = torch.log(at.noise_to_signal)
    assert torch.allclose(covariance.variance, SMALL.by_band(table.variance(sigma).float()))


def test_a_table_is_saved_as_tensors():
    table = TABLE
    again = VarianceTable.from_tensors(
        safetensors.torch.load(safetensors.torch.save(table.to_tensors()))
    )
    for name, values in table.to_tensors().items():
        assert torch.equal(getattr(again, name), values)
    with pytest.raises(ConfigError, match=r"variance table: found \['log_power'\], expected"):
        VarianceTable.from_tensors({"log_power": table.log_power})


def test_bad_tables_are_named():
    good = TABLE
    for changes, message in [
        ({"log_sigma": good.log_sigma.flip(0)}, "log_sigma: .*expected rising values"),
        ({"log_sigma": good.log_sigma[:3]}, r"log_power: got \[24, 1, 9\], expected 3 levels"),
        ({"relative_error": good.log_power[..., :2]}, r"relative_error: .*\(24, 1, 9\)"),
        ({"log_power": good.log_power * math.nan}, "log_power: .*expected finite values"),
    ]:
        with pytest.raises(FieldError, match=message):
            VarianceTable.from_tensors(good.to_tensors() | changes)


def test_fields_of_another_shape_are_refused():
    table = TABLE
    with pytest.raises(FieldError, match="table: got 9, expected 65 bands"):
        Calibrated(lambda x, t: x, table, CIRCLE)
    calibrated = Calibrated(lambda x, t: x, table, SMALL)
    with pytest.raises(ConfigError, match=r"of channels and space \(1, 16\).*have \(2, 16\)"):
        calibrated.with_covariance(torch.ones(1, 2, 16), level(EDM(), torch.tensor(0.5)))
