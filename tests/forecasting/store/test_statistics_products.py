"""Statistics over members: against numpy on the whole, and against a law that is known."""

import math
import warnings

import numpy as np
import pytest
import xarray as xr

from diffsci.errors import ConfigError
from diffsci.forecasting.store import views
from diffsci.forecasting.store.exporting import export
from diffsci.forecasting.store.statistics_products import Products
from tests.forecasting import stores

ALL = "mean,std,quantiles=0.9/0.1/0.5,exceed=t2m>280/285,exceed=z<278.5"


@pytest.mark.parametrize("layout", [None, "wb2", "earth2studio"])
@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_products_equal_numpy_on_the_whole(layout, suffix, tmp_path, monkeypatch):
    made = stores.weather(members=9)
    place = stores.written(made, tmp_path / "forecast.zarr")
    monkeypatch.setattr(views, "_PIECE_BYTES", 10_000)
    text = ALL
    if layout is not None:
        text = "mean,std,quantiles=0.1/0.5/0.9"
    out = export(place, layout, tmp_path / f"p{suffix}", products=Products.of(text))
    opener = xr.open_zarr if suffix == ".zarr" else xr.open_dataset
    with opener(out) as found:
        found = found.load()
    name = {"wb2": "2m_temperature", "earth2studio": "t2m", None: "t2m"}[layout]
    values = made["t2m"].values.astype("f8")
    for kind, exact in (("mean", values.mean(1)), ("std", values.std(1, ddof=1))):
        np.testing.assert_array_equal(found[f"{name}_{kind}"], exact.astype("f4"))
        assert "realization" in found[f"{name}_{kind}"].attrs["cell_methods"]
    exact = np.quantile(values, [0.1, 0.5, 0.9], axis=1).astype("f4")
    quantiles = found[f"{name}_quantile"].transpose("quantile", ...)
    np.testing.assert_array_equal(quantiles, exact)
    assert found["quantile"].values.tolist() == [0.1, 0.5, 0.9]
    if layout is None:
        above = found["t2m_above"].sel(t2m_above_threshold=285)
        np.testing.assert_array_equal(above, (values > 285).mean(1).astype("f4"))
        below = found["z_below"].squeeze("z_below_threshold")
        np.testing.assert_array_equal(below, (made["z"].values < 278.5).mean(1).astype("f4"))
        assert found["t2m_above"].attrs["units"] == "1"


def test_what_is_asked_for_in_several_words_is_one_product():
    once = Products.of("quantiles=0.1/0.9,exceed=t>270/280/290,exceed=t<280")
    words = "quantiles=0.9,exceed=t>280,exceed=t<280,exceed=t>290/270,quantiles=0.1"
    assert Products.of(words) == once
    values = np.array([[265, 275, 285, 295]], dtype="f4")
    found = Products.of(words)(xr.Dataset({"t": (("time", "number"), values, {"units": "K"})}))
    assert found["t_above"].sel(t_above_threshold=[270, 280, 290]).values.tolist() == [
        [0.75, 0.5, 0.25]
    ]
    assert found["t_below"].values.tolist() == [[0.5]]


def test_products_of_a_normal_law():
    """100 000 members of N(280, 5): within four standard errors of the closed forms."""
    count, draws = 100_000, np.random.default_rng(1)
    field = draws.normal(280, 5, (1, count)).astype("f4")
    ds = xr.Dataset({"t": (("time", "number"), field, {"units": "K"})})
    found = Products.of("mean,std,quantiles=0.9,exceed=t>285")(ds)
    assert abs(float(found["t_mean"][0]) - 280) < 4 * 5 / math.sqrt(count)
    assert abs(float(found["t_std"][0]) - 5) < 4 * 5 / math.sqrt(2 * count)
    density = math.exp(-(1.28155**2) / 2) / math.sqrt(2 * math.pi) / 5
    error = math.sqrt(0.09 / count) / density
    assert abs(float(found["t_quantile"].squeeze()) - (280 + 1.28155 * 5)) < 4 * error
    share = 0.5 * math.erfc(1 / math.sqrt(2))
    exceed = float(found["t_above"].squeeze())
    assert abs(exceed - share) < 4 * math.sqrt(share * (1 - share) / count)


def test_failed_members_are_left_out_and_masks_stay():
    values = np.arange(24, dtype="f4").reshape(1, 4, 6)
    values[0, 2] = np.nan  # a member that failed
    values[0, :, 5] = np.nan  # a cell without values
    ds = xr.Dataset({"t": (("time", "number", "x"), values)})
    found = Products.of("mean,std,quantiles=0.5,exceed=t>6")(ds)
    kept = values[0, [0, 1, 3], :5].astype("f8")
    np.testing.assert_allclose(found["t_mean"][0, :5], kept.mean(0), rtol=1e-7)
    np.testing.assert_allclose(found["t_std"][0, :5], kept.std(0, ddof=1), rtol=1e-6)
    np.testing.assert_allclose(found["t_above"][0, 0, :5], (kept > 6).mean(0), rtol=1e-6)
    for name in ("t_mean", "t_std", "t_above", "t_quantile"):
        assert np.isnan(found[name].values[..., 5]).all()


@pytest.mark.parametrize(
    "text, message",
    [
        ("means", "got 'means'; did you mean 'mean'"),
        ("", "nothing is asked for"),
        ("quantiles=1.5", "shares from 0 to 1"),
        ("quantiles=a/b", "shares from 0 to 1"),
        ("exceed=t2m", "expected exceed=VARIABLE>VALUE"),
        ("exceed=t2m>warm", "numbers apart by /"),
    ],
)
def test_what_is_not_understood_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        Products.of(text)


def test_what_the_store_cannot_give_is_refused(tmp_path):
    place = stores.written(stores.weather(members=1), tmp_path / "forecast.zarr")
    for text, message in (
        ("std", "the store has one member; it takes 2 or more"),
        ("exceed=t2>280", "no such variable; did you mean 't2m'"),
    ):
        with pytest.raises(ConfigError, match=message):
            export(place, None, tmp_path / "p.zarr", products=Products.of(text))


def test_quantiles_are_those_of_numpy_with_and_without_gaps():
    values = np.random.default_rng(4).normal(280, 5, (7, 300)).astype("f8")
    gappy = np.where(np.random.default_rng(5).random(values.shape) < 0.3, np.nan, values)
    gappy[:, 0] = np.nan
    shares = (0.0, 0.05, 0.25, 0.5, 0.9, 1.0)
    for each in (values, gappy):
        ds = xr.Dataset({"t": (("number", "x"), each)})
        text = "quantiles=" + "/".join(map(str, shares))
        found = Products.of(text)(ds)["t_quantile"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            exact = np.nanquantile(each, shares, axis=0)
        np.testing.assert_allclose(found, exact, rtol=2e-7)  # float32
