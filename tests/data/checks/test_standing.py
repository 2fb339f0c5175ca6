"""What stays as it is at all times is told before a run stops on it, all of it in one pass."""

import numpy as np
import pytest

from diffsci import checking
from diffsci.data.checks import preflight, standing
from diffsci.data.checks.problems import Report
from diffsci.data.domains.weather import Weather
from diffsci.data.fitting import fit_statistics
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.generate import Generate
from diffsci.errors import DataError
from diffsci.sections import Part
from tests.data import makers

WRF = """name: wrf
data:
  source: a.nc
  domain: weather
  task: {use: forecast}
  split: {train: {share: [0, 0.7]}, test: {share: [0.75, 1]}}
model: unet_small
train: {steps: 1}
"""


def wrf(folder):
    """Temperatures, with ground that is written at all times; a gap, which is a fault too."""
    ds = makers.weather(times=20)
    random = np.random.default_rng(0)
    for name in ("LU_INDEX", "XLAND"):
        kinds = ds["t2m"] * 0 + random.integers(1, 9, ds["t2m"].shape[1:])
        ds[name] = kinds.assign_attrs(units="1")
    ds["t2m"][3, 2, 1] = np.nan
    ds.to_netcdf(folder / "a.nc")
    return folder / "a.nc"


def told(problems):
    return {(p.code, p.variable) for p in problems}


ALL = {("nan", "t2m"), ("constant", "LU_INDEX"), ("constant", "XLAND")}


def test_ground_at_all_times_is_told_with_all_other_faults(tmp_path, monkeypatch):
    path = wrf(tmp_path)
    found = preflight.check_entry(str(path))
    assert told(found) == ALL
    assert all("leave it out by `variables:`" in p.fix for p in found if p.code == "constant")
    (tmp_path / "wrf.yaml").write_text(WRF)
    monkeypatch.chdir(tmp_path)
    assert told(checking.check(("wrf.yaml",))) == ALL


@pytest.mark.parametrize(
    "task",
    [
        Forecast(),
        Forecast(learn="residual"),
        Forecast(learn="innovation", history=2),
        Forecast(learn="state"),
        Downscale(),
        Generate(),
    ],
)
@pytest.mark.parametrize("kind", ["states", "times"])
def test_it_is_a_fault_where_a_run_stops_on_it_and_a_warning_elsewhere(task, kind):
    """`varies_by` says what `fit_statistics` does, which refuses all such channels by name."""
    values = makers.fields(space=(8, 8)).values.copy()
    count = values.shape[2]
    values[:, :, :2] = values[:1, :1, :2] if kind == "states" else values[:, :1, :2]
    fields = makers.fields(values=values, space=(8, 8))
    assert standing.of_fields(fields) == [kind, kind, *[""] * (count - 2)]
    problems = []
    report = Report("a", problems)
    standing.tell([("u0", kind)], task.varies_by, report)
    stops = not problems[0].warning
    assert stops == (problems[0].code == "constant")
    if stops:
        with pytest.raises(DataError, match="variables u0, u1 have nothing to sample.*variables:"):
            fit_statistics(fields, task)
    else:
        fit_statistics(fields, task)


def test_only_what_is_learnt_from_is_looked_at(tmp_path):
    path = str(wrf(tmp_path))
    late = Part(time=("2001-01-03", "2001-01-05"))
    assert told(preflight.check_part(path, Weather(), late)) == set()
    assert told(preflight.check_part(path, Weather(), late, learnt="times")) == ALL - {
        ("nan", "t2m")
    }
    assert {p.code for p in preflight.check_part(path, Weather(), late, learnt="values")} == {
        "still"
    }


def test_what_a_field_is_the_same_at():
    a, b = np.arange(6.0).reshape(1, 6), np.arange(6.0)[::-1].reshape(1, 6)
    gap = np.where(a == 2, np.nan, a)
    assert standing.stands([[a, a], [a]]) == "states"
    assert standing.stands([[gap, gap]]) == "states"
    assert standing.stands([[a, a], [b, b]]) == "times"
    assert standing.stands([[a, a], [b, a]]) == ""
    assert standing.stands([[a], [b]]) == ""  # One time each: nothing could have moved.
    assert standing.stands([[a]]) == ""
    assert standing.stands([[a, gap]]) == ""
    assert standing.stands([[a * np.nan, a * np.nan]]) == ""  # Told as NaN.
