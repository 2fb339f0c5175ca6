"""Accumulations: differences of running sums, with resets, gaps and noise, all by hand."""

import logging

import numpy as np
import pytest
import xarray as xr

from diffsci.data.canonical.intervals import in_words, seconds
from diffsci.data.catalog import Entry, Source, Variable
from diffsci.data.checks.problems import Report
from diffsci.data.domains.weather import Weather
from diffsci.data.reader import read
from diffsci.errors import DataError
from diffsci.sections import Part
from tests.data import makers

HOURS = 60


def rain(seed=0):
    """Hourly sums over a box; dry at many places, wet at one at least."""
    random = np.random.default_rng(seed)
    sums = random.gamma(0.3, 2, (HOURS, 3, 4)).astype("f4") * (random.random((HOURS, 3, 4)) < 0.5)
    sums[:, 0, 0] += 0.5
    return sums


def running(sums, every=24, first=0):
    """Sums since the last midnight: the value at 00 UTC is that of the whole day."""
    total, made = np.zeros(sums.shape[1:]), []
    for hour, one in enumerate(sums, start=first):
        total = one + (0 if hour % every == 1 else total)
        made.append(total)
    return np.array(made, dtype="f4")


def dataset(values, **changes):
    ds = makers.weather(times=len(values), latitudes=3, longitudes=4, step_hours=1)
    return ds.assign(tp=(ds["t2m"].dims, values, {"units": "mm"} | changes))


def entry(ds, accumulated="running", **changes):
    declared = {"tp": Variable(units="mm", accumulated=accumulated, **changes)}
    return Entry(name="rain", source=Source(data=ds), variables=declared | {"t2m": Variable()})


def opened(ds, part=None, report=None, **changes):
    domain, known = Weather(), entry(ds, **changes)
    if report is None:
        return read(known, domain, part or Part())
    return domain.fields(domain.canonical(ds, known, report), "rain", report)


@pytest.mark.parametrize("resets", [None, "24h"])
def test_running_sums_become_those_of_each_hour(resets):
    sums = rain()
    fields = opened(dataset(running(sums)), resets=resets)
    # Sums of 24 float32 numbers of order 10.
    assert np.allclose(fields.values[0, :, 0], sums[1:], rtol=0, atol=1e-5)
    assert fields.values.min() >= 0 and len(fields.times) == HOURS - 1
    told = fields.channels[0].variable_attributes
    assert (
        told["cell_methods"] == "time: sum (interval: 1 hour)" and fields.channels[0].unit == "mm"
    )


def test_a_part_has_the_sums_of_the_whole():
    ds = dataset(running(rain()))
    whole = opened(ds)
    some = opened(ds, Part(time=("2001-01-02T00", "2001-01-02T05")))
    at = list(whole.times).index(some.times[0])
    assert np.array_equal(some.values[0], whole.values[0, at : at + 6])
    one = opened(ds, Part(time=("2001-01-02T01", "2001-01-02T01")))
    assert np.array_equal(one.values[0, 0], whole.values[0, at + 1])


def test_a_time_after_a_gap_is_left_out(caplog):
    sums = rain()
    ds = dataset(running(sums)).isel(time=[*range(10), *range(13, HOURS)])
    with caplog.at_level(logging.INFO, logger="diffsci"):
        fields = opened(ds)
    assert "the first time, and 1 after gaps, is left out" in caplog.text
    kept = [*range(1, 10), *range(14, HOURS)]
    assert np.allclose(fields.values[0, :, 0], sums[kept], rtol=0, atol=1e-5)
    assert fields.breaks.sum() == 1 and fields.breaks[9]


def test_resets_that_rain_hides_are_declared():
    """After a dry day a downpour: the new sum exceeds the old one everywhere."""
    sums = np.full((HOURS, 3, 4), 0.01, dtype="f4")
    sums[25] = 9.0
    hidden = opened(dataset(running(sums)))
    assert not np.allclose(hidden.values[0, 24, 0], 9.0)
    declared = opened(dataset(running(sums)), resets="24h")
    assert np.allclose(declared.values[0, :, 0], sums[1:], rtol=0, atol=1e-5)


def test_noise_of_packing_is_named_and_counts_as_nothing():
    sums = rain()
    values = running(sums)
    values[30:40, 1, 1] = values[30, 1, 1] + 1e-3 * (-1) ** np.arange(10)
    problems = []
    fields = opened(dataset(values), report=Report("rain", problems))
    (noise,) = [problem for problem in problems if problem.code == "noise"]
    assert noise.warning and noise.variable == "tp"
    assert "falls by up to 0.002 there" in noise.value and "time=2001-01-02T07" in noise.coordinate
    assert (fields.values[0, :, 0] >= 0).all()


def test_a_fall_where_none_may_be_is_refused():
    values = running(rain())
    values[30] *= 0.2
    with pytest.raises(DataError, match=r"time=2001-01-02T06.*falls by .* where `resets:` says"):
        opened(dataset(values), resets="24h")


def test_sums_over_an_interval_stay_as_they_are_and_say_so():
    sums = rain()
    fields = opened(dataset(sums), accumulated="1h")
    assert np.array_equal(fields.values[0, :, 0], sums)
    told = fields.channels[0].variable_attributes
    assert told["cell_methods"] == "time: sum (interval: 1 hour)"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("accumulated: daily", "accumulated: got 'daily', expected an interval such as 1h, 30min"),
        ("{accumulated: running, resets: 7h}", "resets: got '7h', expected a part of a day"),
        ("{accumulated: 1h, resets: 24h}", "beside `accumulated: running`"),
        ("{accumulated: running, fill: -1}", "fill: got -1, expected none beside"),
        ("transform: log", "transform: got 'log', expected log1p"),
    ],
)
def test_wrong_entries_name_the_key(lines, message, tmp_path):
    from diffsci.data.catalog_file import parse

    body = lines if lines.startswith("{") else f"{{{lines}}}"
    file = tmp_path / "rain.yaml"
    file.write_text(f"source: rain.nc\nvariables:\n  tp: {body}\n")
    with pytest.raises(DataError, match=message):
        parse(file)


def test_intervals_in_words():
    assert [seconds(text) for text in ("1h", "30min", "1d", "0h", "1 month")] == [
        3600, 1800, 86_400, None, None,
    ]  # fmt: skip
    assert [in_words(n) for n in (86_400, 21_600, 1800, 90)] == [
        "1 day", "6 hour", "30 minute", "90 second",
    ]  # fmt: skip


def test_dates_of_other_calendars_begin_anew_at_their_midnight():
    sums = rain()
    times = xr.date_range(
        "2001-02-28T00", periods=HOURS, freq="h", calendar="noleap", use_cftime=True
    )
    fields = opened(dataset(running(sums)).assign_coords(time=times.values), resets="24h")
    assert np.allclose(fields.values[0, :, 0], sums[1:], rtol=0, atol=1e-5)
