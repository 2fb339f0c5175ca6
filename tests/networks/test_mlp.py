"""The network for vectors: its size, its symmetry, what it can learn, and what it refuses."""

import pytest
import torch

from diffsci.errors import ConfigError, FieldError
from diffsci.grid import Grid
from diffsci.networks.base import Ports
from diffsci.networks.mlp import MLP


def ports(*sizes, target=1, condition=0, **rest):
    grid = Grid(
        dims=("z", "y", "x")[3 - len(sizes) :] if sizes else (),
        coordinates=tuple(tuple(float(i) for i in range(size)) for size in sizes),
        units=("1",) * len(sizes),
        boundary=(("open", "open"),) * len(sizes),
    )
    return Ports(target=target, condition=condition, grid=grid, **{"scalars": 0, **rest})


def test_parameters_are_counted_by_hand():
    net = MLP(width=16, depth=3).build(
        ports(5, target=2, condition=1, scalars=3, noise=4, variance=True)
    )
    linear = 16 * 16 + 16
    embedding = 2 * linear + (3 * 16 + 16 + linear) + (4 * 16 + 16 + linear)
    film = 16 * 32 + 32
    stem, head = 3 * 5 * 16 + 16, 16 * 4 * 5 + 4 * 5
    count = embedding + stem + 3 * (film + 2 * linear) + film + head
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_single_numbers_have_no_grid():
    net = MLP(width=8, depth=1).build(ports(target=3))
    assert net(torch.randn(4, 3), torch.zeros(4), None, None).shape == (4, 3)


def test_every_value_depends_on_every_other():
    torch.manual_seed(0)
    net = MLP(width=32, depth=1).build(ports(3, 4, target=2)).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x, level = torch.randn(1, 2, 3, 4).double(), torch.zeros(1).double()
    slope = torch.autograd.functional.jacobian(lambda x: net(x, level, None, None), x)
    assert (slope.reshape(24, 24) != 0).all()


def test_learns_what_no_convolution_can():
    """A fixed shuffling of 12 values: least squares by Adam finds it to 1 % of the variance."""
    torch.manual_seed(0)
    net = MLP(width=64, depth=1).build(ports(12))
    order = torch.randperm(12)
    adam = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(400):
        x = torch.randn(128, 1, 12)
        loss = (net(x, torch.zeros(128), None, None) - x[..., order]).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert loss < 0.05


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"width": 0}, "width"),
        ({"width": 7}, "width"),
        ({"depth": 0}, "depth"),
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
    ],
)
def test_refuses_by_name(fields, named):
    with pytest.raises(FieldError, match=rf"^{named}: got"):
        MLP(**fields)


@pytest.mark.parametrize(
    "rest", [{"target": 2}, {"condition": 1}, {"variance": True}], ids=lambda rest: next(iter(rest))
)
def test_refuses_fields_where_neighbours_should_count(rest):
    """64 x 64 cells are 4096 values, as many as are taken; a second channel of any kind is not."""
    MLP().check(ports(64, 64))
    with pytest.raises(FieldError, match=r"^network: got 8192, .*4096 values.*unet or dit"):
        MLP().build(ports(64, 64, **rest))


def test_refuses_another_size_by_name():
    net = MLP(width=8, depth=1).build(ports(12))
    with pytest.raises(
        ConfigError, match=r"^x: got sizes \(13,\), the network was built for \(12,"
    ):
        net(torch.zeros(1, 1, 13), torch.zeros(1), None, None)
