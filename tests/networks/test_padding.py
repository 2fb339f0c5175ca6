"""Padding: each boundary by its definition, and poles against smooth fields on the sphere."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from diffsci.errors import ConfigError
from diffsci.grid import Grid
from diffsci.networks._padding import Edges, pad, pad_by, pad_high
from tests.networks.edges import EDGES, POLES, RING, field


def line(values, side, k, distance, turn):
    """Values at ghost k beyond the end of an array's first axis, from the definitions."""
    size = len(values)
    if side == "zero":
        return 0 * values[0]
    if side == "pole":
        # A great circle: these rows, and beyond the pole those of the opposite meridian.
        at = np.arange(values.shape[-1])
        opposite = np.apply_along_axis(
            lambda row: np.interp(at + turn / 2, at, row, period=turn), -1, values
        )
        places = np.concatenate([-2 * distance - np.arange(size)[::-1], np.arange(size)])
        circle = np.concatenate([opposite[::-1], values])
        return np.apply_along_axis(lambda column: np.interp(-k, places, column), 0, circle)
    mode = {"open": "edge", "periodic": "wrap", "wall": "reflect"}[side]
    return values[np.pad(np.arange(size), (k, 0), mode=mode)[0]]


def independent(x, amounts, edges):
    """Dim by dim, ghost by ghost, in numpy."""
    for dim, (low, high) in enumerate(amounts):
        lines = np.moveaxis(x, 2 + dim, 0)
        (one, other), (south, north) = edges.sides[dim], edges.poles[dim]
        before = [line(lines, one, k, south, edges.turn) for k in range(low, 0, -1)]
        after = [line(lines[::-1], other, k, north, edges.turn) for k in range(1, high + 1)]
        x = np.moveaxis(np.stack([*before, *lines, *after]), 0, 2 + dim)
    return x


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("width", [1, 2])
def test_each_boundary_is_its_definition(name, width):
    edges = EDGES[name]
    x = field(edges)
    amounts = ((width, width),) * len(edges.sizes)
    # Means of two values in another order of operations: some roundings of 2e-16.
    assert (
        np.abs(pad(x, width, edges).numpy() - independent(x.numpy(), amounts, edges)).max() < 2e-15
    )
    high = tuple(range(len(edges.sizes)))
    amounts = tuple((0, amount) for amount in high)
    assert (
        np.abs(pad_high(x, high, edges).numpy() - independent(x.numpy(), amounts, edges)).max()
        < 2e-15
    )
    assert pad(x, 0, edges) is x


def test_a_mirror_that_is_met_twice_and_a_ring_that_is_gone_around_twice():
    x = torch.tensor([[[1.0, 2.0]]])
    for sides in (("wall", "wall"), RING):
        edges = Edges((sides,), (2,), ((0.5, 0.5),), 2.0)
        assert pad(x, 3, edges).tolist() == [[[2, 1, 2, 1, 2, 1, 2, 1]]]


def test_odd_channels_change_their_sign_across_the_pole_alone():
    for name in ("half off", "between", "one pole", "levels"):
        edges = EDGES[name]
        x = field(edges, channels=3)
        signed, plain = pad(x, 1, edges, (0, 2)), pad(x, 1, edges)
        negated = pad(-x, 1, edges)
        # Without signs a mean is taken in another order of operations.
        assert torch.allclose(signed[:, 1], plain[:, 1], rtol=0, atol=4e-16)
        axis = 2 + edges.sides.index(next(pair for pair in edges.sides if "pole" in pair))
        size = x.shape[axis]
        assert torch.equal(signed.narrow(axis, 1, size), plain.narrow(axis, 1, size))
        row = signed.narrow(axis, size + 1, 1)[:, ::2]
        if name == "between":
            # A quarter of a cell before the pole: a third own row, two thirds the opposite one.
            own = pad(x, 1, edges).narrow(axis, size, 1)[:, ::2]
            assert torch.allclose(row + plain.narrow(axis, size + 1, 1)[:, ::2], own * 2 / 3)
        else:
            other = negated.narrow(axis, size + 1, 1)[:, ::2]
            assert torch.allclose(row, other, rtol=0, atol=4e-16)


def globe(rows, columns, south=0.5, north=0.5, *, descending=False, units="degrees_north"):
    step = 180 / (rows - 1 + south + north)
    latitudes = -90 + step * (south + np.arange(rows))
    if descending:
        latitudes = latitudes[::-1]
    return Grid(
        dims=("latitude", "longitude"),
        coordinates=(
            tuple(latitudes.tolist()),
            tuple((360 / columns * np.arange(columns)).tolist()),
        ),
        units=(units, "degrees_east"),
        boundary=(POLES, RING),
        geometry="sphere",
    )


def smooth(latitude, longitude):
    """A sum of spherical harmonics, and the east and north components of its gradient."""
    sin, cos = np.sin(latitude), np.cos(latitude)
    east, north = np.cos(longitude), np.sin(longitude)
    return np.stack(
        [
            cos * east + 2 * cos * sin * north + 0.3 * sin**2,
            -north + 2 * sin * east,
            -sin * east + 2 * np.cos(2 * latitude) * north + 0.6 * sin * cos,
        ]
    )


def error(grid, width=1, edges=None, stride=1):
    """Ghost rows against the formula, which goes on across the poles by itself."""
    latitude, longitude = (np.deg2rad(values) for values in grid.coordinates)
    edges = edges or Edges.of(grid)
    step = (latitude[1] - latitude[0]) * stride
    latitude, longitude = latitude[::stride], longitude[::stride]
    inner = torch.tensor(smooth(latitude[:, None], longitude[None]))[None]
    assert tuple(inner.shape[2:]) == edges.sizes
    beyond = np.arange(1, width + 1) * step
    wide = np.concatenate([latitude[0] - beyond[::-1], latitude, latitude[-1] + beyond])
    outer = pad(inner, width, edges, (1, 2))[0, :, :, width:-width].numpy()
    return np.abs(outer - smooth(wide[:, None], longitude[None])).max()


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("distances", [(0.0, 0.0), (0.5, 0.5), (0.0, 0.5)])
def test_rows_beyond_a_pole_are_copies_where_they_can_be(distances, descending):
    """Scalars and vectors of a smooth field, to the rounding of the latitudes."""
    for width in (1, 2, 3):
        assert error(globe(9, 12, *distances, descending=descending), width) < 1e-14


@pytest.mark.parametrize(
    ("distances", "odd", "stride"),
    [
        ((0.25, 0.75), False, 1),
        ((0.5, 0.5), True, 1),
        ((0.766, 0.766), True, 1),
        ((1.0, 0.1), False, 1),
        ((0.5, 0.5), False, 2),
        ((0.0, 0.0), True, 2),
        ((0.0, 0.5), True, 4),
    ],
)
def test_rows_beyond_a_pole_are_second_order_elsewhere(distances, odd, stride):
    """At coarser resolutions too, where circles of odd length close with a shorter step."""
    errors = []
    for rows in (32, 64, 128, 256):
        grid = globe(rows + (stride > 1), 2 * rows + odd, *distances)
        edges = Edges.of(grid)
        for _ in range(stride.bit_length() - 1):
            edges = edges.coarser()
        errors.append(error(grid, 1, edges, stride))
    orders = [np.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    # Measured: 1.87 to 2.04.
    assert all(1.8 < order < 2.2 for order in orders), orders


def test_distances_come_from_the_latitudes_and_follow_the_levels():
    edges = Edges.of(globe(181, 360, 0, 0))
    assert (edges.poles[0], edges.turn) == ((0.0, 0.0), 360.0)
    found = []
    for _ in range(4):
        edges = edges.coarser()
        found.append((edges.sizes, edges.poles[0], edges.turn))
    # 181, 91, 46 and 23 rows: the last of an even number of rows falls away.
    assert found == [
        ((91, 180), (0.0, 0.0), 180.0),
        ((46, 90), (0.0, 0.0), 90.0),
        ((23, 45), (0.0, 0.5), 45.0),
        ((12, 23), (0.0, 0.25), 22.5),
    ]
    edges = Edges.of(globe(32, 64, 0.5, 0.25, descending=True))
    assert edges.poles[0] == pytest.approx((0.25, 0.5), abs=1e-12)
    # Patches of 4 rows: the first centre lies 1.5 rows from the first row.
    blocks = edges.blocks(4)
    assert (blocks.sizes, blocks.turn) == ((8, 16), 16.0)
    assert blocks.poles[0] == pytest.approx(((0.25 + 1.5) / 4, (0.5 + 1.5) / 4), abs=1e-12)
    # Of 5 rows the second patch reaches 3 beyond the last: its centre lies beyond the pole.
    beyond = Edges.of(globe(5, 8, 0.0, 0.0)).blocks(4)
    assert beyond.poles[0] == (1.5 / 4, -1.5 / 4)
    # A reader rounds latitudes to 1e-4 degrees; rows are copied all the same.
    third = globe(540, 8)
    rounded = tuple(np.round(third.coordinates[0], 4).tolist())
    assert Edges.of(globe(540, 8)).poles[0] == (0.5, 0.5)
    nudged = Grid(**{**vars(third), "coordinates": (rounded, third.coordinates[1])})
    assert Edges.of(nudged).poles[0] == (0.5, 0.5)
    # What are no degrees tells nothing: half a cell.
    assert Edges.of(globe(6, 8, 0.1, 0.1, units="1")).poles[0] == (0.5, 0.5)


def test_poles_without_longitudes_or_far_from_the_rows_are_refused():
    grid = globe(6, 8)
    for boundary in ((POLES, ("open", "open")), (RING, POLES)):
        with pytest.raises(ConfigError, match="before a last, periodic one"):
            Edges.of(Grid(**{**vars(grid), "boundary": boundary}))
    with pytest.raises(ConfigError, match=r"boundary of latitude: .* not 1.5 cells"):
        Edges.of(globe(6, 8, 0.5, 1.5))


@pytest.mark.parametrize("name", EDGES)
def test_least_is_the_fewest_cells_that_can_be_padded(name):
    edges = EDGES[name]
    for dim, sides in enumerate(edges.sides):
        for width in (1, 2, 3):
            least = edges.least(dim, width)
            assert least == 1 or {"wall", "pole"} & set(sides)
            for size in {least, max(1, least - 1)}:
                sizes = (*edges.sizes[:dim], size, *edges.sizes[dim + 1 :])
                small = Edges(edges.sides, sizes, edges.poles, edges.turn)
                amounts = tuple((width,) * 2 if i == dim else (0, 0) for i in range(len(sizes)))
                if size == least:
                    pad_by(field(small), amounts, small)
                else:
                    with pytest.raises((AssertionError, ZeroDivisionError)):
                        pad_by(field(small), amounts, small)


def test_only_zeros_on_all_sides_are_left_to_the_convolution():
    assert Edges((("zero",) * 2,), (5,), ((0.5, 0.5),), 5.0).all_zero
    assert not any(edges.all_zero for edges in EDGES.values())
