"""Observations in physical units reach the sampler as what they say of its own unknowns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.data.fields import Cases
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.guidance.classifier_free import ClassifierFree
from diffsci.diffusion.guidance.posterior import Posterior
from diffsci.diffusion.operators.base import check_adjoint
from diffsci.diffusion.operators.block_mean import BlockMean
from diffsci.diffusion.operators.points import Points
from diffsci.diffusion.samplers.heun import Heun
from diffsci.errors import ConfigError
from diffsci.forecasting.ensemble import Rows
from diffsci.forecasting.observations import Observations, Through, checked, of_truth
from diffsci.runtime import Device
from diffsci.sections import Observing, Runtime
from tests.forecasting import makers

CPU = Device.of(Runtime(device="cpu", precision="fp32", threads=1))


def test_an_operator_through_an_affine_map_is_linear_with_its_transpose():
    scale = torch.linspace(0.5, 2, 12).double()
    shift = torch.linspace(-1, 1, 12).double()
    like = torch.zeros(3, 1, 12, dtype=torch.float64)

    def restore(sample):
        return scale * sample + shift

    check_adjoint(Through(BlockMean(factor=4), restore, restore(like)), like)


def cases(count):
    return Cases(
        rows=np.zeros((count, 2), dtype=np.int64),
        keys=tuple(f"time={i}" for i in range(count)),
        trajectories=np.zeros(count, dtype=np.int64),
        times=np.arange(count) * 1.0,
        labels={},
    )


def test_twin_observations_have_the_stated_error_and_depend_on_their_case_alone():
    truth = np.random.default_rng(0).standard_normal((50, 2, 2, 16, 16)).astype(np.float32)
    section = Observing(operator=Points(every=2), noise_std=(0.5, 2.0), seed=3)
    found = of_truth(section, truth, cases(50))
    error = found.values.numpy() - truth[..., ::2, ::2]
    for channel, std in enumerate((0.5, 2.0)):
        part = error[:, :, channel]
        # 6400 normals: the standard error of their std is 0.9 %.
        assert abs(part.std() / std - 1) < 0.04
    fewer = of_truth(section, truth[:7], cases(7))
    assert torch.equal(fewer.values, found.values[:7])
    other = of_truth(replace(section, seed=4), truth, cases(50))
    assert not torch.equal(other.values, found.values)


def test_errors_by_channel_must_fit_the_channels():
    truth = np.zeros((1, 1, 2, 8), dtype=np.float32)
    section = Observing(operator=Points(every=2), noise_std=(0.5, 2.0, 1.0))
    with pytest.raises(ConfigError, match=r"sample.observed.noise_std: got 3 numbers, .* 2 obs"):
        of_truth(section, truth, cases(1))


def exact_forecasts():
    """An engine with the exact denoiser of x' = F x + noise, states being 2 + 3 times normal."""
    factor, noise_var = 0.7, 0.3
    model = makers.forecasting(steps=16, compute_batch=500)
    statistics = replace(
        model.statistics,
        state_mean=np.full(1, 2.0),
        state_std=np.full(1, 3.0),
        target_mean=np.zeros((1, 1)),
        target_std=np.full((1, 1), 0.5),
        condition_mean=np.zeros((1, 1)),
        condition_std=np.ones((1, 1)),
    )

    class Exact(torch.nn.Module):
        def forward(self, x, level, condition, scalars):
            noise = torch.exp(4 * level)[:, None, None]  # the EDM schedule keeps the signal at 1
            mean, var = (factor - 1) * condition / 0.5, noise_var / 0.25
            return mean + var / (var + noise**2) * (x * (1 + noise**2).sqrt() - mean)

    engine = replace(
        model.engine(CPU),
        denoiser=Denoiser(Exact(), model.denoiser.schedule, "x0"),
        statistics=statistics,
        sampler=Heun(steps=40),
        guidance=Posterior(),
    )
    return engine, factor, noise_var


def test_a_guided_forecast_is_the_kalman_analysis_in_physical_units():
    """Every cell is a Kalman filter of its own; every fourth one is observed at both leads."""
    engine, factor, noise_var = exact_forecasts()
    count, start, error = 2000, 1.5, 1.2
    values = torch.full((count, 2, 1, 4), 6.0)
    values[:, 1] = -1.0
    rows = Rows(
        given=torch.full((count, 1, 1, 16), start),
        scalars=None,
        cases=("case",) * count,
        members=tuple(range(count)),
        observed=Observations(operator=Points(every=4), values=values, noise_std=error),
    )
    states = engine.states(rows, 2, seed=0).double().flatten(2) * 3 + 2
    mean, variance, free, free_var = start, 0.0, start, 0.0
    for lead, seen in enumerate((6.0, -1.0)):
        # Normalised: the forecast, then the analysis with (seen - 2) / 3 of error std error / 3.
        free, free_var = factor * free, factor**2 * free_var + noise_var
        mean, variance = factor * mean, factor**2 * variance + noise_var
        # A member's next state is conditioned on its own last one, so the second analysis is of
        # noise_var alone: members are particles, not a Gaussian that is updated as a whole.
        gain = noise_var / (noise_var + (error / 3) ** 2)
        mean, variance = (
            mean + gain * ((seen - 2) / 3 - mean),
            (1 - gain) ** 2 * (variance - noise_var) + (1 - gain) * noise_var,
        )
        at, off = states[:, lead, ::4].flatten(), states[:, lead, 1::4].flatten()
        for part, m, v in ((at, mean, variance), (off, free, free_var)):
            m, v = 3 * m + 2, 9 * v
            # Four standard errors, and 2 % for Heun's spread at 40 steps.
            assert abs(part.mean() - m) < 4 * (v / len(part)) ** 0.5 + 0.01 * abs(m)
            assert abs(part.var() / v - 1) < 4 * (2 / len(part)) ** 0.5 + 0.02


def test_guided_members_do_not_depend_on_grouping():
    model = makers.downscaling()
    engine = replace(model.engine(CPU), guidance=Posterior())
    from tests.forecasting.test_ensemble import rows_of

    rows = rows_of(model, range(2), range(3))
    sizes = tuple(-(-size // 4) for size in model.grid.sizes)
    seen = torch.randn(2, 1, 1, *sizes, generator=torch.Generator().manual_seed(1))
    seen = Observations(operator=Points(every=4), values=280 + 5 * seen, noise_std=1.0)
    rows = replace(rows, observed=seen.take([0, 0, 0, 1, 1, 1]))
    whole = engine.states(rows, 1, seed=0)
    single = [engine.states(rows.take([i]), 1, seed=0) for i in range(len(rows))]
    assert torch.equal(torch.cat(single), whole)
    free = replace(engine, guidance=None).states(rows, 1, seed=0)
    assert not torch.equal(free, whole)


def test_python_users_pass_observations_and_get_the_posterior_by_default():
    model = makers.generating()
    values = torch.full((3, 1, 1, 4, 4), 0.9)
    observed = Observations(operator=Points(every=2), values=values, noise_std=0.01)
    guided = model.sample([0, 1, 2], members=2, observed=observed)
    free = model.sample([0, 1, 2], members=2)
    at = {"y": slice(None, None, 2), "x": slice(None, None, 2)}
    near = abs(guided["intensity"].isel(at) - 0.9).mean()
    assert near < 0.2 * abs(free["intensity"].isel(at) - 0.9).mean()
    with pytest.raises(ConfigError, match=r"shape \(3, 1, 1, 4, 4\), expected \(2, 1, 1, 4, 4\)"):
        model.sample([0, 1], observed=observed)
    with pytest.raises(ConfigError, match="got dict, expected `diffsci.forecasting.observations"):
        checked({}, 1, 1, torch.zeros(1, 1, 8, 8))
    with pytest.raises(ConfigError, match="not trained without scalars"):
        model.sample([0, 1], guidance=ClassifierFree())


def test_numpy_arrays_become_observations():
    values = np.full((1, 1, 1, 4, 4), 0.5, dtype=np.float32)
    found = Observations.of(Points(every=2), values, 0.1)
    assert torch.equal(found.values, torch.from_numpy(values))
