"""The transformer: its count of weights, positions, shifts, attention, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from diffsci.errors import ConfigError, FieldError
from diffsci.grid import Grid
from diffsci.networks._attention import attend
from diffsci.networks._positions import places, rotated, rotations
from diffsci.networks.base import Ports
from diffsci.networks.dit import DiT

CIRCLE, LINE, POLE = ("periodic", "periodic"), ("open", "open"), ("pole", "pole")


def grid(sizes, sides):
    return Grid(
        dims=("z", "y", "x")[3 - len(sizes) :],
        coordinates=tuple(tuple(float(i) for i in range(size)) for size in sizes),
        units=("1",) * len(sizes),
        boundary=sides,
    )


def ports(sizes, sides=None, **rest):
    sides = sides or (CIRCLE,) * len(sizes)
    given = {"target": 1, "condition": 0, "scalars": 0, **rest}
    return Ports(grid=grid(sizes, sides), **given)


def built(asked, **fields):
    torch.manual_seed(0)
    net = DiT(**{"patch": 2, "width": 24, "depth": 2, "heads": 2, **fields}).build(asked)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.double().eval()


def call(net, x):
    return net(x, torch.full((len(x),), 0.3, dtype=x.dtype), None, None)


def test_parameters_are_counted_by_hand():
    asked = ports((9, 6), target=2, condition=1, scalars=3, noise=4, variance=True)
    net = DiT(patch=3, width=24, depth=2, heads=2, mlp_ratio=2.0).build(asked)
    linear = 24 * 24 + 24
    embedding = 2 * linear + (3 * 24 + 24 + linear) + (4 * 24 + 24 + linear)
    stem = 24 * 3 * 3 * 3 + 24
    # Six numbers for each feature; queries, keys, values, and their way out; two layers.
    block = (24 * 144 + 144) + (24 * 72 + 72) + linear + (24 * 48 + 48) + (48 * 24 + 24)
    end = (24 * 48 + 48) + 24 * 4 * 3 * 3 + 4
    count = embedding + stem + 2 * block + end
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_flops_are_counted_by_hand():
    """Two for each multiplication and addition; 3 x 2 tokens, the last ones over the edge."""
    asked = ports((9, 4), target=2)
    with torch.device("meta"):
        net = DiT(patch=3, width=24, depth=2, heads=2, mlp_ratio=2.0).build(asked)
        x, level = torch.zeros(1, 2, 9, 4), torch.zeros(1)
    with FlopCounterMode(display=False) as counter:
        net(x, level, None, None)
    tokens = 6
    block = 24 * 144 + tokens * (4 * 24 * 24 + 2 * 24 * 48) + 2 * tokens**2 * 24
    ends = tokens * 2 * (2 * 9) * 24 + 24 * 48
    assert counter.get_total_flops() == 2 * (2 * 24 * 24 + 2 * block + ends)


@pytest.mark.parametrize(
    ("sizes", "sides", "patch", "shift"),
    [
        ((30,), (CIRCLE,), 3, (9,)),
        ((12, 16), (CIRCLE, CIRCLE), 4, (8, 4)),
        ((6, 4, 8), (CIRCLE,) * 3, 2, (2, -2, 4)),
        ((7, 12), (LINE, CIRCLE), 3, (0, 6)),
        ((7, 12), (POLE, CIRCLE), 3, (0, -3)),
    ],
)
def test_shifts_by_whole_patches_commute_along_periodic_dims(sizes, sides, patch, shift):
    """Distances go around; 1e-6 in fp32 is some roundings, and float64 has the tables of fp32."""
    net = built(ports(sizes, sides), patch=patch)
    dims = tuple(range(2, 2 + len(sizes)))
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-7)):
        net, x = net.to(dtype), torch.randn(1, 1, *sizes).to(dtype)
        one, other = call(net, x).roll(shift, dims), call(net, x.roll(shift, dims))
        assert (one - other).square().mean() < tolerance**2 * one.square().mean()
        # A part of a patch does not commute: the test above can fail.
        part = tuple(1 if s else 0 for s in shift)
        one, other = call(net, x).roll(part, dims), call(net, x.roll(part, dims))
        assert (one - other).square().mean() > 1e-2 * one.square().mean()


def test_a_line_has_two_ends():
    """Along a dim with edges a shift does not commute, and a constant does not stay one."""
    net, x = built(ports((16,), (LINE,))), torch.ones(1, 1, 16).double()
    out = call(net, x)[..., ::2]
    assert out.std() > 1e-2 * out.abs().max()
    around = call(built(ports((16,))), x)[..., ::2]
    assert around.std() < 1e-6 * around.abs().max()


def test_products_of_rotated_features_depend_on_the_distance_alone():
    """On a circle of 8 tokens, and on a line of 8: there no two distances look the same."""
    query, key = (torch.randn(1, 1, 1, 12).double().expand(1, 1, 8, 12) for _ in range(2))
    i, j = np.indices((8, 8))
    for side, distance in ((CIRCLE, (i - j) % 8), (LINE, i - j)):
        by = rotations(grid((16,), (side,)), 2, 6).double()
        scores = (rotated(query, by) @ rotated(key, by).transpose(2, 3))[0, 0]
        found = {}
        for d, score in zip(distance.ravel(), scores.flatten().tolist(), strict=True):
            found.setdefault(int(d), []).append(score)
        # The tables are of fp32.
        assert max(max(each) - min(each) for each in found.values()) < 1e-5
        means = np.sort([np.mean(each) for each in found.values()])
        assert len(means) == (8 if side is CIRCLE else 15) and np.diff(means).min() > 1e-4


def test_rotations_turn_and_leave_lengths():
    by = rotations(grid((10, 9), (LINE, CIRCLE)), 3, 6)
    assert by.shape == (2, 12, 6) and (by.square().sum(dim=0) - 1).abs().max() < 1e-6
    # One share for each dim, and one that stays: content alone.
    assert torch.equal(by[:, :, 4:], torch.tensor([1.0, 0.0])[:, None, None].expand(2, 12, 2))
    # Rows at 0, 3, 6, 9 of a line of 10 turn by less than half a turn at the lowest frequency.
    angle = torch.atan2(by[1], by[0]).reshape(4, 3, 6)
    exact = math.pi * torch.tensor([0.0, 0.3, 0.6, 0.9])
    assert (angle[:, 0, 0] - exact).abs().max() < 1e-6
    # Columns at 0, 3, 6 of a circle of 9 by thirds of a turn.
    third = torch.tensor([0.0, 2, -2]) * math.pi / 3
    assert (angle[0, :, 2] - third).abs().max() < 1e-6


def test_places_tell_tokens_apart_between_edges_and_are_silent_on_a_circle():
    assert not places(grid((10, 9), (CIRCLE, CIRCLE)), 3, 24).any()
    table = places(grid((10, 9), (LINE, CIRCLE)), 3, 24).reshape(4, 3, 24)
    assert torch.equal(table, table[:, :1].expand(4, 3, 24))
    assert torch.cdist(table[:, 0], table[:, 0]).add(10 * torch.eye(4)).min() > 0.5
    # Lowest frequency: half a turn from edge to edge; the last patch reaches beyond, to the edge.
    centre = torch.tensor([1.5, 4.5, 7.5, 10.0]) / 10
    assert (table[:, 0, 12] - torch.cos(math.pi * centre)).abs().max() < 1e-6


def test_attention_is_its_formula_in_both_precisions():
    query, key, value = (torch.randn(2, 3, 5, 4).double() for _ in range(3))
    weights = torch.exp(torch.einsum("bhqf,bhkf->bhqk", query, key) / 2)
    exact = torch.einsum("bhqk,bhkf->bhqf", weights / weights.sum(-1, keepdim=True), value)
    assert (attend(query, key, value) - exact).abs().max() < 1e-14
    fused = attend(query.float(), key.float(), value.float())
    assert (fused - exact).abs().max() < 1e-6 * 5


def test_a_corner_hears_of_the_opposite_one():
    net = built(ports((9, 15), (LINE, LINE)), depth=1)
    x = torch.randn(1, 1, 9, 15).double().requires_grad_()
    (slope,) = torch.autograd.grad(call(net, x)[0, 0, 0, 0], x)
    assert (slope != 0).all()


def test_a_size_between_patches_is_extended_by_its_boundary():
    """7 cells of which the last is repeated: what a network of 8 cells gets by hand."""
    one, other = (built(ports((size,), (LINE,)), patch=4) for size in (7, 8))
    other.place.copy_(one.place)
    other.rotation.copy_(one.rotation)
    x = torch.randn(1, 1, 7).double()
    by_hand = torch.cat([x, x[..., -1:]], dim=2)
    assert torch.equal(call(one, x), call(other, by_hand)[..., :7])


def test_components_of_a_vector_change_their_sign_across_the_pole():
    """The row that fills up the last patch is beyond the pole, half a turn away."""
    sides = (POLE, CIRCLE)
    x = torch.randn(1, 2, 3, 8).double()
    across = x[:, :, -1:].roll(4, 3) * torch.tensor([1.0, -1.0]).double()[:, None, None]
    one = built(ports((3, 8), sides, target=2, vectors=(1,)))
    other = built(ports((4, 8), sides, target=2, vectors=(1,)))
    other.place.copy_(one.place)
    other.rotation.copy_(one.rotation)
    by_hand = torch.cat([x, across], dim=2)
    assert torch.equal(call(one, x), call(other, by_hand)[:, :, :3])


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"patch": 0}, "patch"),
        ({"width": 0}, "width"),
        ({"width": 25, "heads": 5}, "width"),
        ({"depth": 0}, "depth"),
        ({"heads": 0}, "heads"),
        ({"mlp_ratio": 0.0}, "mlp_ratio"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_refuses_by_name(fields, named):
    with pytest.raises(FieldError, match=rf"^{named}: got"):
        DiT(**fields)


def test_names_the_heads_that_would_work():
    with pytest.raises(FieldError, match=r"^heads: got 5, .* one of \[1, 2, 3, 4, 6, 12\]"):
        DiT(width=24, heads=5)


def test_refuses_grids_that_it_cannot_serve():
    with pytest.raises(FieldError, match="^patch: got 4, expected at most 3, the cells along y"):
        DiT().build(ports((3, 8)))
    with pytest.raises(FieldError, match="^heads: got 12, expected at most 4: each of 3 dims"):
        DiT(width=24, heads=12, patch=1).build(ports((3, 8, 8)))


def test_refuses_another_size_by_name():
    net = built(ports((12,)))
    with pytest.raises(
        ConfigError, match=r"^x: got sizes \(14,\), the network was built for \(12,"
    ):
        call(net, torch.zeros(1, 1, 14).double())
