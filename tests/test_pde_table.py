"""The scores of benchmarks/pde_table.py on fields whose scores are known."""

import math

import numpy as np
import pytest

from benchmarks import _pde_scores as of
from benchmarks import _pde_seeds, _pde_words

X = 2 * math.pi * np.arange(32) / 32


def test_a_wave_that_runs_away_is_followed_until_its_cosine_is_the_level():
    """sin(x - c t) and sin(x - c' t) correlate as cos((c - c') t)."""
    leads = np.linspace(0.01, 1, 100)
    truth = np.stack([np.sin(X) for _ in leads])[None, :, None]
    off = [np.stack([np.sin(X - c * t) for t in leads])[:, None] for c in (1.0, 2.0)]
    found = of.times(np.stack(off)[None].repeat(3, 0), truth.repeat(3, 0), tuple(leads))
    exact = [math.acos(0.8) / c for c in (1.0, 2.0)]
    # The mean over members of each one's time; linear between leads 0.01 apart.
    assert found["time"] == pytest.approx(np.mean(exact), abs=1e-3)
    assert found["time_error"] == 0
    # The mean of both is 2 cos(t / 2) sin(x - 1.5 t): its own correlation is cos(1.5 t).
    assert found["time_of_mean"] == pytest.approx(math.acos(0.8) / 1.5, abs=1e-3)


def test_twice_the_field_has_four_times_the_power_in_all_bands():
    truth = np.random.default_rng(0).standard_normal((2, 3, 1, 32))
    assert of.bands(2 * truth[:, None], truth, slice(None)) == pytest.approx([math.log(4)] * 3)
    assert of.bias_of_power(2 * truth[:, None], truth, slice(None)) == pytest.approx(3)


def test_flow_and_gradient():
    """Of the stream function sin x cos 2y the flow has no divergence, the gradient nothing else."""
    y, x = X[:, None], X[None, :]
    slope_x, slope_y = np.cos(x) * np.cos(2 * y), -2 * np.sin(x) * np.sin(2 * y)
    flow = np.stack([-slope_y, slope_x])
    assert of.divergence(flow) < 1e-28
    assert of.divergence(np.stack([slope_x, slope_y])) == pytest.approx(1)
    # v_x - u_y is the Laplacian, -5 times the stream function.
    assert np.allclose(of.vorticity(flow)[0], -5 * np.sin(x) * np.cos(2 * y), atol=1e-12)


def test_mass_that_is_added_is_found_in_deviations():
    given = np.stack([np.sin(X)[None] * np.ones((32, 1))] * 3)[None]
    members = np.repeat(given[:, None, None], 4, axis=2).copy()
    members[:, :, 3, 0] += 0.1
    assert of.mass_error(members, given) == pytest.approx(0.1 / math.sqrt(0.5))


def test_an_ensemble_of_normal_numbers_is_reliable_and_vrmse_is_one_of_the_mean():
    random = np.random.default_rng(0)
    members, truth = (
        random.standard_normal((400, 8, 1, 1, 64)),
        random.standard_normal((400, 1, 1, 64)),
    )
    found = of.ensemble(members, truth, 0)
    assert found["ssr"] == pytest.approx(1, abs=0.02)
    assert found["crps"] == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)
    # The mean of truth itself as forecast: the biased variance over Bessel's.
    flat = truth.mean(axis=-1, keepdims=True)[:, None] * np.ones(64)
    assert of.vrmse(flat, truth, 0).mean() == pytest.approx(math.sqrt(63 / 64), rel=1e-6)


def test_residuals_that_are_the_same_everywhere_move_the_forecast_by_them():
    residuals = np.arange(1.0, 5)[:, None, None, None] * np.ones((4, 2, 1, 8))
    made = of.dressed(np.zeros((3, 1, 2, 1, 8)), residuals, members=4)
    assert np.array_equal(np.sort(made, axis=1)[:, :, 0, 0, 0], np.tile(np.arange(1.0, 5), (3, 1)))
    assert (made == made[..., :1, :1]).all()


def _training(time: float, late: float, calls: bool = True) -> dict[str, object]:
    row = {"time": time, "time_error": 1.0, "time_of_curve": time, "vrmse_1": [late / 10]}
    row |= {"vrmse_20": [late], "at": {"0.8": {"crps": late, "ssr": math.nan}}, "bands": [0.1] * 3}
    rows = {"equation on 8 points": {**row, "ms_a_step": late}, "own": dict(row)}
    rows["own, dressed"] = dict(row)
    if calls:
        rows["own"] |= {"calls": 1, "ms_a_step": 0.5}
    return {"problem": "kuramoto_sivashinsky", "step": 0.8, "rows": rows}


def test_trainings_of_several_seeds_are_one_row_of_medians_and_other_rows_stay():
    made = _pde_seeds.merged([_training(3.0, 0.4), _training(5.0, 0.1), _training(4.0, 0.3)])
    for name in ("own", "own, dressed"):
        row = made["rows"][name]
        assert (row["time"], row["time_range"], row["trainings"]) == (4.0, [3.0, 5.0], 3)
        assert row["vrmse_20"] == [0.3]
        assert row["at"]["0.8"]["crps"] == 0.3
        assert math.isnan(row["at"]["0.8"]["ssr"])
    assert made["rows"]["equation on 8 points"]["time"] == 3.0
    assert "time_range" not in made["rows"]["equation on 8 points"]
    table = list(_pde_words.lines(made, {"own": 60.0}))
    assert any("4.0 +- 1.0 (3.0 to 5.0)" in line for line in table)


def test_a_single_training_is_told_as_it_is():
    alone = _training(3.0, 0.4)
    assert _pde_seeds.merged([alone])["rows"] is not alone["rows"]
    assert repr(_pde_seeds.merged([alone])) == repr(alone)
