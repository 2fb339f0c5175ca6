"""What every network is held to: its ports and sizes, and what an output depends on."""

import dataclasses

import pytest
import torch

from diffsci import families
from diffsci.errors import ConfigError, FieldError
from diffsci.networks.base import Module, Network, Reach
from tests.networks.members import EVERY, FULL, SIZES, built, inputs, ports, randomised, spec


@pytest.fixture(params=EVERY)
def word(request):
    return request.param


def test_a_frozen_description_that_builds_a_module(word):
    made = spec(word)
    assert isinstance(made, Network) and families.summary("networks", word)
    name = dataclasses.fields(made)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, name, getattr(made, name))
    assert isinstance(made.build(ports(12)), Module)


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("rest", [{}, FULL])
@pytest.mark.parametrize("boundary", ["periodic", "wall"])
def test_odd_and_prime_sizes_and_zero_before_training(word, sizes, rest, boundary):
    asked = ports(*sizes, target=2, boundary=boundary, **rest)
    given = inputs(asked)
    start = built(word, asked, ends="zero")(*given)
    assert start.shape == (2, asked.outputs, *sizes) and start.dtype == torch.float32
    assert not start.any()
    out = built(word, asked)(*given)
    # Every output channel and every cell is reached.
    assert torch.isfinite(out).all() and (out != 0).all()


def test_parts_are_called_as_modules_with_tensors_and_share_no_weight(word):
    """As weights that are shared out among processes need it."""
    asked = ports(12, **FULL)
    net, called = built(word, asked), {}
    parts = list(net.parts())
    for part in parts:
        part.register_forward_pre_hook(lambda module, given: called.update({module: given}))
    net(*inputs(asked))
    assert set(called) == set(parts)
    assert all(isinstance(value, torch.Tensor) for given in called.values() for value in given)
    weights = [id(weight) for part in parts for weight in part.parameters()]
    assert len(weights) == len(set(weights)) > 0


def test_the_size_of_the_issue(word):
    """37 x 49, both sides of both dims of another kind."""
    sides = (("wall", "open"), ("periodic", "periodic"))
    asked = ports(37, 49)
    asked = dataclasses.replace(asked, grid=dataclasses.replace(asked.grid, boundary=sides))
    out = built(word, asked)(*inputs(asked))
    assert out.shape == (2, 1, 37, 49) and torch.isfinite(out).all()


@pytest.mark.parametrize("name", ["x", "condition", "scalars", "noise"])
def test_missing_or_extra_input_is_refused_by_name(word, name):
    full, place = ports(12, **FULL), ["x", "level", "condition", "scalars", "noise"].index(name)
    net, given = built(word, full), list(inputs(full))
    wider = list(given)
    wider[place] = torch.cat([given[place], given[place]], dim=1)
    with pytest.raises(ConfigError, match=rf"^{name}: got "):
        net(*wider)
    if name == "x":
        return
    missing = list(given)
    missing[place] = None
    with pytest.raises(ConfigError, match=rf"^{name}: got no"):
        net(*missing)
    bare = ports(12)
    extra = list(inputs(bare))
    extra[place] = given[place]
    with pytest.raises(ConfigError, match=rf"^{name}: got \d.*for none"):
        built(word, bare)(*extra)


def test_every_input_is_heard(word):
    asked = ports(12, **FULL)
    net, given = built(word, asked), inputs(asked)
    out = net(*given)
    for place in range(5):
        other = list(given)
        other[place] = given[place] + 0.5
        # Far above rounding (1e-6), for each example.
        assert ((net(*other) - out).flatten(1).abs().max(dim=1).values > 1e-3).all()


def test_level_and_scalars_change_nothing_before_training(word):
    """FiLM is the identity: with all other ends open, what `film` layers hear has no effect."""
    asked = ports(12, **FULL)
    torch.manual_seed(0)
    net = randomised(spec(word).build(asked).eval(), but=("film",))
    x, level, condition, scalars, noise = inputs(asked)
    out = net(x, level, condition, scalars, noise)
    assert out.any()
    assert torch.equal(out, net(x, level + 1, condition, scalars - 1, 2 * noise))


def test_every_parameter_learns(word):
    asked = ports(13, 11, **FULL)
    net, given = built(word, asked), inputs(asked)
    out = net(*given)
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


@torch.inference_mode()
def test_a_row_does_not_depend_on_the_others_nor_on_its_place(word):
    """The ensemble pads each batch to one size: 1 case and 8 cases then give the same bits."""
    asked = ports(17, 23, **FULL)
    net, given = built(word, asked), inputs(asked, batch=8)
    whole = net(*given)
    assert torch.equal(whole, net(*given))
    others = inputs(asked, batch=8, seed=9)
    alone = [torch.cat([one[:1], other[1:]]) for one, other in zip(given, others, strict=True)]
    assert torch.equal(net(*alone)[0], whole[0])
    padded = [torch.cat([one[:1], torch.zeros_like(one[1:])]) for one in given]
    assert torch.equal(net(*padded)[0], whole[0])
    turned = net(*[one.roll(3, 0) for one in given])
    assert torch.equal(turned.roll(-3, 0), whole)


@pytest.mark.parametrize("boundary", ["periodic", "open"])
def test_reach_is_an_upper_bound(word, boundary):
    """An output cell has no derivative by any input cell beyond; none: no promise."""
    asked = ports(96, boundary=boundary)
    reach = spec(word).reach(asked)
    if reach is None:
        return
    assert isinstance(reach, Reach) and len(reach.cells) == len(reach.stride) == 1
    net = built(word, asked).double()
    x, *rest = inputs(asked, batch=1, dtype=torch.float64)
    x.requires_grad_()
    for cell in (48, 49):
        (slope,) = torch.autograd.grad(net(x, *rest)[0, 0, cell], x)
        far = (torch.arange(96) - cell).abs() > reach.cells[0]
        assert not slope[0, 0, far].any()


def test_four_dims_are_served_or_refused_by_name(word):
    asked, made = ports(3, 4, 5, 6), spec(word)
    try:
        made.check(asked)
    except FieldError as error:
        assert "1, 2 or 3 space dims" in str(error) and error.value == 4
        with pytest.raises(FieldError):
            made.build(asked)
    else:
        assert built(word, asked)(*inputs(asked)).shape == (2, 1, 3, 4, 5, 6)
