"""benchmarks/networks.py and network_quality.py: what they count and compare, on tiny inputs."""

import json
import math
from pathlib import Path

import pytest
import torch

from benchmarks import _network_cases, _timing, network_quality, networks
from benchmarks._pages import write_between
from benchmarks._timing import Convolution, Way, flop, interleaved, medians

TINY = _network_cases.Case(
    batch=1,
    cells=(8, 8),
    ours={"channels": (8, 16), "blocks": 1, "embedding": 8},
    boundary=(_network_cases.PERIODIC,) * 2,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(networks.CASES, "2d", TINY)
    monkeypatch.setattr(_timing, "CONVOLUTIONS", {2: ((1, 8, (8, 8)),)})
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_flop_of_a_convolution_are_counted_exactly():
    """A filter of 3 x 3 over padded cells: 2 * 9 * in * out for each, and thrice with backward."""
    one = Convolution(batch=2, channels=8, cells=(5, 7), dtype=torch.float32)
    forward, both = one.calls()
    assert flop(forward) == 2 * 9 * 8 * 8 * 2 * 5 * 7
    assert flop(both) == 3 * flop(forward)


def test_flop_of_a_network_do_not_depend_on_how_it_is_run():
    x, level = torch.randn(1, 4, 8, 8), torch.randn(1)
    grid = networks.grid_of(TINY.cells, TINY.boundary)
    counts = [
        flop(_timing.step_call(networks.ours(TINY.ours, grid), x, level, way))
        for way in (Way(), Way(precision="bf16", channels_last=True))
    ]
    assert counts[0] == counts[1] > 0


def test_calls_take_turns_and_each_is_first_as_often():
    called = []
    calls = {name: lambda name=name: called.append(name) for name in "abc"}
    seconds = interleaved(calls, rounds=3, warm=0)
    assert "".join(called) == "abcbcacab"
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abc", 3)
    assert interleaved(calls, rounds=2, warm=5)["a"][2:] == []


def test_medians_forget_a_disturbed_round():
    assert medians({"a": [1.0, 1.1, 50.0], "b": [2.0, 2.0, 2.1]}) == {"a": 1.1, "b": 2.0}


def test_a_network_of_other_size_is_refused_by_name():
    networks.require_parity({"diffsci": 1000, "azula": 1019, "diffusers": 981})
    with pytest.raises(SystemExit, match=r"diffsci has 1,000, azula has 1,030 \(\+3.0%\)"):
        networks.require_parity({"diffsci": 1000, "azula": 1030})


def test_the_tables_are_printed_and_written_between_their_comments(capsys, tmp_path):
    page, rows = tmp_path / "page.md", tmp_path / "rows.json"
    names = ("networks 2d", "networks boundaries")
    page.write_text("\n".join(f"before\n<!-- {n} -->\nold\n<!-- end of {n} -->" for n in names))
    options = ["--case", "2d,boundaries", "--alone", "--quick", "--threads", "1"]
    networks.main([*options, "--docs", str(page), "--json", str(rows)])
    printed, text = capsys.readouterr().out, page.read_text()
    assert "old" not in text and text.count("before") == 2
    for line in ("| diffsci, default", "| diffsci, tuned", "| wall |", "| pole and periodic |"):
        assert line in text and line in printed
    assert '"name": "2d: forward over the convolution rate"' in rows.read_text()


def test_a_page_without_the_comments_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="expected the comments <!-- networks 2d -->"):
        write_between(page, "networks 2d", [])


def test_every_table_has_its_place_in_the_docs():
    page = (Path(__file__).parent.parent / "docs" / "performance.md").read_text(encoding="utf-8")
    names = [f"networks {case}" for case in (*_network_cases.CASES, "boundaries")]
    for name in [*names, "quality quickstart", "quality digits"]:
        assert page.count(f"<!-- {name} -->") == page.count(f"<!-- end of {name} -->") == 1


def test_equal_networks_learn_equally_in_the_race(capsys, tmp_path):
    """The same network twice: same batches and noise of each seed, so the same losses."""
    rows = tmp_path / "rows.json"
    tiny = '{"channels": [8], "blocks": 1, "embedding": 8, "precision": "fp32"}'
    options = ["--pipeline", "digits", "--steps", "2", "--seeds", "2", "--threads", "1"]
    both = ["--network", f"one={tiny}", "--network", f"two={tiny}"]
    network_quality.main([*options, *both, "--json", str(rows)])
    one, two = json.loads(rows.read_text())
    assert one["losses"] == two["losses"] and one["losses"][0] != one["losses"][1]
    assert (one["loss_ratio"], one["loss_ratio_error"]) == (1.0, 0.0)
    assert len(one["curve"]) == 2
    assert "| two (fp32) |" in capsys.readouterr().out


def test_steps_until_a_loss_by_hand():
    """Linear between validations: from 3 to 1 in 10 steps, 2 is reached after 5 of them."""
    curve = [(10, 3.0), (20, 1.0), (30, 0.5)]
    assert network_quality.steps_until(curve, 2.0) == 15
    assert network_quality.steps_until(curve, 3.5) == 10
    assert math.isinf(network_quality.steps_until(curve, 0.1))


def test_the_error_of_a_ratio_is_that_of_paired_seeds():
    """Seeds that move both alike leave none: 2, 4, 6 over 1, 2, 3 is 2 each time."""
    assert network_quality.ratio([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]) == (2.0, 0.0)
    value, error = network_quality.ratio([1.0, 3.0], [2.0, 2.0])
    # Residues -1 and 1: their standard deviation is sqrt(2), over sqrt(2) seeds and the mean 2.
    assert (value, error) == (1.0, pytest.approx(0.5))
