"""What README and docs tell a reader to type is tried here, as it stands there."""

import re
import shlex
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import CliRunner

from diffsci import families
from diffsci.cli import main
from diffsci.diffusion.augmentation import Jump, level
from diffsci.diffusion.exact import DiagonalGaussian
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.schedules.edm import EDM
from diffsci.grid import Boundary

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def my_data(tmp_path, monkeypatch):
    """Files as the README's reader has them: odd names, other units, latitude from the north."""
    (tmp_path / "my_data").mkdir()
    time = np.arange("1990-01-01", "2021-01-01", 30, dtype="datetime64[D]").astype("datetime64[ns]")
    values = np.random.default_rng(0).normal(12, 8, (len(time), 12, 16)).astype("float32")
    ds = xr.Dataset(
        {"T2M": (("time", "XLAT", "lon"), values, {"units": "degC"})},
        {"time": time, "XLAT": np.linspace(60, 49, 12), "lon": np.linspace(0, 15, 16)},
    )
    half = len(time) // 2
    ds.isel(time=slice(None, half)).to_netcdf(tmp_path / "my_data" / "t2m_a.nc")
    ds.isel(time=slice(half, None)).to_netcdf(tmp_path / "my_data" / "t2m_b.nc")
    ds.rename(T2M="t2m", XLAT="lat").to_netcdf(tmp_path / "my_data" / "t2m.nc")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def diffsci(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("page", ["README.md", "docs/data.md"])
def test_own_data_as_written(page, my_data):
    entry, pipeline, *_ = blocks(ROOT / page, "yaml")
    assert len(entry.strip().splitlines()) <= 12
    for folder, name, text in (
        ("data_catalog", "my_temperature.yaml", entry),
        ("pipelines", "mine.yaml", pipeline),
    ):
        (my_data / folder).mkdir()
        (my_data / folder / name).write_text(text)
    output = diffsci("check", "data_catalog/my_temperature.yaml", "pipelines/mine.yaml")
    assert "fault:" not in output
    diffsci("run", "pipelines/mine.yaml", "--dry-run")
    # A bare path in place of the entry, as the README says.
    bare = pipeline.replace("entry: my_temperature", "source: my_data/t2m.nc")
    assert bare != pipeline
    (my_data / "pipelines" / "bare.yaml").write_text(bare)
    diffsci("run", "pipelines/bare.yaml", "--dry-run")


def test_the_member_of_the_docs_is_a_sampler():
    (source,) = blocks(ROOT / "docs/add_a_member.md", "python")
    # As a file has it, in a module whose name the dataclass can look up.
    import sys
    import types

    module = types.ModuleType("diffsci_docs_midpoint")
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, "midpoint.py", "exec"), vars(module))
        midpoint, schedule = module.Midpoint, EDM()
        law = DiagonalGaussian(mean=torch.tensor([0.7]).double(), variance=torch.ones(1).double())
        jump = Jump(*(level(schedule, torch.tensor(t).double()) for t in (1.0, 0.0)))
        x_1 = torch.linspace(-200, 200, 9).double()[:, None]
        exact = law.flow(x_1, jump)
        denoise = law.denoiser(schedule)
        errors = [
            (midpoint(steps=n)(denoise, schedule, x_1, seeded(0)) - exact).abs().max()
            for n in (64, 128, 256)
        ]
        # Second order: halving the step quarters the error; measured 1.98 and 2.00.
        for coarse, fine in zip(errors[:-1], errors[1:], strict=True):
            assert 1.85 < torch.log2(coarse / fine) < 2.15
        assert midpoint().order == 2 and midpoint(steps=7).calls == 14
    finally:
        del sys.modules[module.__name__]


def test_the_table_of_families_is_complete():
    text = (ROOT / "docs/add_a_member.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| `(diffsci/[\w/]+)` \|", text, flags=re.MULTILINE)
    assert dict(rows) == {
        name: package.replace(".", "/") for name, (package, _) in families.FAMILIES.items()
    }


def test_boundaries_are_named_as_they_are():
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"One of (`periodic`[^.]*)\.", text)
    assert re.findall(r"`(\w+)`", told) == list(get_args(Boundary))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_commands_exist(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        if target.endswith(".png"):
            continue
        assert (page.parent / target).exists(), target
    known = set(main.commands)
    typed = re.findall(r"`diffsci ([a-z]+)\b", text)
    for block in blocks(page, "bash"):
        typed += re.findall(r"(?:^|bin/)diffsci ([a-z]+)\b", block, flags=re.MULTILINE)
    for command in typed:
        assert command in known, command
    for path in re.findall(r"\b(?:pipelines|configs)/[\w/]+\.yaml", text):
        if path != "pipelines/mine.yaml":
            assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_of_commands_exist(page):
    """Each command that a page tells to type is parsed as it stands there; nothing is run."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = re.search(r"(?:^|bin/)diffsci ([a-z].*)$", line)
            if words is None or "..." in line or "$" in line:
                continue
            name, *arguments = shlex.split(words[1], comments=True)
            main.commands[name].make_context(name, arguments)
