"""The registry: a model that went in comes out the same, without any pickle on the way."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

import diffsci
from diffsci import cli
from diffsci.errors import ConfigError, StorageError
from diffsci.forecasting.store.disk import open_store
from diffsci.sections import Tracking
from diffsci.stages.ensembles.from_files import Request, sample_from
from diffsci.stages.registering import on_request, register
from diffsci.tracking import models
from tests import tiny_runs

_PROGRAM = """
import sys
import pandas as pd
import mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/waves@champion")
body = open(sys.argv[2], "rb").read()
asked = {"members": 3, "seed": 7, "lead": "2", "start": "1"}
found = model.predict(pd.DataFrame({"netcdf": [body]}), params=asked)
open(sys.argv[3], "wb").write(found["netcdf"][0])
assert "torch" in sys.modules and model.metadata.signature.params is not None
"""


@pytest.fixture(scope="module")
def registered(tmp_path_factory):
    """A run that registered its model at its end; its folder, and the store's address."""
    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder}/mlflow.db"
    settings = (
        "evaluate=null", "tracking.enabled=true", f"tracking.uri={uri}",
        "tracking.register=waves", "tracking.alias=champion", "sample.cases=1",
    )  # fmt: skip
    tiny_runs.run(tiny_runs.make(folder, "pde"), *settings, out=folder / "run")
    return folder, uri


@pytest.fixture(autouse=True)
def _here(registered, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registered[1])


@pytest.mark.slow
def test_mlflow_predicts_in_a_fresh_process_what_sample_gives(registered, tmp_path):
    folder, uri = registered
    waves = tiny_runs.waves().isel(sample=slice(0, 2))
    waves.to_netcdf(tmp_path / "in.nc")
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, uri, tmp_path / "in.nc"]
    subprocess.run([*command, tmp_path / "out.nc"], check=True, capture_output=True, timeout=300)
    model = diffsci.load(folder / "run")
    ours = model.sample(waves.isel(time=slice(None, 5)), members=3, seed=7, leads=2)
    with xr.open_dataset(tmp_path / "out.nc") as theirs:
        np.testing.assert_array_equal(theirs["u"], ours["u"])
        assert theirs["u"].attrs == ours["u"].attrs


def test_mlflow_predicts_what_sample_gives(registered, tmp_path):
    """The fast twin, in this process: the model as MLflow wraps it, its signature enforced."""
    import mlflow

    folder, uri = registered
    waves = tiny_runs.waves().isel(sample=slice(0, 2), time=slice(None, 5))
    waves.to_netcdf(tmp_path / "in.nc")
    body = pd.DataFrame({"netcdf": [(tmp_path / "in.nc").read_bytes()]})
    mlflow.set_tracking_uri(uri)
    try:
        wrapped = mlflow.pyfunc.load_model("models:/waves@champion")
        found = wrapped.predict(body, params={"members": 3, "seed": 7, "lead": "2"})
        with pytest.raises(mlflow.exceptions.MlflowException, match="members"):
            wrapped.predict(body, params={"members": "many"})
    finally:
        mlflow.set_tracking_uri(None)
    (tmp_path / "out.nc").write_bytes(found["netcdf"][0])
    ours = diffsci.load(folder / "run").sample(waves, members=3, seed=7, leads=2)
    with xr.open_dataset(tmp_path / "out.nc") as theirs:
        np.testing.assert_array_equal(theirs["u"], ours["u"])


def test_a_registered_model_samples_from_a_file(registered, tmp_path):
    folder, _ = registered
    place = models.fetch("models:/waves@champion")
    assert (place / "weights.safetensors").read_bytes() == (
        folder / "run" / "model" / "weights.safetensors"
    ).read_bytes()
    request = Request(source=str(folder / "waves.zarr"), starts=("1",), members=2, lead="2")
    stores = [tmp_path / "a.zarr", tmp_path / "b.zarr"]
    for source, store in zip((place, folder / "run"), stores, strict=True):
        sample_from(source, request, store)
    with open_store(stores[0]) as one, open_store(stores[1]) as other:
        np.testing.assert_array_equal(one["u"], other["u"])


def test_no_file_of_it_is_a_pickle(registered):
    place = models.fetch("models:/waves").parents[1]
    names = {path.name for path in place.rglob("*") if path.is_file()}
    assert "pyfunc.py" in names and "weights.safetensors" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))]


def test_another_version_takes_the_alias(registered):
    folder, _ = registered
    before = models.fetch("models:/waves@champion")
    address = register(folder / "run", "waves", "champion")
    assert address == "models:/waves/2"
    assert models.fetch("models:/waves@champion") != before
    assert models.fetch("models:/waves/1") == before


def test_another_store_takes_the_model_of_a_run_that_was_sent_there(registered, tmp_path):
    folder, _ = registered
    uri = f"sqlite:///{tmp_path}/other.db"

    def call(*arguments):
        words = ["register", str(folder / "run"), "--name", "elsewhere", *arguments]
        return CliRunner().invoke(cli.main, words)

    missing = call(f"tracking.uri=sqlite:///{tmp_path}/none.db")
    assert missing.exit_code == 5 and "there is no none.db" in missing.stderr
    shutil.copy(folder / "mlflow.db", tmp_path / "other.db")
    assert call(f"tracking.uri={uri}").stdout.strip() == "models:/elsewhere/1"
    assert models.run_of(Tracking(uri=uri), "another folder") is None
    assert call("train.steps=1").exit_code == 2


@pytest.mark.parametrize(
    "address, message",
    [
        ("models:/wave@champion", "no registered model 'wave'; did you mean 'waves'"),
        ("models:/waves@champ", "no alias 'champ'; did you mean 'champion'"),
        ("models:/waves/99", "no version 99; there are 1"),
    ],
)
def test_what_is_not_there_is_named(address, message):
    with pytest.raises(StorageError, match=message):
        models.fetch(address)


def test_addresses_names_and_stores_that_are_none(registered, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="expected models:/NAME@ALIAS"):
        models.fetch("models:/a@b@c")
    for name, alias in (("a/b", None), ("", None), ("a", "latest"), ("a", "v1"), ("a", "x:y")):
        with pytest.raises(ConfigError, match="--name|--alias"):
            models.check_names(name, alias)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(StorageError, match="there is no mlflow.db in"):
        models.fetch("models:/waves")
    assert list(tmp_path.iterdir()) == []  # looking makes no database


def test_an_untracked_run_has_nothing_to_belong_to(registered, tmp_path):
    shutil.copytree(registered[0] / "run", tmp_path / "run")
    record = tiny_runs.record(tmp_path / "run")
    del record["mlflow"]
    record["tracked"]["key"] = "another folder"
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(StorageError, match="does not know this run.*`diffsci sync .* --to sqlite:"):
        register(tmp_path / "run", "waves", None)


def test_a_registry_that_fails_is_a_warning(tmp_path, caplog):
    section = Tracking(uri=f"sqlite:///{tmp_path}/none.db", register="waves")
    on_request(section, "0" * 32, tmp_path)
    assert "the model was not registered: there is no none.db in" in caplog.text


@pytest.mark.parametrize("keys", [{"register": "a/b"}, {"alias": "champion"}, {"register": ""}])
def test_the_section_is_checked(keys):
    with pytest.raises(ConfigError, match="register|alias"):
        Tracking(**keys)
