"""The embedding of level, scalars and noise: its formula, its loudness, and what it refuses."""

import math

import pytest
import torch
from torch.nn.functional import silu

from diffsci.errors import ConfigError
from diffsci.grid import Grid
from diffsci.networks._embedding import Embedding
from diffsci.networks.base import Ports

GRID = Grid(dims=("x",), coordinates=((0.0, 1.0),), units=("1",), boundary=(("open", "open"),))


def built(width=64, scalars=0, noise=0):
    torch.manual_seed(0)
    return Embedding(Ports(target=1, condition=0, scalars=scalars, noise=noise, grid=GRID), width)


def test_is_its_formula():
    net = built(width=8, scalars=2, noise=3).double()
    level, scalars, noise = (torch.randn(4, *shape).double() for shape in ((), (2,), (3,)))

    def layers(x, two):
        (w, b), (v, c) = ((layer.weight, layer.bias) for layer in (two[0], two[2]))
        return silu(x @ w.T + b) @ v.T + c

    # Four frequencies from 0.3 to 300 in equal ratios of 10; they are made in fp32.
    angle = level[:, None] * torch.tensor([0.3, 3.0, 30.0, 300.0], dtype=torch.float64)
    features = torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)
    parts = [(features, net.level), (scalars, net.scalars), (noise, net.noise)]
    exact = silu(sum(layers(*part) for part in parts))
    assert (net(level, scalars, noise) - exact).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["scalars", "noise"])
def test_numbers_are_at_least_as_loud_as_the_level(kind):
    """A one-hot class, and a draw of noise of any length, from the first step on."""
    for count in (1, 16, 100):
        net = built(**{kind: count})
        many = torch.randn(500, count) if kind == "noise" else torch.eye(count)
        level = torch.linspace(-2, 2, 200)[:, None] * net.frequency
        told = net.level(torch.cat([level.sin(), level.cos()], dim=1)).std(dim=0)
        assert getattr(net, kind)(many).square().mean().sqrt() > told.square().mean().sqrt()


@pytest.mark.parametrize("kind", ["scalars", "noise"])
def test_what_is_silenced_is_unheard_and_learns_to_be_heard(kind):
    net, level, numbers = built(**{kind: 5}), torch.randn(6), torch.randn(6, 5)
    without = built()
    without.load_state_dict({k: v for k, v in net.state_dict().items() if kind not in k})
    part = getattr(net, kind)
    part.silence()
    found = net(level, **{"scalars": None, "noise": None, kind: numbers})
    assert torch.equal(found, without(level, None))
    found.square().sum().backward()
    assert part[2].weight.grad.abs().min() > 0


def test_is_fp32_under_autocast_and_follows_the_weights():
    net = built(scalars=2)
    level, scalars = torch.randn(4), torch.randn(4, 2)
    exact = net(level, scalars)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(net(level, scalars), exact)
    assert net.double()(level, scalars).dtype == torch.float64


def test_levels_are_told_apart_at_every_scale():
    """Neighbours of 1e-3 give vectors as different as the highest frequency, 300, makes them."""
    net = built(width=64)
    level = torch.linspace(-2, 2, 4001)
    angle = level[:, None] * net.frequency
    features = torch.cat([angle.sin(), angle.cos()], dim=1)
    apart = (features[1:] - features[:-1]).norm(dim=1)
    chord = 2 * torch.sin(net.frequency * 1e-3 / 2)
    assert (apart - chord.norm()).abs().max() < 1e-3 * chord.norm()
    assert math.isclose(net.frequency.max().item(), 300.0, rel_tol=1e-6)


def test_holds_nothing_but_weights():
    net = built(width=16, scalars=2, noise=3)
    linear = 16 * 16 + 16
    count = 2 * linear + (2 * 16 + 16 + linear) + (3 * 16 + 16 + linear)
    assert sum(value.numel() for value in net.state_dict().values()) == count
    assert [name for name in built().state_dict() if "frequency" in name] == []


@pytest.mark.parametrize(
    ("scalars", "noise", "given", "text"),
    [
        (
            2,
            0,
            (None, None),
            r"^scalars: got none, the network was built for 2; give .* \[batch, 2\]",
        ),
        (2, 0, (3, None), "^scalars: got 3, the network was built for 2"),
        (0, 0, (3, None), "^scalars: got 3, the network was built for none; leave scalars out"),
        (0, 4, (None, None), "^noise: got none, the network was built for 4"),
        (0, 4, (None, 5), "^noise: got 5, the network was built for 4"),
        (2, 0, (2, 1), "^noise: got 1, the network was built for none"),
    ],
)
def test_refuses_other_counts_by_name(scalars, noise, given, text):
    numbers = [None if count is None else torch.zeros(4, count) for count in given]
    with pytest.raises(ConfigError, match=text):
        built(scalars=scalars, noise=noise)(torch.zeros(4), *numbers)
