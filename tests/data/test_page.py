"""What docs/data.md tells a reader to type is tried here, as it stands there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

from diffsci.cli import main
from diffsci.data.catalog import load_entry

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def my_data(tmp_path, monkeypatch):
    (tmp_path / "my_data").mkdir()
    (tmp_path / "data_catalog").mkdir()
    time = np.arange("1990-01-01", "2016-01-01", 30, dtype="datetime64[D]").astype("datetime64[ns]")
    values = np.random.default_rng(0).normal(12, 8, (len(time), 6, 8)).astype("float32")
    xr.Dataset(
        {"t2m": (("time", "lat", "lon"), values, {"units": "degC"})},
        {"time": time, "lat": np.linspace(60, 50, 6), "lon": np.linspace(0, 14, 8)},
    ).to_netcdf(tmp_path / "my_data" / "t2m.nc")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_commands_of_the_page(my_data):
    lines = [line for block in blocks("bash")[1:] for line in block.splitlines()]
    assert len(lines) >= 4
    for line in lines:
        command, _, target = line.partition(" > ")
        if command.startswith("diffsci run"):
            continue  # it trains; tests/stages/test_on_disk.py has a run on a prepared store
        result = CliRunner().invoke(main, shlex.split(command)[1:])
        assert result.exit_code == 0, f"{line}: {result.output}"
        if target:
            Path(target).write_text(result.stdout)
    assert list(Path("shown").glob("*.png")) and Path("prepared.zarr").is_dir()
    (python,) = blocks("python")
    names = {}
    exec(python, names)
    assert names["fields"]["t2m"].dims == ("time", "latitude", "longitude")


def test_the_gaps_of_the_page(tmp_path):
    (text,) = [block for block in blocks("yaml") if "missing:" in block]
    (tmp_path / "sea.yaml").write_text(f"source: a.nc\n{text}")
    found = load_entry(str(tmp_path / "sea.yaml")).variables
    assert found["sst"].missing == "static" and found["ice"].fill == -1.0
