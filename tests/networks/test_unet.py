"""The U-Net: sizes, boundaries, FiLM, symmetry, and what it refuses."""

import pytest
import torch

from diffsci.errors import ConfigError
from diffsci.grid import Grid
from diffsci.networks._padding import pad_made
from diffsci.networks.base import Ports
from diffsci.networks.unet import UNet


def grid(*sizes, boundary="open"):
    names = ("z", "y", "x")[-len(sizes) :]
    return Grid(
        dims=names,
        coordinates=tuple(tuple(float(i) for i in range(size)) for size in sizes),
        units=("1",) * len(sizes),
        boundary=((boundary, boundary),) * len(sizes),
    )


def built(space, *, target=1, condition=0, scalars=0, zero_ends=False, **fields):
    spec = UNet(channels=(8, 16, 16), groups=4, blocks=1, embedding=16, **fields)
    net = spec.build(Ports(target=target, condition=condition, scalars=scalars, grid=space))
    if not zero_ends:
        # The zero-initialised ends would hide everything behind them.
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return net.double().eval()


@pytest.mark.parametrize("sizes", [(5,), (64,), (37, 49), (8, 8), (1, 7), (5, 6, 7)])
@pytest.mark.parametrize("boundary", ["open", "periodic", "zero"])
def test_any_size_keeps_its_size(sizes, boundary):
    net = built(grid(*sizes, boundary=boundary), target=2, condition=3, scalars=4)
    x, c = torch.randn(2, 2, *sizes).double(), torch.randn(2, 3, *sizes).double()
    out = net(x, torch.zeros(2).double(), c, torch.randn(2, 4).double())
    assert out.shape == x.shape and torch.isfinite(out).all()


def test_starts_as_zero():
    net = built(grid(9, 9), zero_ends=True)
    assert (
        net(torch.randn(2, 1, 9, 9).double(), torch.zeros(2).double(), None, None).abs().max() == 0
    )


@pytest.mark.parametrize("sizes", [(32,), (16, 24)])
def test_shifting_a_periodic_input_shifts_the_output(sizes):
    """By multiples of the total stride, 4: nothing but the order of sums may change."""
    net = built(grid(*sizes, boundary="periodic"))
    x, level = torch.randn(1, 1, *sizes).double(), torch.zeros(1).double()
    dims = tuple(range(2, 2 + len(sizes)))
    shift = (4,) * len(sizes)
    one = net(x, level, None, None).roll(shift, dims)
    other = net(x.roll(shift, dims), level, None, None)
    assert (one - other).abs().max() < 1e-12 * one.abs().max().clamp(min=1)


def test_level_scalars_and_condition_all_reach_the_output():
    net = built(grid(8, 8), condition=1, scalars=2)
    x, c = torch.randn(1, 1, 8, 8).double(), torch.randn(1, 1, 8, 8).double()
    level, scalars = torch.zeros(1).double(), torch.zeros(1, 2).double()
    one = net(x, level, c, scalars)
    assert (net(x, level + 0.1, c, scalars) - one).abs().max() > 1e-6
    assert (net(x, level, c + 0.1, scalars) - one).abs().max() > 1e-6
    assert (net(x, level, c, scalars + 0.1) - one).abs().max() > 1e-6


def test_attention_sees_the_whole_grid():
    """A change in one corner reaches the opposite one only through attention."""
    x, level = torch.randn(1, 1, 64).double(), torch.zeros(1).double()
    changed = x.clone()
    changed[..., 0] += 1
    for attention, reaches in (((), False), ((2,), True)):
        net = built(grid(64), attention=attention, norm="cell")
        change = (net(changed, level, None, None) - net(x, level, None, None)).abs()
        assert (change[0, 0, 60] > 0) == reaches


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"channels": (30,)}, "channels"),
        ({"channels": ()}, "channels"),
        ({"blocks": 0}, "blocks"),
        ({"dropout": 1.0}, "dropout"),
        ({"attention": (3,)}, "attention"),
        ({"heads": 5, "attention": (0,)}, "heads"),
        ({"embedding": 7}, "embedding"),
    ],
)
def test_refuses_by_name(fields, named):
    with pytest.raises(ConfigError, match=rf"^{named}: got"):
        UNet(**fields)


def test_refuses_walls_too_near_for_the_depth():
    spec = UNet(channels=(8, 8, 8, 8))
    with pytest.raises(ConfigError, match="at most 3 widths for 5 cells along x"):
        spec.check(Ports(target=1, condition=0, scalars=0, grid=grid(5, boundary="wall")))


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("boundary", ["periodic", "wall", "open", "zero"])
@pytest.mark.parametrize("sizes", [(13,), (12, 16), (12, 14), (5, 6, 8)])
def test_without_gradients_padding_in_place_gives_the_same_bits(sizes, boundary, low):
    """What is written within its halo at once is what was made first and copied then."""
    torch.manual_seed(0)
    net = built(grid(*sizes, boundary=boundary), target=2).float()
    x, level = torch.randn(2, 2, *sizes), torch.tensor([0.3, -1.0])
    last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(len(sizes))
    if last is not None:
        x, net = x.to(memory_format=last), net.to(memory_format=last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
        wanted = net(x, level, None, None).detach()
        with torch.no_grad():
            found = net(x, level, None, None)
        with torch.inference_mode():
            again = net(x, level, None, None)
    assert torch.equal(found, wanted)
    assert torch.equal(again, wanted)


def test_fields_of_whole_vectors_are_written_in_place(monkeypatch):
    from diffsci.networks import _blocks

    net = built(grid(12, 16, boundary="wall")).float().to(memory_format=torch.channels_last)
    made = []
    monkeypatch.setattr(_blocks, "pad_made", lambda *args: made.append(pad_made(*args)) or made[-1])
    x = torch.randn(2, 1, 12, 16).to(memory_format=torch.channels_last)
    with torch.no_grad():
        net(x, torch.zeros(2), None, None)
    # Two convolutions for each of two blocks (down and up) at each of three resolutions.
    assert len(made) == 12


def test_dropout_works_without_gradients_too():
    net = built(grid(9, 9, boundary="periodic"), dropout=0.5).train()
    call = torch.randn(2, 1, 9, 9).double(), torch.zeros(2).double(), None, None
    torch.manual_seed(1)
    wanted = net(*call).detach()
    torch.manual_seed(1)
    with torch.no_grad():
        assert torch.allclose(net(*call), wanted, rtol=0, atol=1e-12 * wanted.abs().max())
        assert not torch.equal(net.eval()(*call), wanted)
