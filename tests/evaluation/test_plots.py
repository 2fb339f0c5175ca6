"""Figures: the fixed names appear for every kind of data, equal each time, with no warning."""

import struct
from dataclasses import replace

import matplotlib
import numpy as np
import pytest

from diffsci.data.fields import Channel
from diffsci.evaluation import canvas, curves
from diffsci.evaluation.canvas import figure, legend_below, plain_ticks
from diffsci.evaluation.maps import sample_maps, value_range
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


@pytest.mark.parametrize("members", [1, 3])
def test_maps_of_one_member_have_no_spread(members):
    made = sample_maps(results(globe(), members=members), 0)
    told = [axes.get_xlabel() for axes in made.axes if axes.get_xlabel()]
    spread = ["spread (standard deviation) (K)"] if members > 1 else []
    assert told == ["air temperature (K)", *spread, "difference from given (K)"]
    titles = [axes.get_title() for axes in made.axes if axes.get_title()]
    assert ("ensemble mean" in titles) == ("spread" in titles) == (members > 1)


def test_what_was_given_with_holes_is_blank_there_and_differences_are_from_the_truth():
    found = results(globe(), members=3)
    given = found.truth[:, 0].copy()
    given[..., 2:5, 2:5] = np.nan
    made = sample_maps(replace(found, given=given), 0)
    titles = [axes.get_title() for axes in made.axes if axes.get_title()]
    assert titles[:2] == ["given", "truth"] and "ensemble mean − truth" in titles
    assert not any(title.endswith("given") for title in titles[1:])
    (mesh,) = made.axes[0].collections
    assert np.array_equal(np.ma.getmaskarray(mesh.get_array()).reshape(given.shape[2:]),
                          np.isnan(given[0, 0]))  # fmt: skip


def test_a_wind_with_a_few_gusts_back_is_no_field_of_both_signs():
    wind = np.random.default_rng(0).normal(5, 2, 10_000)
    wind[:20] = -12
    assert value_range(wind)[1:] == (-12, wind.max())
    assert value_range(wind - 5)[2] == -value_range(wind - 5)[1]


def test_a_legend_is_no_wider_than_its_figure():
    made = canvas.figure(5.4, 3.4)
    axes = made.subplots()
    for name in ("model (16 members)", "raw (16 members)", "climatology (16 members)", "reliable"):
        axes.plot([0, 1], label=name)
    canvas.legend_below(made, axes)
    (legend,) = made.legends
    made.canvas.draw()
    assert legend.get_window_extent().x0 >= 0 and legend.get_window_extent().x1 <= made.bbox.x1


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_square_panels_have_room_for_their_titles_and_the_legend(channels):
    of = tuple(Channel(variable=f"wind_{n}", unit="m s-1") for n in range(channels))
    made = curves.member_spread(results(box(8, 8), leads=(1.0, 2.0), channels=of))
    made.draw_without_rendering()
    (legend,) = made.legends
    for axes in made.axes:
        assert axes.title.get_window_extent().y1 <= made.bbox.height
        assert axes.xaxis.label.get_window_extent().y0 >= legend.get_window_extent().y1


def test_spectra_keep_their_numbers_where_a_forecast_lacks_scales(monkeypatch):
    """The truth falls by 12 decades, the model has noise, and a baseline nothing beyond a cut."""
    found = results(box(64, 64), channels=(Channel(variable="u", unit="m s-1"),))
    waves = np.arange(1, 33)
    truth = 10.0 ** (-12 * waves / 32)
    powers = {"model": truth + 1e-5, "persistence": np.where(waves > 20, 1e-30, truth)}
    monkeypatch.setattr(
        curves, "_means", lambda score, results, scores, name, _: np.append(powers[name], truth)
    )
    made = curves.spectra(found, table(found))
    made.draw_without_rendering()
    above, below = made.axes
    assert above.get_ylim()[0] >= truth.min() / 101 and above.get_ylabel() == "power ((m s-1)²)"
    assert below.get_ylim() == (1 / 1000, 1000)
    low, high = below.get_ylim()
    shown = [tick for tick in below.get_yticklabels() if tick.get_text()]
    assert sum(low <= tick.get_position()[1] <= high for tick in shown) >= 3


@pytest.mark.parametrize(("low", "high"), [(12, 28), (0.9, 9), (0.3, 40), (1e-3, 1e3)])
def test_logarithmic_axes_have_ticks_with_numbers(low, high):
    axes = figure(4.0, 3.0).subplots()
    axes.set(yscale="log", ylim=(low, high))
    plain_ticks(axes)
    axes.figure.draw_without_rendering()
    at = [t.get_position()[1] for t in axes.get_yticklabels() if t.get_text()]
    assert 3 <= sum(low <= place <= high for place in at) <= 9


def test_a_legend_is_of_all_panels():
    made = figure(6.0, 3.0)
    one, two = made.subplots(1, 2)
    one.plot([0, 1], label="a")
    two.plot([0, 1], label="b")
    two.plot([0, 1], label="a")
    legend_below(made, one, two)
    assert [text.get_text() for text in made.legends[0].get_texts()] == ["a", "b"]


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("2000-01-01T00:00:00", "2000-01-01"),
        ("2000-01-01T12:00:00", "2000-01-01T12:00"),
        ("2000-01-01T12:00:30", "2000-01-01T12:00:30"),
        ("sample=3,time=0", "sample=3,time=0"),
    ],
)
def test_times_are_told_without_what_is_zero(key, told):
    assert replace(results(line()), keys=(key,)).key(0) == told


def test_few_leads_are_the_ticks():
    def ticks(*leads):
        axes = canvas.figure(3.0, 2.0).subplots()
        axes.plot(leads, leads)
        canvas.ticks_at(axes, leads)
        return [label.get_text() for label in axes.get_xticklabels()]

    assert ticks(6.0, 12.0, 18.0, 24.0) == ["6", "12", "18", "24"]
    assert ticks(0.25, 0.5) == ["0.25", "0.5"]
    # Many, or such as would overlap, have those of matplotlib.
    assert "240" not in ticks(1.0, 2.0, 240.0) and "7" not in ticks(*map(float, range(20)))
