"""Advection and diffusion against the exact solution, wave by wave, in another library."""

import numpy as np
import pytest

from diffsci.errors import FieldError
from diffsci.solvers.advection_diffusion import AdvectionDiffusion
from tests.solvers.orders import trajectory


def test_every_frame_is_the_exact_solution():
    solver = AdvectionDiffusion(trajectories=5, frames=41)
    dataset = solver()
    numbers = np.arange(5)
    told = solver.parameters(numbers)
    c = np.fft.rfft(solver.initial(numbers)[:, 0].numpy())[:, None]
    k, t = np.arange(33), dataset["time"].values[:, None]
    speed, spread = (told[name][:, None, None] for name in ("velocity", "diffusivity"))
    exact = np.fft.irfft(c * np.exp(-(1j * k * speed + k**2 * spread) * t), axis=-1)
    # 40 steps of round-off, then float32.
    assert np.abs(dataset["c"].values - exact).max() < 1e-6
    last = trajectory(solver, frames=41)[:, -1, 0].numpy()
    assert np.abs(last - exact[:2, -1]).max() < 1e-13
    for name in told:
        assert dataset[name].values == pytest.approx(told[name], rel=1e-6)


def test_steps_of_any_size_give_the_same():
    few, many = (AdvectionDiffusion(trajectories=2, dt=dt)()["c"].values for dt in (0.1, 0.02))
    assert np.abs(few - many).max() < 1e-6


def test_parameters_are_within_their_ranges():
    told = AdvectionDiffusion(fastest=2.0, largest=0.5).parameters(np.arange(2000))
    share = {
        "velocity": (told["velocity"] + 2) / 4,
        "diffusivity": np.log(told["diffusivity"] / 0.005) / np.log(100),
    }
    for values in share.values():
        assert np.abs(np.sort(values) - np.linspace(0, 1, 2000)).max() < 1.95 / np.sqrt(2000)


@pytest.mark.parametrize("name", ["fastest", "largest"])
def test_bad_values_are_refused(name):
    with pytest.raises(FieldError, match=f"{name}: got -1.0"):
        AdvectionDiffusion(**{name: -1.0})
