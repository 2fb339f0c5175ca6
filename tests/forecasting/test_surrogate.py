"""From Python: labelled conditions in, labelled ensembles out, and honest refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.data.tasks.downscale import Downscale, coarse_grid
from diffsci.data.tasks.forecast import Forecast
from diffsci.errors import ConfigError, DataError, StorageError
from diffsci.forecasting.model_folder import check_manifest
from diffsci.forecasting.opening import read_surrogate
from tests.forecasting import makers


def weather(values, grid, times, unit="K"):
    return xr.Dataset(
        {"2m_temperature": (("time", "latitude", "longitude"), values, {"units": unit})},
        coords={
            "time": times,
            "latitude": ("latitude", np.array(grid.coordinates[0]), {"units": "degrees_north"}),
            "longitude": ("longitude", np.array(grid.coordinates[1]), {"units": "degrees_east"}),
        },
    )


@pytest.fixture
def fine():
    fields = makers.weather_fields()
    return weather(fields.values[0, :, 0], fields.grid, fields.times)


def coarse_of(model, fine):
    """The coarse field a user would have: block means in physical units, labelled."""
    task, grid = model.pipeline.data.task, model.grid
    window = torch.from_numpy(fine["2m_temperature"].values)[:, None, None].double()
    means = task.observe(window, grid)[:, 0].numpy()
    return weather(means, coarse_grid(grid, task.factor), fine.time.values)


def test_a_coarse_field_and_the_fine_one_it_came_from_give_the_same_ensemble(fine):
    model = makers.downscaling()
    one, other = model.sample(fine), model.sample(coarse_of(model, fine))
    # float32 block means against float64 ones: a few units in the last place of 280 K.
    assert float(abs(one - other)["2m_temperature"].max()) < 1e-2
    assert one["2m_temperature"].dims == ("time", "number", "latitude", "longitude")


def quarter_degree_box():
    """37 x 49 cells from 15 to 60 degrees north, as in the quickstart."""
    base = makers.weather_fields(sizes=(37, 49))
    latitude, longitude = np.linspace(15, 60, 37), np.linspace(225, 285, 49)
    grid = replace(base.grid, coordinates=(tuple(latitude), tuple(longitude)))
    return replace(base, grid=grid)


def test_a_coarse_field_with_plain_means_of_coordinates_is_taken():
    """As `coarsen` makes it: its latitudes differ from the area-weighted ones by 0.05 degrees."""
    fields = quarter_degree_box()
    model = makers.surrogate(fields, "weather", Downscale(factor=4))
    whole = weather(fields.values[0, :, 0], fields.grid, fields.times)
    coarse = whole.coarsen(latitude=4, longitude=4, boundary="pad").mean()
    exact = np.array(coarse_grid(fields.grid, 4).coordinates[0])
    apart = np.abs(coarse.latitude.values - exact).max()
    assert 0.03 < apart < 0.1  # so this tests what it says
    drawn = model.sample(coarse.isel(time=[0]), members=1)
    assert drawn.sizes["latitude"] == 37
    moved = coarse.assign_coords(latitude=coarse.latitude + 0.3)
    with pytest.raises(DataError, match="condition: its grid is latitude 10 from"):
        model.sample(moved.isel(time=[0]), members=1)


def test_flipped_and_renamed_conditions_are_mapped_by_coordinates(fine):
    model = makers.downscaling()
    flipped = fine.isel(latitude=slice(None, None, -1)).transpose("longitude", "latitude", "time")
    xr.testing.assert_identical(model.sample(fine), model.sample(flipped))


def test_units_are_converted_or_refused(fine):
    model = makers.downscaling()
    celsius = fine - 273.15
    celsius["2m_temperature"].attrs["units"] = "degC"
    one, other = model.sample(fine), model.sample(celsius)
    assert float(abs(one - other)["2m_temperature"].max()) < 1e-2
    fine["2m_temperature"].attrs["units"] = "m"
    with pytest.raises(DataError, match="2m_temperature.*'m'|m .*K"):
        model.sample(fine)


def test_members_are_the_same_for_more_members_and_fewer_cases(fine):
    model = makers.downscaling()
    many, few = model.sample(fine, members=6), model.sample(fine.isel(time=[3]), members=2)
    xr.testing.assert_identical(many.isel(time=[3], number=slice(0, 2)), few)
    assert not many.equals(model.sample(fine, members=6, seed=1))


def test_forecast_labels_and_leads():
    model, fields = makers.forecasting(), makers.ring_fields()
    given = xr.Dataset(
        {"u": (("sample", "time", "x"), fields.values[:, :2, 0])},
        coords={"time": fields.times[:2], "x": np.array(fields.grid.coordinates[0])},
    )
    out = model.sample(given, members=3, leads=5)
    assert out["u"].dims == ("sample", "number", "time", "x")
    assert np.allclose(out.time, 0.2 * np.arange(1, 6)) and np.allclose(out.start_time, 0.2)
    shorter = model.sample(given, members=3, leads=2)
    assert np.array_equal(out["u"].values[:, :, :2], shorter["u"].values)


def test_classes(fine):
    model = makers.generating()
    out = model.sample([0, 2, 2], members=2)
    assert out["label"].values.tolist() == [0, 2, 2]
    assert out["intensity"].dims == ("sample", "number", "y", "x")
    same = model.sample(xr.Dataset({"label": ("sample", [0, 2, 2])}), members=2)
    assert np.array_equal(out["intensity"].values, same["intensity"].values)
    with pytest.raises(DataError, match="no class 7; there are 0, 1, 2"):
        model.sample([7])
    with pytest.raises(DataError, match=r"pass the class of each sample, such as \[0, 1, 2\]"):
        model.sample()


def test_the_classes_of_a_condition_are_those_of_training():
    """One of low classes alone has a shorter one-hot; one of an unknown class is refused."""
    fields = makers.digit_fields()
    model = makers.surrogate(fields, "image", Downscale(factor=4))
    labels = fields.scalars.argmax(axis=1)

    def images(chosen, classes):
        return xr.Dataset(
            {
                "intensity": (("sample", "y", "x"), fields.values[chosen, 0, 0]),
                "label": ("sample", classes),
            }
        )

    whole = model.sample(images(np.arange(6), labels[:6]), members=2)
    low = np.flatnonzero(labels[:6] == 0)
    part = model.sample(images(low, labels[low]).assign_coords(sample=low), members=2)
    assert np.array_equal(part.intensity.values, whole.intensity.values[low])
    with pytest.raises(DataError, match="condition: no class 3; there are 0, 1, 2"):
        model.sample(images(low, np.full(len(low), 3)))
    with pytest.raises(DataError, match="lacks the parameters label=0, label=1, label=2"):
        model.sample(images(low, labels[low]).drop_vars("label"))


def test_refusals(fine):
    model = makers.downscaling()
    with pytest.raises(DataError, match="expected a labelled xarray Dataset with 2m_temperature"):
        model.sample([280.0])
    with pytest.raises(DataError, match="2m_temperature"):
        model.sample(fine.rename({"2m_temperature": "t"}))
    with pytest.raises(
        DataError, match="condition: its grid is latitude 5.*expected the coarse one"
    ):
        model.sample(fine.isel(latitude=slice(0, 5)))
    with pytest.raises(ConfigError, match="members: got 0, expected 1 or more"):
        model.sample(fine, members=0)
    with pytest.raises(ConfigError, match="this model does not forecast"):
        model.sample(fine, leads=2)
    with pytest.raises(DataError, match="NaN"):
        model.sample(fine.where(fine.latitude > 20))


def test_saved_models_come_back_bit_for_bit(tmp_path, fine):
    model = makers.downscaling()
    model.save(tmp_path / "model", "name: made\n")
    again = read_surrogate(tmp_path / "model", model.pipeline)
    one, other = model.sample(fine), again.sample(fine)
    assert np.array_equal(one["2m_temperature"].values, other["2m_temperature"].values)
    assert again.grid == model.grid and again.channels == model.channels


def test_a_saved_model_knows_the_components_of_vectors(tmp_path):
    """They are padded with the other sign at a pole: it changes what the same weights give."""
    x, level, given = torch.randn(1, 1, 6, 8), torch.zeros(1), torch.randn(1, 2, 6, 8)
    outs = []
    for vector in (False, True):
        fields = makers.polar_fields(vector)
        model = makers.surrogate(fields, "weather", Forecast(history=2), step=6 * 3600e9)
        folder = tmp_path / str(vector)
        model.save(folder, "name: made\n")
        again = read_surrogate(folder, model.pipeline)
        networks = model.denoiser.network, again.denoiser.network
        one, other = (network(x, level, given, None) for network in networks)
        assert torch.equal(one, other)
        outs.append(one)
    assert (outs[0] - outs[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json", "statistics.safetensors"])
def test_damaged_models_are_refused_by_name(tmp_path, name):
    model = makers.generating()
    model.save(tmp_path / "model", "name: made\n")
    path = tmp_path / "model" / name
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    for place in random.integers(0, len(content), 10):
        changed = content.copy()
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(StorageError, match=f"{name}: is damaged"):
            check_manifest(tmp_path / "model")
    path.unlink()
    with pytest.raises(StorageError, match=f"{name}: is missing"):
        check_manifest(tmp_path / "model")
    with pytest.raises(StorageError, match="no trained model here"):
        check_manifest(tmp_path)
    for text in ("{", "[1]"):
        (tmp_path / "model" / "manifest.json").write_text(text)
        with pytest.raises(StorageError, match="manifest.json: cannot be read"):
            check_manifest(tmp_path / "model")


def test_units_that_were_lost_are_not_guessed(fine):
    model = makers.downscaling()
    with pytest.raises(DataError, match="2m_temperature has no units; the model's are K"):
        model.sample(fine.drop_attrs())


def test_prints_as_one_line():
    words = repr(makers.downscaling())
    assert words.startswith("<Surrogate made: Downscale of 2m_temperature (K) on 9 x 13")
    assert "\n" not in words
