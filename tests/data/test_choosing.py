"""Which variables of a data set are taken, and what is told of those that cannot be."""

import numpy as np
import pytest

from diffsci.data.checks import preflight
from diffsci.data.domains.weather import Weather
from tests.data import makers


@pytest.mark.parametrize(
    ("kind", "named", "fix"),
    [("?", "bool", "as 0 and 1"), ("U", "text", "write it as numbers")],
)
def test_fields_that_are_no_numbers_are_told_by_their_type_alone(kind, named, fix, tmp_path):
    """Their dims are as they should be: a `rename:` would lead nowhere."""
    ds = makers.weather()
    ds = ds.assign(t2m=(ds["t2m"] > 280).astype(kind), u10=ds["t2m"].astype(kind))
    ds.to_netcdf(tmp_path / "a.nc")
    found = preflight.check_entry(str(tmp_path / "a.nc"), Weather())
    assert [(p.code, p.variable) for p in found] == [("not-numeric", "t2m"), ("not-numeric", "u10")]
    assert all(named in p.value and fix in p.fix for p in found)


def test_yes_and_no_are_1_and_0_where_the_entry_says_so(tmp_path):
    from diffsci.data import reader
    from diffsci.sections import Part

    ds = makers.weather()
    wanted = ds["t2m"].values > 280
    ds.assign(t2m=(ds["t2m"] > 280).assign_attrs(units="1")).to_netcdf(tmp_path / "a.nc")
    text = "domain: weather\nsource: a.nc\nvariables: {t2m: {units: '1'}}\n"
    (tmp_path / "e.yaml").write_text(text)
    fields = reader.read(str(tmp_path / "e.yaml"), Weather(), Part())
    assert np.array_equal(fields.values[0, :, 0], wanted.astype(np.float32))


def test_names_that_differ_by_case_alone_are_taken_where_the_entry_names_them(tmp_path):
    ds = makers.weather()
    ds["T2M"] = (ds["t2m"] * 1.01).assign_attrs(units="K")
    ds.to_netcdf(tmp_path / "a.nc")
    text = "domain: weather\nsource: a.nc\nvariables: {t2m: {}, T2M: {}}\n"
    (tmp_path / "e.yaml").write_text(text)
    assert preflight.check_entry(str(tmp_path / "e.yaml")) == []
    (problem,) = preflight.check_entry(str(tmp_path / "a.nc"))
    assert (problem.code, problem.variable) == ("case", "T2M")
    assert "t2m and T2M differ by case alone" in problem.value


def test_no_advice_that_does_not_help_is_given_for_infinities(tmp_path):
    """A gap by declaration may be NaN, never an infinity."""
    ds = makers.weather()
    ds["t2m"][2, 3, 4] = np.inf
    ds["t2m"][3, 3, 4] = np.nan
    ds.to_netcdf(tmp_path / "a.nc")
    text = "domain: weather\nsource: a.nc\nvariables: {t2m: {units: K, missing: moving}}\n"
    (tmp_path / "e.yaml").write_text(text)
    (problem,) = preflight.check_entry(str(tmp_path / "e.yaml"))
    assert problem.value.startswith("1 of 504 values are infinite, or beyond 3.4e+38")
    assert "missing:" not in problem.fix
    (both,) = preflight.check_entry(str(tmp_path / "a.nc"))
    assert "2 of 504 values are no numbers (1 NaN, 1 infinite, or beyond 3.4e+38" in both.value
