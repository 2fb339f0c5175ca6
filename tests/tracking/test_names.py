import re

import pytest

from diffsci.tracking.names import flatten, metric_name, reason, redact


def test_params_are_flat_comparable_and_free_of_places():
    params = {
        "name": "a",
        "data": {"entry": "a1b", "source": "mine.nc", "split": {"train": {"entry": "/data/x.nc"}}},
        "model": {"network": {"channels": [32, 64], "use": "unet"}, "predict": "v"},
        "train": {"lr": 0.001, "clip": None},
        "runtime": {"dask": "tcp-host", "device": "auto"},
        "tracking": {"uri": "sqlite:///x.db", "experiment": "e"},
        "extends": ["a.yaml"],
        "home": "~someone",
    }
    assert flatten(params) == {
        "name": "a",
        "data.entry": "a1b",
        "model.network.channels": "32,64",
        "model.network.use": "unet",
        "model.predict": "v",
        "train.lr": "0.001",
        "train.clip": "none",
        "runtime.device": "auto",
    }


def test_secrets_are_masked_by_name_and_long_values_cut():
    flat = flatten({"a": {"api_key": "CANARY", "token": "CANARY", "tokens": 3}, "long": "x" * 6001})
    assert flat["a.api_key"] == flat["a.token"] == "***"
    assert flat["a.tokens"] == "3"
    assert len(flat["long"]) <= 6000 and flat["long"].endswith("[cut]")


def test_metric_names_are_mapped_to_what_mlflow_takes():
    assert metric_name("test/crps") == "test/crps"
    assert metric_name("test/temperature@850[hPa]=x") == "test/temperature_850_hPa__x"
    assert metric_name("/../a//./b") == "a/b"
    assert metric_name("é") == "_"
    assert metric_name("..") == "unnamed"
    assert len(metric_name("x" * 300)) == 250


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "API request to http://h:5/api/2.0/mlflow/runs/create failed with exception "
            "HTTPConnectionPool(host='h', port=5): Max retries exceeded with url: /x (Caused by "
            "ReadTimeoutError(\"HTTPConnectionPool(host='h', port=5): Read timed out.\"))",
            "nothing came in time: it is slow, frozen or cut off",
        ),
        ("<urlopen error [Errno 111] Connection refused>", "nothing listens there: is the server"),
        ("[Errno -2] Name or service not known", "no machine of that name is known"),
        ("API request to x failed with exception ... too many 503 error responses", r"own \(503\)"),
        ("API request to endpoint /x failed with error code 401 != 200.", "USERNAME and MLFLOW"),
        (
            "API request to endpoint /x failed with error code 404 != 200.",
            "not as an MLflow server",
        ),
        ("('Connection aborted.', RemoteDisconnected('Remote end closed'))", "it broke off the"),
        ("(sqlite3.OperationalError) database is locked\n[SQL: x]", r"\(sqlite3.Op.*is locked$"),
    ],
)
def test_what_libraries_say_of_a_server_is_told_in_plain_words(said, told):
    assert re.match(f".*{told}", reason(OSError(said)))
    assert "HTTPConnectionPool" not in reason(OSError(said))


def test_passwords_leave_addresses_and_reasons():
    assert redact("http://me:CANARY@host/x and s3://k@b") == "http://***@host/x and s3://***@b"
    assert reason(OSError("cannot reach http://me:CANARY@host.\nmore")) == (
        "cannot reach http://***@host"
    )
    assert reason(OSError()) == "OSError"
