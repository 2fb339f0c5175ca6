"""One store by several processes, or by dask workers: the same bytes; a dead one loses its unit."""

import json
import os
import subprocess
import sys

import dask
import distributed
import pytest

from diffsci.errors import ConfigError, FieldError
from diffsci.sections import Runtime
from diffsci.stages.ensembles.hands import Workers
from diffsci.stages.ensembles.sharing import hands_of
from tests import tiny_runs
from tests.stages.ensembles import test_sampling as stores


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    ended = subprocess.run(
        [sys.executable, "-m", "tests.stages._shared", str(tmp_path_factory.mktemp("shared"))],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_three_processes_make_the_store_of_one(told):
    assert told["one"]["codes"] == [0]
    assert told["three"]["codes"] == [0, 0, 0]
    assert told["three"]["same"]
    # One of them speaks.
    assert told["three"]["told"][1:] == ["", ""]


def test_processes_share_what_a_file_gives(told):
    assert told["file"]["codes"] == [0]
    assert told["files"]["codes"] == [0, 0]
    assert told["files"]["same"]
    assert told["files"]["told"][1] == ""


def test_the_units_of_a_dead_process_are_done_by_the_others(told):
    found = told["killed"]
    assert found["codes"] == [0, -9]
    assert "is not heard of any more" in found["told"][0]
    assert found["same"]


def test_one_that_is_stopped_stops_all_and_the_next_call_goes_on(told):
    found = told["stopped"]
    assert found["codes"] == [75, 75]
    assert 0 < found["committed"] <= 6
    assert found["again"] == [0]
    assert found["same"]


def test_the_processes_that_train_sample_too(told):
    assert told["run"]["codes"] == [0, 0]
    assert told["run"]["there"]
    assert told["run"]["again"] == [0]
    assert told["run"]["same"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_dask_workers_make_the_store_of_one_process(tmp_path):
    """Two workers in threads of this process, found by the address of their scheduler."""
    stores.forecast(tmp_path / "one.zarr", cases=range(5), batch=1)
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
    ):
        hands = hands_of(Runtime(dask=cluster.scheduler_address))
        assert isinstance(hands, Workers)
        stores.forecast(tmp_path / "dask.zarr", cases=range(5), batch=1, hands=hands)
    assert tiny_runs.tree(tmp_path / "dask.zarr") == tiny_runs.tree(tmp_path / "one.zarr")


def test_no_scheduler_answers(tmp_path):
    workers = Workers("tcp://127.0.0.1:1", seconds=0.2)
    with pytest.raises(ConfigError, match=r"runtime\.dask: got 'tcp://127.0.0.1:1', and no sched"):
        stores.forecast(tmp_path / "f.zarr", hands=workers)
    with pytest.raises(FieldError, match="expected null, local, or an address"):
        Runtime(dask="somewhere")
