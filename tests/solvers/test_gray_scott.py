"""Gray-Scott: diffusion and feed by hand, the order, bounds, and that it never stands still."""

import math

import numpy as np
import pytest
import torch

from diffsci.errors import FieldError, NumericsError
from diffsci.solvers.gray_scott import GrayScott
from tests.solvers.orders import slopes, trajectory


def small(**changes):
    values = {"solver_points": 32, "points": 32, "trajectories": 2, "frames": 3}
    return GrayScott(**(values | changes))


def test_diffusion_is_solved_to_round_off():
    """Without feed, removal and B, a wave of A decays as exp(-2e-5 k^2 t); one of B does beside."""
    solver = small(feed=(0.0,), kill=(0.0,), dt=4.0)
    x = torch.arange(32, dtype=torch.float64) / 32
    wave = torch.cos(2 * math.pi * 3 * x).expand(32, 32)
    none = torch.zeros_like(wave)
    rates = {name: torch.zeros(2, dtype=torch.float64) for name in ("feed", "kill")}
    u = torch.stack([torch.stack([1 + wave, none]), torch.stack([none, 1 + wave])])
    last = solver.integrate(u, frames=6, parameters=rates)[:, -1]
    for number, diffusivity in enumerate((2e-5, 1e-5)):
        exact = 1 + math.exp(-diffusivity * (6 * math.pi) ** 2 * 200) * wave
        assert (last[number, number] - exact).abs().max() < 1e-13
        assert last[number, 1 - number].abs().max() < 1e-15


def test_without_b_the_feed_fills_up_a():
    """1 - A decays as exp(-feed t), by RK4's own error (0.018)^5 / 120 a step."""
    solver = small(dt=1.0)
    u = torch.zeros(2, 2, 32, 32, dtype=torch.float64)
    rates = {"feed": torch.tensor([0.014, 0.018]).double(), "kill": torch.tensor([0.05] * 2)}
    last = solver.integrate(u, frames=2, parameters=rates)[:, 1, 0, 5, 5]
    assert (last - (1 - torch.exp(-40 * rates["feed"]))).abs().max() < 1e-9


def test_fourth_order_in_dt():
    orders = slopes(small(output_step=40.0), (2.0, 1.0, 0.5))
    assert all(3.8 < order < 4.2 for order in orders)  # measured: 3.94 and 3.97


def test_states_stay_within_bounds_and_go_on_changing():
    """Each parameter once: concentrations from 0 to 1 but for the ringing of cut-off waves."""
    dataset = GrayScott(trajectories=4, frames=3)()
    for name in ("A", "B"):
        values = dataset[name].values.astype(np.float64)
        assert values.min() > -0.02 and values.max() < 1.02
        change = np.sqrt(((values[:, 1:] - values[:, :-1]) ** 2).mean(axis=(2, 3)))
        spread = values[:, 1:].std(axis=(2, 3))
        # Persistence from frame to frame: 0.30 to 0.53 of the spread later on, more at first.
        assert (change / spread > 0.2).all()


@pytest.mark.slow
@pytest.mark.parametrize("rates", [(0.0202, 0.0522), (0.016, 0.0525), (0.0164, 0.0522)])
def test_it_stays_alive_to_the_end(rates):
    dataset = GrayScott(trajectories=8, feed=rates[:1], kill=rates[1:])()
    values = dataset["B"].values.astype(np.float64)
    change = np.sqrt(((values[:, 1:] - values[:, :-1]) ** 2).mean(axis=(2, 3)))
    assert (change / values[:, 1:].std(axis=(2, 3)) > 0.1).all()
    assert values.min() > -0.02 and values.max() < 1.02


def test_parameters_go_round():
    solver = small(trajectories=9, frames=2, feed=(0.014, 0.018), kill=(0.054, 0.051), spin_up=0.0)
    dataset = solver()
    assert dataset["feed"].values == pytest.approx([0.014, 0.018] * 4 + [0.014])
    assert dataset["kill"].values == pytest.approx([0.054, 0.051] * 4 + [0.054])
    assert dataset["feed"].dims == ("sample",) and dataset.time.attrs["units"] == "s"
    # The first frame is before any reaction: the same whatever the rates.
    other = small(trajectories=9, frames=2, feed=(0.02,), kill=(0.05,), spin_up=0.0)()
    assert np.array_equal(dataset["A"].values[:, 0], other["A"].values[:, 0])
    assert not np.array_equal(dataset["A"].values[:, 1], other["A"].values[:, 1])


def test_blobs_are_periodic_and_within_bounds():
    u = trajectory(small(solver_points=64), frames=1, count=20)[:, 0]
    assert u.min() >= 0 and u.max() <= 1
    assert (u[:, 0].amin(dim=(1, 2)) < 0.6).all() and (u[:, 1].amax(dim=(1, 2)) > 0.2).all()
    # No seam: the step across the edge is no larger than the largest inside.
    seam = (u[..., 0] - u[..., -1]).abs().max()
    assert seam <= (u[..., 1:] - u[..., :-1]).abs().max()


def test_a_solution_that_grows_without_bound_is_told():
    with pytest.raises(NumericsError, match=r"gray_scott: the solution grows .* dt=40 with"):
        small(dt=40.0, spin_up=0.0, frames=60, trajectories=1)()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feed": ()}, r"feed: got \[\], expected rates"),
        ({"kill": (0.05, -0.1)}, r"kill: got \[0.05, -0.1\]"),
        ({"kill": (0.05,)}, r"kill: got \[0.05\], expected as many as feed, 4"),
    ],
)
def test_bad_values_are_refused(changes, message):
    with pytest.raises(FieldError, match=message):
        small(**changes)
