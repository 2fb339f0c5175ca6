"""The posterior variance of a trained model: measured on data, or as its objective learned it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.batch import Batch
from diffsci.diffusion.augmentation import level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.exact import StationaryField
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.objectives.likelihood import Likelihood
from diffsci.diffusion.samplers.ancestral import Ancestral
from diffsci.diffusion.schedules.edm import EDM
from diffsci.errors import ConfigError
from diffsci.forecasting.opening import read_surrogate
from diffsci.runtime import Device
from diffsci.sections import Runtime
from diffsci.stages.ensembles.reverse_variance import with_variance
from tests.diffusion.laws import Knowing
from tests.forecasting import makers

CPU = Device.of(Runtime(device="cpu", precision="fp32", threads=1))


class Drawn:
    """Examples of a law, in float32."""

    def __init__(self, law, count=500):
        like = torch.empty(count, *law.variance.shape, dtype=torch.float64)
        self.fields = law.sample(seeded(3)(like, 0)).float()

    def __len__(self):
        return len(self.fields)

    def batch(self, index):
        return Batch(target=self.fields[torch.from_numpy(index)])


def field(size):
    basis = Basis((size,), (True,))
    power = 10 ** (-3 * basis.wavenumber / 0.5)[None]
    return StationaryField(basis=basis, variance=power / power.mean())


class Waves(torch.nn.Module):
    """The exact estimate of a field, as a network that predicts x_0."""

    def __init__(self, law, schedule):
        super().__init__()
        self.inner = Knowing(law, schedule, "x0")

    def forward(self, x, told, condition, scalars):
        t = self.inner.schedule.level_of(torch.exp(4 * told.double()))
        at = level(self.inner.schedule, t)
        x_t = x.double() * at.over(x.double()).norm
        return self.inner.law.posterior_mean(x_t, at).to(x.dtype)


def test_the_table_of_a_perfect_model_is_the_posterior_variance():
    law, schedule = field(16), EDM()
    model = makers.forecasting()
    model = replace(model, denoiser=Denoiser(Waves(law, schedule), schedule, "x0"))
    found = with_variance(model, Drawn(law), CPU).variance
    log_sigma = torch.linspace(-4, 3, 9).double()
    sigma2 = torch.exp(2 * log_sigma)[:, None, None]
    power = law.basis.mean_by_band(law.variance)
    exact = sigma2 * power / (sigma2 + power)
    # 500 examples tell the power of a band of one wave to 6 %, of two to 4.5 %.
    assert (found.variance(log_sigma) / exact - 1).abs().max() < 0.2


def test_what_the_objective_learned_is_taken_as_it_is():
    schedule, model = EDM(), makers.forecasting()
    learned = Likelihood(per="wavenumber").learned(1, model.grid)
    with torch.no_grad():
        learned.weight.fill_(-2.0)
    denoiser = Denoiser(model.denoiser.network, schedule, "v", learned)
    found = with_variance(replace(model, denoiser=denoiser), Drawn(field(16)), CPU).variance
    log_sigma = found.log_sigma
    # u = -2 at all levels: E (v - v_hat)^2 = e^-2, and that of x_0 is 1 / (SNR + 1) times it.
    snr = torch.exp(-2 * log_sigma)
    exact = (np.exp(-2.0) / (snr + 1))[:, None, None].expand_as(found.log_power)
    assert torch.allclose(found.variance(log_sigma), exact, rtol=1e-3)


def test_the_table_is_kept_with_the_model_and_asked_for_by_name(tmp_path):
    law, schedule = field(16), EDM()
    model = makers.forecasting()
    sample = replace(model.pipeline.sample, sampler=Ancestral(steps=3, variance="exact"))
    model = replace(model, pipeline=replace(model.pipeline, sample=sample))
    with pytest.raises(ConfigError, match="no table of its posterior variance.*diffsci sample RUN"):
        model.engine(CPU)
    table = with_variance(
        replace(model, denoiser=Denoiser(Waves(law, schedule), schedule, "x0")), Drawn(law), CPU
    ).variance
    model = replace(model, variance=table)
    model.save(tmp_path / "model", "")
    again = read_surrogate(tmp_path / "model", model.pipeline)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            again.variance.to_tensors().values(), table.to_tensors().values(), strict=True
        )
    )
    assert again.engine(CPU).variance is not None
