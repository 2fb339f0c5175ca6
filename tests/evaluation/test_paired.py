"""Which of two runs is better: on simulated runs of which it is known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from diffsci.errors import StorageError
from diffsci.evaluation import members
from diffsci.evaluation.cases_file import read_cases, write_cases
from diffsci.evaluation.compare import compare
from diffsci.evaluation.paired import differences
from diffsci.evaluation.verdicts import judged, verdict
from tests.evaluation.test_pages import read, run_folder
from tests.evaluation.test_resampling import damped
from tests.evaluation.toys import line, results, table


def run(values, leads=(6.0, 12.0, 18.0), score="crps"):
    """`cases.nc` of a model with these statistics, `[lead, case]`."""
    cases = [f"case {k}" for k in range(values.shape[1])]
    return xr.Dataset(
        {score: (("forecast", "variable", "lead", "case", f"{score}_statistic"),
                 values[None, None, :, :, None])},
        {"forecast": ["model"], "variable": ["t"], "lead": list(leads), "case": cases},
    )  # fmt: skip


def weather(cases=100, correlation=0.8, seed=0):
    """How hard each case is, for both runs alike."""
    hard = damped(cases, correlation, np.random.default_rng(seed))
    return 3 + np.stack([hard, hard, hard])


def test_a_small_difference_shows_where_cases_are_paired():
    random = np.random.default_rng(5)
    one = weather()
    two = one + 0.05 * random.normal(size=one.shape) - np.array([[0.1], [0.0], [-0.1]])
    found = differences(run(one), run(two), "crps")
    assert [d.lead for d in found] == [None, 6, 12, 18]
    assert found[1].decided and found[1].value == pytest.approx(-0.1, abs=0.02)
    assert found[3].decided and found[3].value == pytest.approx(0.1, abs=0.02)
    assert not found[2].decided and not found[0].decided
    told = verdict(found, "one", "two", "h")
    low, high = (f"{100 * abs(found[k].share):.1f}%" for k in (1, 3))
    assert told == (
        f"one better at 18 h by {high} (p < 0.002); two better at 6 h by {low} (p < 0.002); "
        "else not distinguishable"
    )


def test_equal_runs_are_not_distinguishable():
    one = weather()
    found = differences(run(one), run(one), "crps")
    assert all(d.value == d.low == d.high == 0 for d in found)
    assert verdict(found, "a", "b", "h") == "not distinguishable at any lead (100 cases)"


def test_the_share_is_of_the_worse_run_in_either_order():
    one = run(np.full((1, 20), 1.0), (0.0,))
    two = run(np.full((1, 20), 4.0) + np.arange(20) % 2, (0.0,))
    (first,), (second,) = differences(one, two, "crps"), differences(two, one, "crps")
    assert first.share == pytest.approx(3.5 / 4.5) and second.share == -first.share


def test_what_is_less_than_rounding_is_no_difference():
    one = weather()
    found = differences(run(one), run(one * (1 - 1e-7)), "crps")
    assert not any(d.decided for d in found) and all(d.p == 1 for d in found)
    assert all(d.decided for d in differences(run(one), run(one * (1 - 1e-4)), "crps"))


def test_the_share_of_false_verdicts_is_what_it_says():
    """Two runs of the same law, whose differences last: 5 % are taken for different."""
    wrong = 0
    for trial in range(200):
        random = np.random.default_rng(trial)
        one, two = (3 + 0.1 * damped(80, 0.6, random)[None] for _ in range(2))
        (found,) = differences(run(one, (6.0,)), run(two, (6.0,)), "crps")
        wrong += found.decided
    # 0.05 and five standard errors of 0.015.
    assert wrong / 200 < 0.125


def test_roots_are_taken_of_means():
    """RMSE of two runs whose squared errors are 1 and 4 everywhere: 2 - 1."""
    one = run(np.ones((1, 20)), (6.0,), "rmse")
    two = run(np.full((1, 20), 4.0), (6.0,), "rmse")
    (found,) = differences(one, two, "rmse")
    assert found.value == found.low == found.high == 1 and found.share == 1 / 2
    assert verdict([found], "one", "two", "h") == "one better by 50.0% (p < 0.002, 20 cases)"


def test_only_shared_cases_and_leads_are_compared_and_few_are_none():
    one, two = run(weather(30)), run(weather(30))
    found = differences(one.isel(case=slice(0, 20)), two.isel(lead=[0, 2]), "crps")
    assert [d.lead for d in found] == [None, 6, 18] and found[0].cases == 20
    assert differences(one.isel(case=slice(0, 7)), two, "crps") == []
    assert differences(one, two, "rmse") == []


def test_neighbouring_leads_are_joined_in_words():
    one = weather(60)
    leads = np.stack([one[0]] * 5)
    shift = np.array([-1.0, -1.0, 0.0, -1.0, 0.0])[:, None]
    noise = 0.1 * np.random.default_rng(0).normal(size=leads.shape)
    found = differences(
        run(leads, (1.0, 2.0, 3.0, 4.0, 5.0)),
        run(leads + shift + noise, (1.0, 2.0, 3.0, 4.0, 5.0)),
        "crps",
    )
    told = verdict(found, "a", "b", "h")
    shares = sorted(100 * abs(found[k].share) for k in (1, 2, 4))
    assert told.startswith(f"b better at 1-2, 4 h by {shares[0]:.1f}-{shares[2]:.1f}% (p < 0.002)")


def test_cases_come_back_as_they_were_written(tmp_path):
    found = results(line(), leads=(6.0, 12.0), cases=10)
    made = table(found)
    write_cases(tmp_path, made, found.keys)
    first = (tmp_path / "cases.nc").read_bytes()
    again = read_cases(tmp_path)
    assert set(again.data_vars) == {"crps", "rmse", "spread_skill"}  # the histogram is too long
    for word in again.data_vars:
        stored = again[word].sel(forecast="model", variable="air_temperature").values
        assert np.array_equal(stored, made.statistics["model", "air_temperature", word])
    assert again["case"].values.tolist() == list(found.keys)
    write_cases(tmp_path, made, found.keys)
    assert (tmp_path / "cases.nc").read_bytes() == first
    assert read_cases(tmp_path / "nowhere") is None
    (tmp_path / "cases.nc").write_bytes(b"no NetCDF")
    with pytest.raises(StorageError, match="cases.nc: cannot be read"):
        read_cases(tmp_path)


def test_the_page_says_which_is_better(tmp_path):
    one = results(line(), leads=(6.0, 12.0), cases=20)
    worse = {**one.forecasts, "model": one.forecasts["model"] + np.float32(3)}
    two = one.__class__(**{**one.__dict__, "forecasts": worse})
    folders = []
    for name, found in (("good", one), ("bad", two)):
        folders.append(run_folder(tmp_path / name, found, lead_unit="h"))
        write_cases(folders[-1], table(found), found.keys)
    text = "".join(read(compare(folders, tmp_path / "page.html")).text)
    assert "Which is better" in text and "good better at 6-12 h" in text
    (folders[0] / "cases.nc").unlink()
    text = "".join(read(compare(folders, tmp_path / "page.html")).text)
    assert "No verdict on bad against good: cases.nc of good is not there" in text


FEW = {
    "few": (
        lambda ds: ds.isel(case=slice(0, 5)),
        "b against a: not distinguishable, only 5 cases are in both, and at least 8 are needed.",
    ),
    "other cases": (
        lambda ds: ds.assign_coords(case=[f"other {k}" for k in range(20)]),
        "b against a: no verdict, the runs share no case.",
    ),
    "other leads": (
        lambda ds: ds.assign_coords(lead=[1.0, 2.0, 3.0]),
        "b against a: no verdict, the runs share no lead.",
    ),
    "other scores": (
        lambda ds: ds.rename(crps="bias"),
        "b against a: no verdict, none of the scores crps, rmse, ",
    ),
}


@pytest.mark.parametrize("case", FEW)
def test_there_is_a_sentence_where_there_is_no_verdict(case):
    change, told = FEW[case]
    one = run(weather(20))
    text = "".join(judged({"a": one, "b": change(one), "c": one}, "h"))
    assert f"<p>{told}" in text
    # The other run is judged all the same.
    assert "not distinguishable at any lead (20 cases)" in text


def ensembles(count, seed=0, cases=12):
    """`cases.nc` of an ensemble of so many, and the members and truth behind it."""
    found = results(line(), leads=(6.0, 12.0), cases=cases, members=count)
    random = np.random.default_rng(seed)
    noise = random.normal(size=found.model.shape).astype(np.float32)
    return replace(found, forecasts={"model": found.truth[:, None] + noise})


def stored(folder, found, *words):
    folder.mkdir()
    write_cases(folder, table(found, *words), found.keys)
    return read_cases(folder)


def test_rmse_of_unlike_ensembles_is_that_of_all_choices_of_as_many(tmp_path):
    large, small = ensembles(5), ensembles(2, seed=1)
    words = ("rmse", "spread_skill", "vrmse", "crps")
    one, two = (stored(tmp_path / n, e, *words) for n, e in (("l", large), ("s", small)))
    made, same = members.alike(one, two, "rmse")
    chosen = itertools.combinations(range(5), 2)
    picked = [
        stored(tmp_path / f"{pair}", replace(large, forecasts={"model": large.model[:, pair]}),
               "rmse")["rmse"].sel(forecast="model")
        for pair in chosen
    ]  # fmt: skip
    # Members are float32 near 280: squared errors of about 1 are known to some 1e-5.
    assert np.allclose(made, np.mean(picked, axis=0), atol=2e-4)
    assert np.array_equal(same, two["rmse"].sel(forecast="model"))
    text = "".join(judged({"large": one, "small": two}, "h"))
    assert "rmse, as of 2 members each" in text and ">crps<" in text and ">vrmse<" not in text
    assert "no verdict by vrmse: larger ensembles do better by it, and these have 5 and 2" in text
    single = stored(tmp_path / "1", replace(large, forecasts={"model": large.model[:, :1]}), *words)
    text = "".join(
        judged({"large": one, "single": single}, "h", {("air_temperature", "rmse"): "K"})
    )
    assert "no verdict by crps, vrmse: of one member there is no fair score, the CRPS is" in text
    assert "rmse, as of 1 member each" in text and ">crps<" not in text and " K <span" in text
    # Of the same law and made alike, the two are not told apart; as they are, the larger wins.
    (fair, *_), unfair = differences(one, two, "rmse"), two["rmse"].mean() / one["rmse"].mean()
    assert not fair.decided and unfair > 1.15  # (1 + 1/2) / (1 + 1/5) = 1.25 in expectation


def test_unlike_ensembles_without_their_spread_have_no_verdict_by_rmse(tmp_path):
    one, two = (stored(tmp_path / str(n), ensembles(n), "rmse") for n in (5, 2))
    assert differences(one, two, "rmse") == []
    text = "".join(judged({"a": one, "b": two}, "h"))
    assert "b against a: no verdict by rmse: larger ensembles do better by it" in text
    assert "give both the same sample.members" in text
    assert differences(one, one, "rmse")[0].value == 0
