"""Valid ranges: what a file declares to be outside of them is missing, and nothing else is."""

import numpy as np
import pytest
import xarray as xr

import diffsci
from diffsci.data import ranges, reader
from diffsci.data.catalog import Entry, Source
from diffsci.data.checks import preflight
from diffsci.data.domains.weather import Weather
from diffsci.data.prepared import preparing
from diffsci.data.prepared.blocks import Plan
from diffsci.data.prepared.holding import held
from diffsci.errors import DataError
from diffsci.sections import Part
from tests.data import makers
from tests.data.test_archives import entry, file, opened

RANDOM = np.random.default_rng(0)
MOVING = "source: ../a.nc\nvariables: {t: {missing: moving}}\n"


def packed(path, numbers, told):
    """A variable of packed integers, as its file holds them."""
    ds = makers.weather(times=4, latitudes=3, longitudes=5)
    made = xr.DataArray(numbers, dims=ds["t2m"].dims, attrs={"units": "K", **told})
    ds.drop_vars("t2m").assign(t=made).to_netcdf(path)


CASES = [
    # Of packed integers an integer range is one of the packed numbers, ends included.
    ("i2", {"scale_factor": 0.01, "add_offset": 280.0, "valid_range": np.array([-99, 99], "i2")},
     lambda n: abs(n) <= 99),
    # A range as floats is one of the values.
    ("i2", {"scale_factor": np.float32(0.01), "valid_range": np.array([-0.99, 0.99], "f4")},
     lambda n: abs(n) <= 99),
    # Steps that go down turn the range round.
    ("i2", {"scale_factor": -0.5, "valid_min": np.int16(-99)}, lambda n: n >= -99),
    # Unsigned bytes in a file that knows no such: 250 is written as -6.
    ("i1", {"_Unsigned": "true", "scale_factor": 0.4, "valid_range": np.array([0, -6], "i1")},
     lambda n: n.view("u1") <= 250),
    ("i4", {"valid_max": np.int32(99)}, lambda n: n <= 99),
    # What the type cannot exceed, words, and NaN bound nothing.
    ("i2", {"scale_factor": 0.1, "valid_range": np.array([-32768, 32767], "i2")}, lambda n: n == n),
    ("i2", {"scale_factor": 0.1, "valid_range": "-9.9 to 9.9"}, lambda n: n == n),
    ("i2", {"scale_factor": 0.1, "valid_min": np.nan}, lambda n: n == n),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "told", "valid"), CASES)
def test_what_is_outside_is_missing(kind, told, valid, tmp_path):
    most = min(200, np.iinfo(kind).max)
    numbers = RANDOM.integers(-most, most, (4, 3, 5)).astype(kind)
    numbers[:3, 0, :2] = [[-99, -100], [99, 100], [-6, -5]]
    packed(tmp_path / "a.nc", numbers, told)
    found = opened(MOVING, tmp_path)["t"].values
    assert np.array_equal(np.isfinite(found), valid(numbers))
    with xr.open_dataset(tmp_path / "a.nc") as plain:  # It unpacks, and masks nothing.
        exact = plain["t"].values
    assert np.array_equal(found[valid(numbers)], exact[valid(numbers)])


def test_bounds_are_valid_in_whatever_precision_they_are_kept(tmp_path):
    """-1.8 is another number in float32 than in float64: 5e-8 of it."""
    for kind, other in (("f4", "f8"), ("f8", "f4")):
        values = np.full((4, 3, 5), -1.8, kind)
        values[0, 0] = [-1.81, 45, 45.01, np.inf, 3]
        packed(tmp_path / "a.nc", values, {"valid_range": np.array([-1.8, 45], other)})
        found = ranges.masked(xr.open_dataset(tmp_path / "a.nc"), Entry(name="a", source=Source()))
        lost = np.isnan(found["t"].values)
        assert lost.sum() == 2 and lost[0, 0].tolist() == [True, False, True, False, False]
        found.close()


def test_undeclared_gaps_of_a_range_are_told_with_it(tmp_path):
    numbers = RANDOM.integers(-90, 90, (4, 3, 5)).astype("i2")
    numbers[1, 2, 3] = numbers[2, 2, 3] = 30000
    packed(tmp_path / "a.nc", numbers, {"valid_max": np.int16(100)})
    (problem,) = preflight.check_entry(str(tmp_path / "a.nc"))
    assert problem.code == "nan" and problem.value.startswith("2 of 60 values are NaN")
    assert "outside the file's valid range, -inf to 100" in problem.value
    assert "`missing: moving`" in problem.fix and "`valid_range: [LOW, HIGH]`" in problem.fix
    told = "source: ../a.nc\nvariables: {t: {valid_range: [-1e5, 1e5]}}\n".replace("1e5", "1.0e+5")
    assert opened(told, tmp_path)["t"].values.max() == 30000
    told = "source: ../a.nc\nvariables: {t: {valid_range: [-50, 50], missing: moving}}\n"
    assert np.array_equal(np.isnan(opened(told, tmp_path)["t"]), abs(numbers) > 50)
    told = told.replace("moving", "static")
    (problem,) = preflight.check_entry(str(entry(told, tmp_path)))
    assert problem.code == "mask-moves" and "-50 to 50" in problem.value


@pytest.mark.parametrize("value", ["[1, 1]", "[2, 1]", "[1]", "5", "[a, b]", "[1, true]"])
def test_ranges_that_are_none_are_refused(value, tmp_path):
    path = entry(f"source: ../a.nc\nvariables: {{t: {{valid_range: {value}}}}}\n", tmp_path)
    with pytest.raises(DataError, match=r"mine.yaml.*variables.t.valid_range"):
        diffsci.open_data(path)


def test_a_range_is_kept_wherever_values_are_read(tmp_path):
    """In memory, on disk, joined from files that pack differently, prepared, and from Python."""
    values = RANDOM.normal(size=(8, 3, 5)).round(2)
    for number in range(2):
        part = np.arange(4 * number, 4 * number + 4)
        scale = 0.01 * (1 + number)
        told = {"dtype": "i2", "units": "K", "scale_factor": scale, "add_offset": 1.0,
                "valid_range": np.array([-99 - 1e2, 99 - 1e2]) / (1 + number)}  # fmt: skip
        told["valid_range"] = np.round(told["valid_range"]).astype("i2")
        time = (("time",), part.astype("f8"), {"units": "days since 2000-01-01"})
        file(
            tmp_path / f"{number}.nc", {"time": 4, "lat": 3, "lon": 5},
            {"time": time, "lat": (("lat",), np.arange(40.0, 43), {"units": "degrees_north"}),
             "lon": (("lon",), np.arange(5.0), {"units": "degrees_east"})},
            t=(("time", "lat", "lon"), values[part], told),
        )  # fmt: skip
    path = entry(MOVING.replace("a.nc", "*.nc"), tmp_path)
    whole = reader.read(str(path), Weather(), Part())
    packed_values = [xr.open_dataset(tmp_path / f"{n}.nc")["t"] for n in range(2)]
    exact = np.concatenate([part.values for part in packed_values])
    lost = np.isnan(whole.values[0, :, 0])
    assert 0 < lost.sum() < lost.size and np.array_equal(lost, np.abs(exact) > 0.995)
    assert held(str(path), Weather(), Part(), memory=1).digest == whole.digest
    found = reader.load_entry(str(path))
    plan = Plan(entry=found, domain=Weather(), target=tmp_path / "p.zarr")
    again = reader.read(str(preparing.prepare(plan)), Weather(), Part())
    assert again.digest == whole.digest
    with xr.open_dataset(tmp_path / "0.nc") as one, pytest.raises(DataError, match="valid range"):
        reader.read(Entry(name="a", source=Source(data=one)), Weather(), Part())
    for part in packed_values:
        part.close()
