"""The U-Net: how far it looks, its symmetries, patches, and numbers of parameters by hand."""

import re

import numpy as np
import pytest
import torch

from diffsci.errors import ConfigError
from diffsci.grid import Grid
from diffsci.networks import _inputs
from diffsci.networks.base import Ports
from diffsci.networks.unet import UNet
from tests.networks.test_unet import grid

POLES = (("pole", "pole"), ("periodic", "periodic"))


def sphere(rows, columns, *, nodes=False):
    """Global grid; with `nodes` its first and last rows lie on the poles."""
    step = 180 / (rows - 1 if nodes else rows)
    first = -90 if nodes else -90 + step / 2
    return Grid(
        dims=("latitude", "longitude"),
        coordinates=(
            tuple(float(first + step * row) for row in range(rows)),
            tuple(360.0 * column / columns for column in range(columns)),
        ),
        units=("degrees_north", "degrees_east"),
        boundary=POLES,
        geometry="sphere",
    )


def built(spec, space, **ports):
    given = {"target": 1, "condition": 0, "scalars": 0} | ports
    torch.manual_seed(0)
    net = spec.build(Ports(grid=space, **given))
    for parameter in net.parameters():
        # Wide enough that nothing which is connected rounds away.
        torch.nn.init.normal_(parameter, std=0.3)
    return net.double().eval()


SPECS = [
    UNet(channels=(4, 4), blocks=1, groups=2, norm="cell", embedding=8),
    UNet(channels=(4, 4, 4), blocks=(2, 1, 1), groups=2, norm="cell", embedding=8),
    UNet(channels=(4, 4), blocks=1, groups=2, norm="cell", patch=2, embedding=8),
    UNet(channels=(4,), blocks=1, groups=2, norm="cell", patch=3, embedding=8),
]


@pytest.mark.parametrize("spec", SPECS)
def test_an_output_depends_on_nothing_beyond_its_reach_and_nearly_on_all_within(spec):
    """By the gradient of single outputs at every place within a stride."""
    ports = Ports(target=1, condition=0, scalars=0, grid=grid(240))
    reach = spec.reach(ports)
    net = built(spec, grid(240))
    x = torch.randn(1, 1, 240, dtype=torch.float64, requires_grad=True)
    out = net(x, torch.zeros(1).double(), None, None)
    farthest = 0
    for place in range(96, 96 + reach.stride[0]):
        (slope,) = torch.autograd.grad(out[0, 0, place], x, retain_graph=True)
        seen = slope[0, 0].nonzero().flatten()
        farthest = max(farthest, place - int(seen.min()), int(seen.max()) - place)
    # The bound counts a stride's worst place on both sides, so it may be a stride too long.
    assert reach.cells[0] - 2 * reach.stride[0] <= farthest <= reach.cells[0]


@pytest.mark.parametrize("spec", SPECS)
def test_a_part_that_begins_at_a_stride_gives_the_same_inner_cells(spec):
    """What tiles rest on."""
    net, space = built(spec, grid(240)), grid(240)
    reach = spec.reach(Ports(target=1, condition=0, scalars=0, grid=space))
    x, level = torch.randn(1, 1, 240).double(), torch.zeros(1).double()
    start = 4 * reach.stride[0]
    whole = net(x, level, None, None)
    part = net(x[..., start:], level, None, None)
    same = part[..., reach.cells[0] :] - whole[..., start + reach.cells[0] :]
    assert same.abs().max() < 1e-12 * whole.abs().max()


def test_group_norm_and_attention_see_the_whole_field():
    ports = Ports(target=1, condition=0, scalars=0, grid=grid(32))
    assert UNet(norm="group").reach(ports) is None
    assert UNet(norm="cell", attention=(2,)).reach(ports) is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sizes", [(48,), (24, 36), (12, 12, 24)])
@pytest.mark.parametrize("norm", ["group", "cell"])
def test_patches_shift_with_a_periodic_input(sizes, norm, dtype):
    """By multiples of patch 3 x 2 for the second resolution; to 1e-6 in fp32, as promised."""
    spec = UNet(channels=(8, 8), blocks=1, groups=4, norm=norm, patch=3, embedding=8)
    net = built(spec, grid(*sizes, boundary="periodic"), target=2).to(dtype)
    x, level = torch.randn(1, 2, *sizes).to(dtype), torch.zeros(1).to(dtype)
    dims = tuple(range(2, 2 + len(sizes)))
    shift = tuple(6 * (index + 1) for index in range(len(sizes)))
    one = net(x, level, None, None).roll(shift, dims)
    other = net(x.roll(shift, dims), level, None, None)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    assert (one - other).abs().max() < tolerance * one.abs().max()


@pytest.mark.parametrize("sizes", [(37, 49), (7, 11), (5, 6, 7), (13,)])
@pytest.mark.parametrize("boundary", ["open", "periodic", "zero", "wall"])
def test_patches_take_any_size(sizes, boundary):
    spec = UNet(channels=(8, 8), blocks=1, groups=4, patch=2, embedding=8)
    net = built(spec, grid(*sizes, boundary=boundary), target=2, condition=1)
    x, c = torch.randn(2, 2, *sizes).double(), torch.randn(2, 1, *sizes).double()
    out = net(x, torch.zeros(2).double(), c, None)
    assert out.shape == x.shape and torch.isfinite(out).all()


def test_cells_beyond_the_high_side_are_the_boundary_s():
    """37 periodic cells in patches of 2: the 38th is the first again."""
    spec = UNet(channels=(4,), blocks=1, groups=2, norm="cell", patch=2, embedding=8)
    net = built(spec, grid(37, boundary="periodic"))
    x, level = torch.randn(1, 1, 37).double(), torch.zeros(1).double()
    longer = torch.cat([x, x[..., :1]], dim=-1)
    seen = net.stem.conv(torch.cat([longer[..., 35:37], longer, x[..., 1:3]], dim=-1))
    assert torch.allclose(net.stem(x), seen, rtol=0, atol=1e-14)
    assert net(x, level, None, None).shape == x.shape


@pytest.mark.parametrize(
    ("rows", "columns", "nodes"), [(8, 16, False), (9, 16, True), (32, 64, False), (33, 64, True)]
)
@pytest.mark.parametrize("patch", [1, 2])
def test_a_turn_about_the_axis_turns_the_output(rows, columns, nodes, patch):
    """The poles are padded alike at all longitudes."""
    spec = UNet(channels=(8, 8), blocks=1, groups=4, patch=patch, embedding=8)
    net = built(spec, sphere(rows, columns, nodes=nodes), target=2, vectors=(1,))
    x, level = torch.randn(1, 2, rows, columns).double(), torch.zeros(1).double()
    one = net(x, level, None, None).roll(4, -1)
    other = net(x.roll(4, -1), level, None, None)
    assert (one - other).abs().max() < 1e-12 * one.abs().max()


def test_vector_components_are_seen_with_their_sign_across_the_pole():
    """The first features alone, on the field whose continuation is known: a uniform wind."""
    spec = UNet(channels=(4,), blocks=1, groups=2, embedding=8)
    space = sphere(16, 32)
    lon = torch.deg2rad(torch.tensor(space.coordinates[1], dtype=torch.float64))
    # A wind along x over the pole has the eastward component -sin(lon) in every row near it.
    wind = (-lon.sin())[None, None, None].expand(1, 1, 16, 32)
    plain, marked = built(spec, space), built(spec, space, vectors=(0,))
    beyond = torch.cat([-wind.roll(16, -1)[:, :, :1], wind, -wind.roll(16, -1)[:, :, :1]], dim=2)
    around = torch.cat([beyond[..., -1:], beyond, beyond[..., :1]], dim=-1)
    assert torch.allclose(marked.stem(wind), marked.stem.conv(around), rtol=0, atol=1e-13)
    # Across the pole the component's own continuation is itself: what has no mark sees a jump.
    assert (plain.stem(wind) - marked.stem(wind))[:, :, 0].abs().max() > 0.1
    assert (plain.stem(wind) - marked.stem(wind))[:, :, 1:-1].abs().max() == 0


@pytest.mark.parametrize("axial", [False, True])
@pytest.mark.parametrize("sizes", [(6,), (4, 6), (2, 4, 6)])
def test_attention_by_hand(axial, sizes):
    """Against softmax(q k^T / sqrt(n)) v written with einsum, axis after axis where axial."""
    from diffsci.networks._blocks import Attention
    from diffsci.networks._norm import Normalise

    torch.manual_seed(1)
    width, heads = 8, 2
    norm = Normalise("cell", 2)
    module = Attention(width, heads, axial, len(sizes), norm).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    x = torch.randn(3, width, *sizes).double()
    found = module(x)
    letters = "uvw"[: len(sizes)]
    wanted = x
    for axes, mix, out in zip(module.axes, module.mix, module.out, strict=True):
        mean = wanted.mean(1, keepdim=True)
        variance = wanted.var(1, keepdim=True, unbiased=False)
        field = ((wanted - mean) / (variance + 1e-5).sqrt()).movedim(1, -1)
        query, key, value = mix(field).chunk(3, dim=-1)
        total = torch.zeros_like(field)
        half = width // heads
        for head in range(heads):
            part = slice(head * half, (head + 1) * half)
            here = "".join(letters[axis] for axis in axes)
            there = here.upper()
            kept = letters
            other = "".join(c.upper() if c in here else c for c in kept)
            rule = f"b{kept}c,b{other}c->b{kept}{there}"
            weights = torch.einsum(rule, query[..., part], key[..., part]) / half**0.5
            count = int(np.prod([sizes[axis] for axis in axes]))
            flat = weights.reshape(*weights.shape[: 1 + len(sizes)], count).softmax(-1)
            weights = flat.reshape(weights.shape)
            rule = f"b{kept}{there},b{other}c->b{kept}c"
            total[..., part] = torch.einsum(rule, weights, value[..., part])
        wanted = wanted + out(total).movedim(-1, 1)
    assert (found - wanted).abs().max() < 1e-12


def test_number_of_parameters_by_hand():
    """Counted from the drawing: stems, blocks, FiLM, down, up, head."""
    target, condition, scalars, e, (a, b) = 2, 3, 4, 16, (8, 16)
    spec = UNet(channels=(a, b), blocks=1, groups=4, embedding=e)
    net = spec.build(Ports(target=target, condition=condition, scalars=scalars, grid=grid(9, 9)))

    def conv(fan_in, fan_out, cells=9):
        return fan_in * fan_out * cells + fan_out

    stems = conv(target, a) + conv(condition, a)
    # Two blocks of two convolutions at each resolution, one down and one up.
    blocks = 4 * conv(a, a) + 4 * conv(b, b)
    between = conv(a, b) + conv(b, a, 1) + conv(a, a, 1)
    # A scale and a shift for each channel of four blocks and the head.
    numbers = 2 * (a + b + b + a + a)
    embedding = 2 * (e * e + e) + (scalars * e + e) + (e * e + e)
    head = conv(a, target)
    wanted = stems + blocks + between + (e + 1) * numbers + embedding + head
    assert sum(parameter.numel() for parameter in net.parameters()) == wanted


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"blocks": (1, 2), "channels": (8, 8, 8)}, "blocks"),
        ({"blocks": (1, 0, 1), "channels": (8, 8, 8)}, "blocks"),
        ({"patch": 0}, "patch"),
    ],
)
def test_refuses_by_name(fields, named):
    with pytest.raises(ConfigError, match=rf"^{named}: got"):
        UNet(**fields)


def test_refuses_patches_larger_than_the_grid():
    with pytest.raises(ConfigError, match=r"^patch: got 6, expected at most 5, the cells along x"):
        UNet(patch=6).check(Ports(target=1, condition=0, scalars=0, grid=grid(5)))


@pytest.mark.parametrize("boundary", ["wall", "open", "periodic"])
@pytest.mark.parametrize("patch", [1, 2])
@pytest.mark.parametrize("widths", [2, 3, 4])
def test_what_the_refusal_of_a_small_grid_advises_is_accepted(boundary, patch, widths):
    spec = UNet(channels=(8,) * widths, groups=4, patch=patch)
    ports = Ports(target=1, condition=0, scalars=0, grid=grid(2, boundary=boundary))
    with pytest.raises(ConfigError, match=r"at most (\d+) widths for 2 cells along x") as caught:
        spec.check(ports)
    most, least = re.search(r"at most (\d+) widths .* or (\d+) cells", str(caught.value)).groups()
    larger = grid(int(least), boundary=boundary)
    spec.check(Ports(target=1, condition=0, scalars=0, grid=larger))
    if int(most):
        UNet(channels=(8,) * int(most), groups=4, patch=patch).check(ports)


def test_a_dim_of_one_cell_stays_one_at_all_resolutions():
    UNet(channels=(8, 8, 8), groups=4).check(
        Ports(target=1, condition=0, scalars=0, grid=grid(1, 9))
    )


def test_settings_that_would_be_ignored_are_refused():
    with pytest.raises(ConfigError, match=r"^axial: got true, expected false where there is no"):
        UNet(axial=True)
    UNet(channels=(20, 40), norm="cell")  # has no groups that would have to divide them


def test_a_condition_of_fewer_examples_is_refused():
    ports = Ports(target=1, condition=1, scalars=0, grid=grid(8))
    with pytest.raises(ConfigError, match=r"condition: got 1 examples, expected 4"):
        _inputs.require(torch.zeros(4, 1, 8), torch.zeros(1, 1, 8), ports)
