"""Analyses against the Kalman smoother, with the exact denoiser of pieces of a linear process."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.trajectory import Trajectory
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.exact import Gaussian, kalman
from diffsci.diffusion.guidance.posterior import Posterior
from diffsci.diffusion.samplers.heun import Heun
from diffsci.errors import ConfigError
from diffsci.forecasting.assimilation.analysis import Analyst, cases_of
from diffsci.forecasting.assimilation.chain import Chain
from diffsci.forecasting.assimilation.observation_table import read_table
from diffsci.forecasting.assimilation.sighting import placed
from diffsci.runtime import Device
from diffsci.sections import Runtime
from tests.forecasting import makers

CPU = Device.of(Runtime(device="cpu", precision="fp32", threads=1))
MEMORY = 0.7
"""Correlation of neighbouring frames; each cell is a process of its own."""

CELLS = 128


def covariance(frames):
    """Of a stationary process of unit variance in which a frame depends on the last one alone."""
    step = torch.arange(frames, dtype=torch.float64)
    return MEMORY ** (step[:, None] - step).abs()


class Exact(torch.nn.Module):
    """E[x_0 | x_t] of a piece, cell by cell, with the schedule that keeps the signal at 1."""

    def __init__(self, frames):
        super().__init__()
        self.frames = frames

        self.values, self.vectors = torch.linalg.eigh(covariance(frames))

    def forward(self, x, level, condition, scalars):
        noise = torch.exp(4 * level.double())[0]
        share = self.values / (self.values + noise**2)
        gain = (self.vectors * share @ self.vectors.mT).to(x)
        return torch.einsum("ij,nj...->ni...", gain, x * (1 + noise**2).sqrt().to(x))


def analyst(length, overlap, steps=24):
    """States are 2 + 3 times the process."""
    fields = makers.ring_fields(times=length + 2, size=CELLS)
    model = makers.surrogate(fields, "pde", Trajectory(length=length), leads=length, step=0.2)
    statistics = replace(
        model.statistics,
        state_mean=np.full(1, 2.0),
        state_std=np.full(1, 3.0),
        target_mean=np.zeros((length, 1)),
        target_std=np.ones((length, 1)),
    )
    denoiser = Denoiser(Exact(length), model.denoiser.schedule, "x0")
    sample = replace(model.pipeline.sample, sampler=Heun(steps=steps))
    pipeline = replace(model.pipeline, sample=sample)
    model = replace(model, pipeline=pipeline, statistics=statistics, denoiser=denoiser)
    return Analyst(model=model, device=CPU, guidance=Posterior(iterations=8), overlap=overlap)


def observed(path, analyst, frames, values, error):
    """The same values in all cells, so that these are samples of one law."""
    lines = ["time,x,value,error"]
    for frame, value in zip(frames, values, strict=True):
        lines += [f"{0.2 * frame:.6g},{cell},{value},{error}" for cell in range(CELLS)]
    (path / "obs.csv").write_text("\n".join(lines))
    model = analyst.model
    table = read_table(path / "obs.csv", model.grid.dims)
    return placed(table, model.channels, model.grid, analyst.step, 0.0)


def smoothed(count, frames, values, error):
    """The Kalman smoother's law of a trajectory of so many frames."""
    prior = Gaussian(mean=torch.zeros(count, dtype=torch.float64), covariance=covariance(count))
    h = torch.eye(count, dtype=torch.float64)[list(frames)]
    y = (torch.tensor(values, dtype=torch.float64) - 2) / 3
    r = (error / 3) ** 2 * torch.eye(len(values), dtype=torch.float64)
    return kalman(prior, h, r, y)


def test_a_piece_has_the_law_of_the_kalman_smoother(tmp_path):
    """6 frames, of which the second and the fifth are seen with error 1.5: half a deviation."""
    made = analyst(6, 0)
    seen = observed(tmp_path, made, (1, 4), (5.0, 0.5), 1.5)
    members = made.analysis(seen, 0, 6, 4, 0)[:, :, 0].astype(np.float64)
    samples = (members.transpose(0, 2, 1).reshape(-1, 6) - 2) / 3
    exact = smoothed(6, (1, 4), (5.0, 0.5), 1.5)
    count = len(samples)
    spread = exact.covariance.diagonal().sqrt().numpy()
    # Of 512 samples: 4 standard errors, which for a deviation are 1 / sqrt(2 n); and what 24
    # steps leave.
    assert (
        np.abs(samples.mean(axis=0) - exact.mean.numpy()) < 4 * spread / count**0.5 + 0.01
    ).all()
    assert (np.abs(samples.std(axis=0) / spread - 1) < 4 / (2 * count) ** 0.5 + 0.01).all()


def test_estimates_of_pieces_make_up_that_of_the_whole():
    """A frame depends on its neighbours: the blend of overlapping pieces is nearly the estimate."""
    whole, piece = Exact(20), Exact(8)
    chain = Chain.of(20, 8, 1, 6)
    assert chain.starts == (0, 2, 4, 6, 8, 10, 12)
    # In each frame what pieces count adds up to one.
    total = np.zeros(20)
    for start, weights in zip(chain.starts, chain.weights, strict=True):
        total[start : start + 8] += weights
    assert np.allclose(total, 1, rtol=0, atol=1e-15)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 20, 5, generator=generator, dtype=torch.float64)
    level = torch.full((1,), -0.2, dtype=torch.float64)

    def denoise(x_t, t, condition, scalars):
        return piece(x_t, level, None, None)

    found = chain.over(denoise)(x, torch.tensor(0.5), None, None)
    exact = whole(x, level, None, None)
    # Of values of size 0.7.
    loose = Chain.of(20, 8, 1, 1).over(denoise)(x, torch.tensor(0.5), None, None)
    near, far = ((made - exact).pow(2).mean().sqrt() for made in (found, loose))
    assert near < 0.01 and far > 3 * near, (near, far)


def test_a_long_trajectory_is_drawn_to_what_is_seen_anywhere(tmp_path):
    """20 frames of pieces of 8; single observations at the start and near the end."""
    made = analyst(8, 6, steps=16)
    seen = observed(tmp_path, made, (2, 15), (6.0, -1.0), 0.6)
    members = made.analysis(seen, 0, 20, 2, 0)[:, :, 0].astype(np.float64)
    assert members.shape == (2, 20, CELLS)
    samples = (members.transpose(0, 2, 1).reshape(-1, 20) - 2) / 3
    exact = smoothed(20, (2, 15), (6.0, -1.0), 0.6)
    spread = exact.covariance.diagonal().sqrt().numpy()
    # 256 samples: 4 standard errors, and what blending and 16 steps leave.
    allowed = 4 * spread / len(samples) ** 0.5 + 0.05
    assert (np.abs(samples.mean(axis=0) - exact.mean.numpy()) < allowed).all()
    assert (np.abs(samples.std(axis=0) / spread - 1) < 4 / (2 * len(samples)) ** 0.5 + 0.06).all()


def test_a_member_does_not_depend_on_the_others_and_frames_may_be_few(tmp_path):
    made = analyst(6, 2, steps=3)
    seen = observed(tmp_path, made, (0, 3), (5.0, 1.0), 1.0)
    few, many = (made.analysis(seen, 0, 4, count, 5) for count in (1, 3))
    assert few.shape == (1, 4, 1, CELLS) and np.array_equal(few[0], many[0])
    other = made.analysis(seen, 0, 4, 1, 6)
    assert not np.array_equal(few, other)


def test_online_blocks_know_nothing_of_later_ones(tmp_path):
    made = analyst(4, 2, steps=3)
    seen = observed(tmp_path, made, range(12), np.linspace(0, 4, 12), 1.0)
    blocks = list(made.online(seen, 12, 5, 3, 2, 0))
    assert [(first, after) for first, after, _ in blocks] == [(0, 5), (5, 10), (10, 12)]
    assert [values.shape[1] for _, _, values in blocks] == [5, 5, 2]
    early = observed(tmp_path, made, range(10), np.linspace(0, 4, 12)[:10], 1.0)
    again = list(made.online(early, 10, 5, 3, 2, 0))
    for one, two in zip(blocks[:2], again, strict=True):
        assert np.array_equal(one[2], two[2])


def test_cases_have_the_times_of_the_frames(tmp_path):
    made = analyst(4, 2)
    seen = observed(tmp_path, made, (1, 3), (1.0, 1.0), 1.0)
    cases = cases_of(seen, 5, made.step)
    assert np.allclose(cases.valid(), [[0.0, 0.2, 0.4, 0.6, 0.8]])


def test_models_that_cannot_be_guided_are_refused():
    made = analyst(4, 2)
    forecasts = makers.surrogate(makers.ring_fields(), "pde", Forecast(), step=0.2)
    with pytest.raises(ConfigError, match="the model's task is forecast, expected trajectory"):
        Analyst(model=forecasts, device=CPU)
    with pytest.raises(ConfigError, match="--overlap: got 4, expected 0 to 3, fewer frames"):
        replace(made, overlap=4)
    model = replace(made.model, scalar_names=("viscosity",))
    with pytest.raises(ConfigError, match="the model is given viscosity; say them by --given"):
        replace(made, model=model)
