"""`diffsci assimilate` as a user has it: a table in, a store and its scores out, and mistakes."""

import numpy as np
import pytest
from click.testing import CliRunner

from diffsci import cli
from diffsci.evaluation.rows import read_rows
from diffsci.forecasting.store.disk import open_store
from tests import tiny_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained model of pieces of four frames, with a speed as its parameter."""
    made = tmp_path_factory.mktemp("waves")
    task = "data.task={use: trajectory, length: 4}"
    tiny_runs.run(
        tiny_runs.make(made, "pde"), task, "sample.leads=4", "evaluate=null", out=made / "run"
    )
    return made


def told(path, times, error=0.1, seed=0):
    """Observations of every third cell of the first trajectory."""
    truth = tiny_runs.waves()
    random = np.random.default_rng(seed)
    lines = ["time,x,value,error"]
    for time in times:
        for cell in range(0, 16, 3):
            at = truth.isel(sample=0, x=cell).sel(time=time)
            value = float(at.u) + error * random.standard_normal()
            lines.append(f"{time},{float(at.x)},{value},{error}")
    path.write_text("\n".join(lines) + "\n")
    return path


def called(*words):
    return CliRunner().invoke(cli.main, ["assimilate", *map(str, words)])


def test_an_analysis_is_a_forecast_store_with_scores_beside_it(folder, tmp_path):
    file, out = told(tmp_path / "obs.csv", [0.5, 1.0, 1.75]), tmp_path / "made.zarr"
    truth = ("--truth", folder / "waves.zarr", "--trajectory", 0)
    done = called(
        folder / "run", file, "--given", "speed=1.0", "--members", 3, "--out", out, *truth
    )
    assert done.exit_code == 0, done.output
    with open_store(out) as stored:
        assert dict(stored.u.sizes) == {"sample": 1, "number": 3, "time": 6, "x": 16}
        assert np.isfinite(stored.u.values).all()
        assert stored.attrs["diffsci_observations"].endswith("obs.csv")
        assert float(stored.start_time[0]) == 0.5
    rows = read_rows(tmp_path / "made-scores" / "scores.csv")
    assert {row.forecast for row in rows} == {"model", "interpolation", "climatology"}
    assert {row.count for row in rows} == {6}
    again = tmp_path / "again.zarr"
    assert (
        called(
            folder / "run", file, "--given", "speed=1.0", "--members", 2, "--out", again
        ).exit_code
        == 0
    )
    with open_store(out) as one, open_store(again) as two:
        assert np.array_equal(one.u[:, :2], two.u)


def test_blocks_that_arrive_are_analysed_one_by_one(folder, tmp_path):
    file, out = told(tmp_path / "obs.csv", [0.5, 1.0, 1.75]), tmp_path / "made.zarr"
    done = called(
        folder / "run", file, "--given", "speed=1.0", "--members", 1, "--out", out, "--block", 3,
        "--lag", 2,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    with open_store(out) as stored:
        assert stored.attrs["diffsci_online"] == "3 lag 2"
        assert np.isfinite(stored.u.values).all()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "the model is given speed: say --given speed=VALUE"),
        (("--given", "sped=1"), 2, "--given sped: the model's parameters are speed"),
        (("--given", "speed=fast"), 2, "--given speed=fast: expected NAME=NUMBER"),
        (("--given", "speed=1", "--overlap", 4), 2, "--overlap: got 4, expected 0 to 3"),
        (("--given", "speed=1", "--out", "made.nc"), 5, "made.nc"),
        (("--given", "speed=1", "train.steps=3"), 2, "only sample.* and runtime.* can be given"),
    ],
)
def test_mistakes_are_told_by_name(folder, tmp_path, words, code, message):
    done = called(folder / "run", told(tmp_path / "obs.csv", [0.5, 1.0]), *words)
    assert done.exit_code == code and message in done.output


def test_a_truth_that_does_not_reach_is_refused(folder, tmp_path):
    file, out = told(tmp_path / "obs.csv", [2.5]), tmp_path / "made.zarr"
    text = file.read_text().replace("\n2.5,", "\n9.5,")
    file.write_text(text)
    done = called(
        folder / "run", file, "--given", "speed=1", "--members", 1, "--out", out,
        "--truth", folder / "waves.zarr",
    )  # fmt: skip
    assert done.exit_code == 3 and "that of frame 0 of the analysis, which begins at" in done.output
