"""The animation: as many frames as leads, one palette, and colours that are the maps'."""

import numpy as np
import pytest
from PIL import Image

from diffsci.evaluation.animation import animate
from tests.evaluation.toys import box, globe, line, results

LEADS = tuple(6.0 * step for step in range(1, 6))


@pytest.mark.parametrize("grid", [line(), globe(), box(3, 5, 6)], ids=["1-D", "globe", "3-D"])
def test_one_frame_a_lead_and_the_same_bytes_each_time(grid, tmp_path):
    found = results(grid, leads=LEADS)
    path = animate(found, 0, tmp_path / "one.gif")
    with Image.open(path) as moving:
        assert moving.n_frames == 5 and moving.info["loop"] == 0
        frames = []
        for number in range(5):
            moving.seek(number)
            frames.append(np.asarray(moving.convert("RGB")).astype(int))
    for one, other in zip(frames, frames[1:], strict=False):
        assert (one != other).any()  # something moves
    again = animate(found, 0, tmp_path / "two.gif")
    assert path.read_bytes() == again.read_bytes()


def test_every_lead_up_to_forty_frames(tmp_path):
    found = results(line(), leads=tuple(float(step) for step in range(1, 101)))
    with Image.open(animate(found, 0, tmp_path / "long.gif")) as moving:
        assert moving.n_frames == 40


def test_colours_hardly_move_from_what_was_drawn(tmp_path):
    """A field that is dark first and bright last keeps both: the palette is that of all frames."""
    found = results(globe(), leads=LEADS)
    rising = np.linspace(270, 290, 5)[None, :, None, None, None] + 0 * found.truth
    moving = found.__class__(**{**found.__dict__, "truth": rising.astype(np.float32)})
    with Image.open(animate(moving, 0, tmp_path / "rising.gif")) as made:
        made.seek(4)
        last = np.asarray(made.convert("RGB")).astype(int)
    # Viridis ends in (253, 231, 37); the map of the first of five panels is filled with it.
    near = np.abs(last - [253, 231, 37]).max(axis=-1) < 12
    assert near.mean() > 0.03


def test_without_leads_there_is_nothing_to_move(tmp_path):
    assert animate(results(line()), 0, tmp_path / "none.gif") is None
    assert animate(results(line(), leads=(6.0, 12.0)), 0, tmp_path / "none.gif") is None
    assert not (tmp_path / "none.gif").exists()
