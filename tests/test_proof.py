"""docs/proof.md is what its command measures: the parts that take seconds are measured again."""

from pathlib import Path

import pytest
import torch

from benchmarks import proof
from tests.diffusion.samplers.variants import unchecked

PAGE = (Path(__file__).parent.parent / "docs" / "proof.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def fast():
    with unchecked():
        yield


def test_the_spread_table_regenerates():
    lines = proof.spread_table(proof.variants(), (5, 10, 20, 64))
    assert len(lines) > 20
    for line in lines:
        assert line in PAGE


@pytest.mark.parametrize("variant", [("ddim", {}), ("dpmpp", {"multistep": 2})], ids=str)
def test_rows_of_the_order_table_regenerate(variant):
    torch.set_num_threads(1)
    row = proof.order_table([variant])[-1]
    assert row in PAGE


def test_every_sampler_and_every_guidance_by_observations_is_on_the_page():
    for name in proof.names("samplers"):
        assert f"| `{name}`" in PAGE
    for name in proof.names("guidance"):
        if proof.load("guidance", name)().needs_observed:
            assert f"| {name}" in PAGE


def test_stated_orders_are_met_on_the_page():
    rows = [line for line in PAGE.splitlines() if "| path |" in line]
    assert len(rows) > 10
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        stated = int(cells[3])
        for cell in cells[4:]:
            low, high = map(float, cell.split(" to "))
            assert stated - 0.15 < low <= high < stated + 0.15, row


def test_spread_by_band_is_within_two_percent_at_ten_calls_on_the_page():
    rows = [line for line in PAGE.splitlines() if line.startswith(("| 128, ", "| 32 x 48"))]
    assert len(rows) == 4
    for row in rows:
        low, high = map(float, row.strip("|").split("|")[3].split(" to "))
        assert 0.98 <= low <= high <= 1.02
