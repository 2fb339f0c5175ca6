"""Figures: the fixed names appear for every kind of data, equal each time, with no warning."""

import struct

import matplotlib
import numpy as np
import pytest

from diffsci.data.fields import Channel
from diffsci.evaluation import canvas
from diffsci.evaluation.plots import NAMES, figures
from tests.evaluation.toys import AIR, box, globe, line, results, table

KINDS = {
    "downscaled maps": (globe(), {}),
    "forecast maps": (globe(), {"leads": (6.0, 12.0)}),
    "space-time": (line(), {"leads": (1.0, 2.0, 3.0)}),
    "lines": (line(), {}),
    "classes": (box(8, 8), {"given": False, "labels": True}),
    "samples": (box(8, 8), {"given": False}),
    "samples of lines": (line(), {"given": False}),
    "volumes": (box(4, 6, 5), {}),
    "one member": (line(), {"members": 1}),
    "one case": (line(), {"cases": 1}),
    "one lead": (line(), {"leads": (6.0,)}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_is_drawn(kind, tmp_path):
    grid, options = KINDS[kind]
    found = results(grid, **options)
    before = dict(matplotlib.rcParams)
    drawn = figures(tmp_path / "figures", found, table(found, "crps", "rmse", "spread_skill"))
    assert dict(matplotlib.rcParams) == before
    expected = set(NAMES) - {"reliability.png", "scores_by_parameter.png"}  # nothing to draw
    if found.leads is None or len(found.leads) == 1:
        expected.discard("scores_by_lead.png")
    if found.leads is None or len(found.leads) < 3:
        expected.discard("members.gif")
    if kind == "one member":
        expected -= {"member_spread.png", "rank_histogram.png"}
    assert set(drawn) == expected
    for path in drawn.values():
        head = path.read_bytes()[:24]
        if path.suffix == ".gif":
            assert head[:6] == b"GIF89a"
            continue
        assert head[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", head[16:])
        assert 400 < width < 2400
        assert 250 < height < 2400


def test_the_same_figures_are_the_same_bytes(tmp_path):
    found = results(line())
    once = figures(tmp_path / "a", found, table(found))
    again = figures(tmp_path / "b", found, table(found))
    for name in once:
        assert once[name].read_bytes() == again[name].read_bytes()


def test_each_channel_has_its_maps(tmp_path):
    pair = (AIR, Channel(variable="t", unit="K", level=850.0))
    found = results(line(), channels=pair)
    drawn = figures(tmp_path, found, table(found))
    assert list(drawn)[:2] == ["sample_maps.png", "sample_maps_t@850.png"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (255.0, "degrees_east", "105°W"),
        (-105.0, "degrees_east", "105°W"),
        (180.0, "degrees_east", "180°"),
        (360.0, "degrees_east", "0°"),
        (377.5, "degrees_east", "17.5°E"),
        (-30.0, "degrees_north", "30°S"),
        (0.0, "degrees_north", "0°"),
        (2.5, "m", "2.5"),
    ],
)
def test_degrees_are_written_as_on_a_map(value, unit, text):
    assert canvas.degrees(value, unit) == text


def test_edges_enclose_their_points():
    np.testing.assert_allclose(canvas.edges([0.0, 1.0, 3.0]), [-0.5, 0.5, 2.0, 4.0])


def test_lines_are_told_apart_beyond_the_last_colour():
    looks = [canvas.line(index, 5) for index in range(36)]
    assert len({(look["color"], look["marker"], look["linestyle"]) for look in looks}) == 36
    assert len({(look["color"], look["marker"]) for look in looks}) == 36
