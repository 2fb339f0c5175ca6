"""Weights by name: what fits is taken, channels find their own, and nothing else is touched."""

from dataclasses import replace

import pytest
import torch

from diffsci.errors import ConfigError
from diffsci.training.ema import weights_of
from diffsci.training.transfer import Names, blocks_of, silence_new, take
from tests.networks.members import EVERY, built, ports, randomised, spec

OLD = Names(
    target=("u", "v", "t"),
    condition=("u-2", "v-2", "t-2", "u-1", "v-1", "t-1"),
    scalars=("speed", "depth"),
)
NEW = Names(
    target=("t", "u", "v"),
    condition=("t-2", "u-2", "v-2", "t-1", "u-1", "v-1"),
    scalars=("depth", "speed"),
)
MEMBERS = [(word, {}) for word in EVERY] + [("unet", {"patch": 2})]
everyone = pytest.mark.parametrize(("word", "fields"), MEMBERS, ids=str)


def asked(names, *sizes):
    counts = {"condition": len(names.condition), "scalars": len(names.scalars)}
    return ports(*sizes, target=len(names.target), noise=3, **counts)


def shapes_of(word, fields):
    def shapes(given):
        torch.manual_seed(5)
        net = spec(word, **fields).build(given)
        return {name: tuple(value.shape) for name, value in weights_of(net).items()}

    return shapes


def taken(word, fields, old, new, sizes=(7,)):
    """The old network, the new one after, what it was before, and what was said."""
    source = built(word, asked(old, *sizes), **fields).double()
    net = built(word, asked(new, *sizes), **fields).double()
    with torch.no_grad():
        for value in net.parameters():
            value.add_(1.0)
    live = weights_of(net)
    before = {name: value.clone() for name, value in live.items()}
    blocks = blocks_of(shapes_of(word, fields), asked(new, *sizes))
    said = take(live, weights_of(source), new=new, old=old, blocks=blocks)
    return source, net, before, said


def values(names, sizes, seed=0):
    """The same numbers for the same name, wherever it stands."""
    random = torch.Generator().manual_seed(seed)
    known = {
        name: torch.randn(2, *(sizes if kind < 2 else ()), generator=random, dtype=torch.float64)
        for kind, each in enumerate(OLD.kinds)
        for name in each
    }
    return [torch.stack([known[name] for name in kind], dim=1) for kind in names.kinds]


@everyone
@pytest.mark.parametrize("sizes", [(7,), (5, 6)], ids=str)
def test_channels_in_another_order_give_the_same_function(word, fields, sizes):
    source, net, _, said = taken(word, fields, OLD, NEW, sizes)
    assert not said.partly and not said.left and not said.fresh
    noise = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def out(network, names):
        x, condition, scalars = values(names, sizes)
        with torch.no_grad():
            return network(x, torch.tensor([0.1, -0.7]).double(), condition, scalars, noise)

    found, wanted = out(net, NEW), out(source, OLD)
    order = [OLD.target.index(name) for name in NEW.target]
    assert wanted.abs().max() > 0.1
    # Sums of the same numbers in another order.
    assert torch.allclose(found, wanted[:, order], rtol=0, atol=1e-12 * float(wanted.abs().max()))


@everyone
def test_equal_names_need_no_axes(word, fields):
    source = built(word, asked(OLD, 7), **fields)
    net = built(word, asked(OLD, 7), **fields)
    for value in net.parameters():
        torch.nn.init.normal_(value)
    said = take(weights_of(net), weights_of(source), new=OLD, old=OLD, blocks={})
    assert set(said.whole) == set(weights_of(net)) and not said.partly and not said.left
    for name, value in weights_of(net).items():
        assert torch.equal(value, weights_of(source)[name])


@everyone
def test_a_new_channel_starts_as_it_was_made(word, fields):
    """And one that is gone is forgotten: of the head, rows; of the stem, columns."""
    new = Names(target=("v", "w", "u"), condition=("v-1", "w-1", "u-1"), scalars=("speed",))
    source, net, before, said = taken(word, fields, OLD, new)
    live, old = weights_of(net), weights_of(source)
    assert any(name.endswith(("head.bias", "head.conv.bias")) for name in said.partly)
    assert not said.fresh
    for name in said.whole:
        if live[name].shape == old[name].shape:
            assert torch.equal(live[name], old[name]), name
    for name in said.partly:
        changed = live[name] != before[name]
        # Every number that changed is one of the old weights, and some did not change.
        assert changed.any() and not changed.all()
        assert torch.isin(live[name][changed], old[name]).all()
    scalars = [name for name in live if name.endswith("embedding.scalars.0.weight")]
    assert scalars and set(scalars) <= set(said.whole)
    for name in scalars:
        assert torch.equal(live[name][:, 0], old[name][:, 0])


def test_a_filter_of_the_stem_goes_where_its_channel_went():
    new = Names(target=("w", "t"), condition=("t-1",), scalars=OLD.scalars)
    source, net, before, said = taken("unet", {}, OLD, new)
    stem, old = net.stem.conv.weight, source.stem.conv.weight
    assert torch.equal(stem[:, 1], old[:, 2])
    assert torch.equal(stem[:, 0], before["stem.conv.weight"][:, 0])
    assert torch.equal(net.given.conv.weight[:, 0], source.given.conv.weight[:, 5])
    head, bias = net.head.conv, source.head.conv
    assert torch.equal(head.weight[1], bias.weight[2]) and torch.equal(head.bias[1], bias.bias[2])
    assert set(said.partly) == {"stem.conv.weight", "head.conv.weight", "head.conv.bias"}


def test_a_part_that_is_wholly_new_begins_silent():
    """A noise path begins with the single forecast; one of which something is known stays."""
    net = built("unet", replace(asked(OLD, 8), noise=3))
    fresh = {name for name in weights_of(net) if ".noise." in name}
    before = {name: value.clone() for name, value in weights_of(net).items()}
    silence_new(net, fresh - {"embedding.noise.0.bias"})
    assert all(torch.equal(value, before[name]) for name, value in weights_of(net).items())
    silence_new(net, fresh)
    changed = {n for n, value in weights_of(net).items() if not torch.equal(value, before[n])}
    assert changed == {"embedding.noise.2.weight", "embedding.noise.2.bias"}


def test_what_is_left_and_what_is_new_is_named():
    old = replace(OLD, condition=(), scalars=())
    new = replace(OLD, scalars=())
    source = built("unet", asked(old, 7), channels=(8, 16))
    net = built("unet", asked(new, 7), channels=(8, 16, 32))
    live = weights_of(net)
    blocks = blocks_of(shapes_of("unet", {"channels": (8, 16, 32)}), asked(new, 7))
    said = take(live, weights_of(source), new=new, old=old, blocks=blocks)
    assert {"given.conv.weight", "given.conv.bias"} <= set(said.fresh)
    assert any(name.startswith("down.2.") for name in said.fresh)
    # FiLM is one layer for all blocks: of another shape.
    assert [text for text in said.left if text.startswith("film.weight: (")]
    assert "stem.conv.weight" in said.whole and "down.0.blocks.0.first.conv.weight" in said.whole


def test_what_is_told_does_not_depend_on_the_order_of_the_source():
    """A file gives its tensors in any order."""
    net = built("unet", asked(OLD, 7), channels=(8, 16))
    given = weights_of(built("unet", asked(OLD, 7), channels=(8, 16)))
    backward = dict(reversed(given.items()))
    said = [take(weights_of(net), w, new=OLD, old=OLD, blocks={}) for w in (given, backward)]
    assert said[0] == said[1]


def test_nothing_that_fits_is_an_error():
    source = built("mlp", ports(7), width=16)
    net = built("mlp", ports(7), width=24, depth=3)
    one = Names(target=("u",))
    # The bias of the head has no width.
    weights = {n: v for n, v in weights_of(source).items() if n != "head.bias"}
    before = {name: value.clone() for name, value in weights_of(net).items()}
    with pytest.raises(
        ConfigError, match=r"train.from: none of its \d+ weights fits .*\(16, 16\) -> \(24, 24\)"
    ):
        take(weights_of(net), weights, new=one, old=one, blocks={})
    assert all(torch.equal(before[name], value) for name, value in weights_of(net).items())


def test_other_channels_alone_are_no_fit():
    source, net = built("unet", ports(7)), built("unet", ports(7))
    randomised(source)
    blocks = blocks_of(shapes_of("unet", {}), ports(7))
    new, old = Names(target=("u",)), Names(target=("t",))
    before = net.stem.conv.weight.clone()
    said = take(weights_of(net), weights_of(source), new=new, old=old, blocks=blocks)
    assert "stem.conv.weight: no channel or number of the same name" in said.left
    assert torch.equal(net.stem.conv.weight, before)
    assert "film.weight" in said.whole
