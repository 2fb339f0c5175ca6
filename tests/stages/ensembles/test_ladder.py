"""The ladder of samplers: its rungs, its paired intervals, and which rung is cheap enough."""

import numpy as np
import pytest

from diffsci.diffusion.samplers.dpmpp import DPMpp
from diffsci.errors import ConfigError
from diffsci.grid import Grid
from diffsci.stages.ensembles import ladder
from diffsci.stages.ensembles.ladder import Measured, Rung

GRID = Grid(
    dims=("x",),
    coordinates=(tuple(np.arange(8.0).tolist()),),
    units=("1",),
    boundary=(("open", "open"),),
)


def measured(calls, crps):
    return Measured(
        rung=Rung(name="dpmpp", sampler=DPMpp(steps=calls)),
        crps=np.asarray(crps, dtype=float),
        spread_skill=1.0,
        seconds=1.0,
    )


def test_rungs_never_make_more_calls_than_asked_for_and_none_twice():
    found = ladder.rungs(("heun", "dpmpp", "ddim"), (3, 4, 8))
    assert [(rung.name, rung.calls) for rung in found] == [
        ("heun", 2), ("heun", 4), ("heun", 8),  # two calls a step: of 3 calls it makes 2
        ("dpmpp", 3), ("dpmpp", 4), ("dpmpp", 8), ("ddim", 3), ("ddim", 4), ("ddim", 8),
    ]  # fmt: skip
    assert {rung.key for rung in found} == {f"{r.name}-{r.calls}" for r in found}


def test_a_plain_sampler_builds_the_same_again():
    from diffsci import families

    for rung in ladder.rungs(families.names("samplers"), (8,)):
        told = {key: value for key, value in rung.plain.items() if key != "use"}
        assert families.load("samplers", rung.plain["use"])(**told) == rung.sampler


def test_what_is_no_ladder_is_refused():
    with pytest.raises(ConfigError, match="--samplers hun: no such sampler; did you mean 'heun'"):
        ladder.rungs(("hun",), (4,))
    with pytest.raises(ConfigError, match="--calls 1: no sampler makes so few"):
        ladder.rungs(("heun",), (1,))


def test_a_shared_difficulty_cancels_in_the_interval():
    """Cases differ a hundredfold, and one rung is 0.5 % worse in each: the interval is a point."""
    hard = np.geomspace(1, 100, 20)
    best, other = ladder.compared([measured(8, hard), measured(4, 1.005 * hard)])
    assert (best.excess, best.low, best.high) == (0, 0, 0)
    np.testing.assert_allclose([other.excess, other.low, other.high], 0.005, rtol=1e-9)


def test_the_interval_is_that_of_the_mean_difference():
    """Differences of N(0, s): ends at 1.645 s / sqrt(n), within the bootstrap's own error."""
    count, s = 2000, 0.2
    noise = np.random.default_rng(2).normal(0, s, count)
    noise -= noise.mean() - 0.01
    _, other = ladder.compared([measured(8, np.ones(count)), measured(4, 1 + noise)])
    half = 1.645 * noise.std() / np.sqrt(count)
    assert abs(other.excess - 0.01) < 1e-12
    # 1000 resamples leave some 6 % of a quantile's distance from the middle.
    np.testing.assert_allclose([other.low, other.high], [0.01 - half, 0.01 + half], atol=0.1 * half)


def test_the_cheapest_is_one_that_is_surely_within_the_tolerance():
    ones = np.ones(16)
    wild = 1.001 + 0.2 * np.tile([1, -1], 8)  # in the mean as good as the best, but who knows
    rungs = [measured(4, wild), measured(8, 1.005 * ones), measured(16, ones), measured(32, ones)]
    found = ladder.compared(rungs)
    assert ladder.cheapest(found, 0.01).measured.rung.calls == 8
    assert ladder.cheapest(found, 0.001).measured.rung.calls == 16
    assert ladder.cheapest(found, 0.5).measured.rung.calls == 4


def test_scores_are_those_of_the_report_in_units_of_the_truths_spread():
    """Members of the truth's own law: the CRPS of a normal is 1 / sqrt(pi) of its std, SSR is 1."""
    draws = np.random.default_rng(3)
    truth = draws.normal(280, 5, (400, 1, 1, 8)).astype("f4")
    members = draws.normal(280, 5, (400, 6, 1, 1, 8)).astype("f4")
    rung = Rung(name="dpmpp", sampler=DPMpp(steps=4))
    found = ladder.scored(rung, members, truth, GRID, 1.0)
    # 3200 points of standard deviation 0.5 or so: four standard errors
    assert abs(found.mean - 1 / np.sqrt(np.pi)) < 4 * 0.5 / np.sqrt(3200)
    assert abs(found.spread_skill - 1) < 4 / np.sqrt(2 * 3200)
