"""Axes that a file gives otherwise: a single lead, places over two dims, dims without a meaning."""

import numpy as np
import pytest
import xarray as xr

from diffsci.errors import ConfigError, DataError
from diffsci.evaluation.blocks import whole
from diffsci.evaluation.scores.crps import crps
from diffsci.stages.scores.aligning import align
from diffsci.stages.scores.standalone import score
from tests.stages.scores.test_standalone import HOUR, analysis, ensemble

NAME = "2m_temperature"
LEAD = "prediction_timedelta"
TRUTH = analysis()
MADE = ensemble(TRUTH)
LATE = MADE.isel({LEAD: [1]})


def rows(forecast, truth=TRUTH, **options):
    return score(forecast, truth, scores=["crps"], **options).rows


def gencast(ds):
    """Dims batch and time, of leads, and the valid time of each."""
    dated = ds.assign_coords(datetime=ds.time + ds[LEAD]).drop_vars("time")
    return dated.rename(time="batch", number="sample").rename({LEAD: "time"})


SINGLE = {
    "scalar": lambda ds: ds.isel({LEAD: 0}),
    "cfgrib": lambda ds: ds.isel({LEAD: 0}).rename({LEAD: "step"}).assign_coords(
        valid_time=ds.time + 6 * HOUR
    ),
    "hours": lambda ds: ds.isel({LEAD: 0}, drop=True).assign_coords(step=((), 6, {"units": "h"})),
    "valid": lambda ds: ds.isel({LEAD: 0}, drop=True).assign_coords(
        valid_time=ds.time + 6 * HOUR
    ),
    "gencast": lambda ds: gencast(ds).isel(time=0),
}  # fmt: skip


@pytest.mark.parametrize("layout", SINGLE)
def test_a_single_lead_is_read_however_it_is_given(layout):
    """A selection leaves it as a scalar: values are of six hours after the start."""
    made = SINGLE[layout](LATE)
    assert rows(made) == rows(LATE)
    assert align(made, TRUTH).leads == (6.0,)
    assert rows(LATE, baselines={"b": made}) == rows(LATE, baselines={"b": LATE})


def test_a_single_lead_of_the_truth_is_read():
    true = ensemble(TRUTH, members=1).isel(number=0, drop=True)
    shifted = TRUTH.isel(time=slice(6, None)).assign_coords(time=TRUTH.time.values[:-6])
    assert rows(MADE, shifted.assign_coords(step=6 * HOUR)) == rows(
        MADE, TRUTH.isel(time=slice(6, None))
    )
    laid_out = rows(LATE, true.isel({LEAD: [1]}))
    assert rows(LATE, true.isel({LEAD: 1})) == laid_out


def test_a_single_start_of_gencast_keeps_it():
    """After a selection of one batch `datetime` has the valid times alone."""
    made = gencast(MADE)
    for case in range(3):
        want = rows(MADE.isel(time=[case]))
        assert rows(made.isel(batch=case)) == rows(made.isel(batch=[case])) == want
    single = MADE.isel(time=[2], prediction_timedelta=[0])
    assert rows(made.isel(batch=2, time=0)) == rows(single)


def test_an_axis_of_one_item_reads_nothing(tmp_path):
    """An axis is added as a coordinate: no value is read for it."""
    MADE.isel(time=0, prediction_timedelta=0).to_zarr(tmp_path / "made.zarr", consolidated=False)
    found = align(tmp_path / "made.zarr", TRUTH)
    values = MADE[NAME].values[0, :, 0]
    assert np.array_equal(whole(found.forecasts["model"])[0, :, 0, 0], values)
    assert found.keys == ("2021-03-01T03:00:00",)


def curved(ds, start=50.0):
    """On a grid that is turned by a little, with an area of each cell."""
    y, x = np.meshgrid(np.arange(3.0), np.arange(4.0), indexing="ij")
    ds = ds.drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x")
    return ds.assign_coords(
        lat=(("y", "x"), start + y + 0.1 * x, {"units": "degrees_north"}),
        lon=(("y", "x"), x - 0.1 * y, {"units": "degrees_east"}),
        cell_area=(("y", "x"), 1 + y + x),
    )


def test_projected_and_curvilinear_grids_are_scored_by_the_areas_of_their_cells():
    true, made = curved(TRUTH), curved(MADE)
    wanted = MADE[NAME].values.astype(float)
    at = TRUTH[NAME].values[np.array([[3], [10], [17]]) + [1, 6, 12]]
    each = np.stack([crps(wanted[:, :, n], at[:, n].astype(float)) for n in range(3)])
    areas = np.broadcast_to(true["cell_area"].values, each.shape)
    first = score(made, true, scores=["crps"])
    assert first.overall()  # with every score of the table below
    value = first.row("model", NAME, "crps").value
    assert value == pytest.approx(np.average(each, weights=areas), rel=1e-6)
    counted = {"y": ("y", 1000.0 * np.arange(3), {"units": "m"})}
    for other in (made.isel(y=slice(None, None, -1)), made.assign_coords(counted)):
        assert score(other, true, scores=["crps"]).rows == first.rows
    part = align(made.isel(x=slice(1, 3), y=[0, 2]), true)
    assert np.array_equal(whole(part.truth)[:, 0, :, 0], at.reshape(3, 3, 3, 4)[:, :, ::2, 1:3])
    assert part.left_out == ("the forecast covers 4 of the truth's 12 cells",)
    with pytest.raises(DataError, match="y has 3 cells, latitudes from 55 .*another grid"):
        score(curved(MADE, 55.0), true)
    with pytest.raises(DataError, match="its places are along its dims, those of the truth proj"):
        score(MADE, true)


def test_rows_and_columns_that_are_stored_as_copies_are_latitudes_and_longitudes():
    def copies(ds):
        north, east = np.meshgrid(ds.latitude, ds.longitude, indexing="ij")
        ds = ds.drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x")
        return ds.assign_coords(lat=(("y", "x"), north), lon=(("y", "x"), east))

    assert rows(copies(MADE), copies(TRUTH)) == rows(MADE)
    assert rows(MADE, copies(TRUTH)) == rows(MADE)


def test_a_baseline_has_the_cells_that_are_scored():
    inner = MADE.isel(latitude=slice(0, 2))
    assert rows(inner, baselines={"b": MADE})[-1] == rows(inner, baselines={"b": inner})[-1]
    with pytest.raises(DataError, match="b: latitude has 2 cells from 50 to 51, of those that are"):
        rows(MADE, baselines={"b": inner})
    with pytest.raises(DataError, match=f"b: has no axis {LEAD}, which the forecast has with 3"):
        rows(MADE, baselines={"b": MADE.isel({LEAD: 0}, drop=True)})
    with pytest.raises(DataError, match="b: has leads, and model has none"):
        rows(MADE.isel({LEAD: 0}, drop=True), baselines={"b": MADE})


def test_dims_without_a_meaning_are_dropped_or_named():
    assert rows(MADE.expand_dims(height=[2.0])) == rows(MADE)
    assert rows(MADE, baselines={"b": MADE.expand_dims(model=["a"], axis=3)})
    with pytest.raises(DataError, match=r"dim ensmem of 2m_temperature has 5 .*ensmem='number'"):
        rows(MADE.rename(number="ensmem"))
    assert rows(MADE.rename(number="ensmem").rename(ensmem="number")) == rows(MADE)


def test_arrays_with_a_name_are_scored():
    assert rows(MADE[NAME], TRUTH[NAME], baselines={"b": MADE[NAME]})[0] == rows(MADE)[0]
    with pytest.raises(ConfigError, match=r"without a name.*array.rename\('2m_temp"):
        rows(MADE[NAME].rename(None))


def test_calendars_samples_and_words_that_do_not_fit_are_named():
    other = TRUTH.convert_calendar("noleap", use_cftime=True)
    fix = r"of {} `ds.convert_calendar\('standard', use_cftime=False\)`"
    with pytest.raises(DataError, match="calendar standard, .* of noleap.*" + fix.format("truth")):
        rows(MADE, other)
    dated = MADE.convert_calendar("noleap", use_cftime=True)
    with pytest.raises(DataError, match="calendar noleap, .* of standard.*" + fix.format("model")):
        rows(dated)
    assert rows(MADE, other.convert_calendar("standard", use_cftime=False)) == rows(MADE)
    with pytest.raises(ConfigError, match="missing: got 'statik', expected forbidden, static, mov"):
        rows(MADE, missing="statik")
    dims, at = ("sample", "number", "time", "x"), {"time": [0.2, 0.4], "x": np.arange(8.0)}
    values = np.random.default_rng(0).normal(size=(3, 2, 2, 8))
    made = xr.Dataset({"u": (dims, values)}, at)
    with pytest.raises(DataError, match=r"none of the samples.*: 7, 8, 9 \.\.\. beside 0, 1, 2"):
        rows(made.assign_coords(sample=[7, 8, 9]), made.isel(number=0, drop=True))


def test_what_the_message_of_leads_says_works():
    made = MADE.assign_coords({LEAD: [1, 6, 12]}).rename({LEAD: "step"})
    with pytest.raises(DataError, match=r"ds\['step'\].attrs\['units'\] = 'hours'"):
        rows(made)
    made["step"].attrs["units"] = "hours"
    assert rows(made) == rows(MADE)


def test_a_lead_that_is_named_twice_is_refused():
    with pytest.raises(ConfigError, match=r"--leads: has 12 twice"):
        rows(MADE, leads=[6.0, 12.0, 12.0])


def test_samples_of_dates_are_members():
    flat = MADE.isel({LEAD: 0}, drop=True)
    assert rows(flat.rename(number="sample")) == rows(flat)


def test_a_value_that_is_not_finite_is_placed():
    for made, place in ((MADE, "latitude 51, longitude 0"), (curved(MADE), "latitude 51.2, lon")):
        made = made.copy(deep=True)
        made[NAME].values[1, 2, 1, 1, 2] = np.nan
        true = TRUTH if made.sizes.get("latitude") else curved(TRUTH)
        told = rf"1 values .* case 2021-03-01T10:00:00, member 2, lead step 2 \(6 h\), {place}"
        with pytest.raises(DataError, match=told):
            rows(made, true)


def test_no_unit_is_made_up_where_neither_has_one():
    made, true = (ds.assign({NAME: ds[NAME].drop_attrs()}) for ds in (MADE - 273.15, TRUTH))
    with pytest.raises(DataError, match=r"2m_temperature has no units; .*truth\['2m_.*= 'UNIT'"):
        rows(made, true)
    made, true = (ds.assign({NAME: ds[NAME].assign_attrs(units="")}) for ds in (made, true))
    with pytest.raises(DataError, match=r"say of both, each in its file,.*units'\] = 'UNIT'"):
        rows(made, true)
