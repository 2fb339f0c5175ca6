"""Shallow water: waves with their known frequency, balance, order, what is conserved."""

import math

import numpy as np
import pytest
import torch

from diffsci.errors import FieldError
from diffsci.solvers.shallow_water import ShallowWater
from tests.solvers.orders import slopes, trajectory


def small(**changes):
    values = {"solver_points": 32, "points": 32, "dt": 0.05, "trajectories": 2, "frames": 3}
    return ShallowWater(**(values | changes))


def test_small_waves_have_their_frequency_and_decay():
    """An inertia-gravity wave of amplitude 1e-9: frequency^2 = f^2 + g H k^2, by hand."""
    solver = small(dt=0.01, smoothing=1e-4, output_step=1.0)
    x = 2 * math.pi * torch.arange(32, dtype=torch.float64) / 32
    k, f = 3, solver.coriolis
    frequency = math.sqrt(f**2 + k**2)

    def wave(t):
        angle = (k * x - frequency * t).expand(32, 32)
        u = frequency / k * torch.cos(angle)
        return torch.stack([torch.cos(angle), u, f / k * torch.sin(angle)])

    last = solver.integrate(1e-9 * wave(0.0)[None], frames=3)[0, -1]
    exact = 1e-9 * math.exp(-1e-4 * k**4 * 2.0) * wave(2.0)
    # RK4's error of 200 steps is (frequency dt)^5 / 120 each; the square of the wave is 1e-9 of it.
    allowed = 200 * (frequency * 0.01) ** 5 / 120 + 1e-8
    assert (last - exact).abs().max() < allowed * exact.abs().max()


def test_the_filter_alone_is_exact():
    """A flow u(y) without rotation and elevation is steady but for the filter."""
    solver = small(coriolis=1e-300, smoothing=1e-3, output_step=1.0)
    y = 2 * math.pi * torch.arange(32, dtype=torch.float64) / 32
    u = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    u[:, 1] = 1e-9 * torch.cos(2 * y)[:, None]
    last = solver.integrate(u, frames=3)[:, -1]
    assert last[0, 1, 0, 0].item() == pytest.approx(1e-9 * math.exp(-1e-3 * 16 * 2), rel=1e-9)


def test_fourth_order_in_dt():
    orders = slopes(small(solver_points=24, points=24, output_step=1.0), (0.1, 0.05, 0.025))
    assert all(3.8 < order < 4.2 for order in orders)  # measured: 3.98 and 4.00


def test_mass_is_conserved_to_round_off():
    eta = trajectory(small(), frames=21)[:, :, 0]
    mean = eta.mean(dim=(-1, -2))
    assert (mean - mean[:, :1]).abs().max() < 1e-16  # of values of size 0.1


def test_energy_is_conserved_without_the_filter_and_falls_with_it():
    def energy(smoothing):
        eta, u, v = trajectory(small(smoothing=smoothing), frames=5).unbind(dim=2)
        return ((1 + eta) * (u**2 + v**2) / 2 + eta**2 / 2).mean(dim=(-1, -2))

    kept, lost = energy(0.0), energy(2e-6)
    # The cubic term is not free of aliases: 2e-5 measured on 32 points in 2 time units.
    assert ((kept - kept[:, :1]).abs() / kept[:, :1]).max() < 1e-4
    assert (lost[:, -1] < lost[:, 0]).all()


def test_initial_states_are_in_balance():
    solver = small()
    u = solver.initial(np.arange(4))
    waves = solver.waves()
    k_y, k_x = waves.axes
    eta = waves.to_waves(u[:, 0])
    assert (solver.coriolis * u[:, 2] - waves.to_space(1j * k_x * eta)).abs().max() < 1e-14
    assert (solver.coriolis * u[:, 1] + waves.to_space(1j * k_y * eta)).abs().max() < 1e-14
    assert u[:, 0].std(dim=(1, 2), correction=0).numpy() == pytest.approx(0.1, rel=1e-3)


def test_units_and_labels():
    dataset = small()()
    assert list(dataset.data_vars) == ["eta", "u", "v"]
    assert all("units" in dataset[name].attrs for name in dataset.variables if name != "sample")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 0.25, "output_step": 0.5}, r"dt: got 0.25, expected 0\.198 or less, to resolve"),
        ({"coriolis": 0.0}, "coriolis: got 0.0"),
        ({"gravity": -1.0}, "gravity: got -1.0"),
        ({"smoothing": math.inf}, "smoothing: got inf"),
        ({"dt": 0.04}, "output_step: got 0.5, expected a multiple of dt=0.04"),
    ],
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(FieldError, match=message):
        small(**changes)


def test_a_flow_that_is_too_fast_for_the_step_is_told():
    with pytest.raises(FieldError, match=r"dt: got 0.125, expected 0\.0\d* or less, or the sol"):
        small(dt=0.125, gravity=2.0, coriolis=0.5)()
