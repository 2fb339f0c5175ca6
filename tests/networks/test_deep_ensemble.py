"""Several networks: which rows each is trained on, and which members it makes."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch

from diffsci.build import fill, finish, plain_of
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives.crps import CRPS
from diffsci.diffusion.schedules.edm import EDM
from diffsci.errors import ConfigError, FieldError
from diffsci.forecasting.rows import Rows
from diffsci.networks.deep_ensemble import DeepEnsemble
from diffsci.networks.mlp import MLP
from diffsci.networks.unet import UNet
from diffsci.runtime import Device
from diffsci.sections import Model, Runtime
from diffsci.training import cost
from diffsci.yamltext import Node
from tests.forecasting import makers
from tests.networks.members import built, inputs, ports, randomised

ASKED = ports(5, condition=1, scalars=2)


def three(asked=ASKED):
    torch.manual_seed(0)
    spec = DeepEnsemble(of=MLP(width=8, depth=1), count=3)
    return randomised(spec.build(asked))


def one_by_one(net, given):
    """What each network says of all rows."""
    return [each(*given) for each in net.networks]


def test_networks_begin_from_other_weights():
    first, second, third = three().networks
    pairs = zip(first.parameters(), second.parameters(), third.parameters(), strict=True)
    assert any(not torch.equal(a, b) and not torch.equal(b, c) for a, b, c in pairs)


@pytest.mark.parametrize(("rows", "shares"), [(6, (2, 2, 2)), (4, (2, 1, 1)), (2, (1, 1, 0))])
def test_in_training_each_row_teaches_one_network(rows, shares):
    net, given = three().train(), inputs(ASKED, batch=rows)
    out = net(*given)
    every, start = one_by_one(net, given), 0
    for number, (network, share) in enumerate(zip(net.networks, shares, strict=True)):
        mine = slice(start, start + share)
        # Another number of rows goes through the layers: rounding of fp32 over a few of them.
        assert torch.allclose(out[mine], every[number][mine], rtol=1e-5, atol=1e-6)
        net.zero_grad()
        out[mine].sum().backward(retain_graph=True)
        for other in net.networks:
            taught = any(p.grad is not None and p.grad.any() for p in other.parameters())
            assert taught == (other is network and share > 0)
        start += share
    assert start == rows


@pytest.mark.parametrize("scalars", [0, 2])
def test_the_last_number_says_which_network(scalars):
    asked = replace(ASKED, scalars=scalars)
    net, given = three(asked).eval(), list(inputs(asked, batch=4))
    every = one_by_one(net, given)
    mean = torch.stack(every).mean(dim=0)
    assert torch.equal(net(*given), mean)
    number = torch.tensor([[0.0], [3.0], [1.0], [2.0]])
    given[3] = number if given[3] is None else torch.cat([given[3], number], dim=1)
    expected = [mean[0], every[2][1], every[0][2], every[1][3]]
    assert torch.equal(net(*given), torch.stack(expected))


def test_members_take_the_networks_in_turn():
    given, like = torch.ones(5, 2), torch.zeros(1)
    plain, several = (Denoiser(three(), EDM(), networks=count) for count in (1, 3))
    assert plain.of_members(given, range(5), like) is given
    turns = [1.0, 2.0, 3.0, 1.0, 2.0]
    assert several.of_members(None, range(5), like).flatten().tolist() == turns
    found = several.of_members(given, range(5), like)
    assert torch.equal(found[:, :2], given) and found[:, 2].tolist() == turns


@pytest.mark.parametrize("objective", [None, CRPS(noise=4)])
def test_a_forecast_s_members_are_those_of_their_networks(objective):
    """To the bit: through a sampler, over several leads, and by a single call."""
    network = DeepEnsemble(of=UNet(channels=(8,), blocks=1, groups=4, embedding=16), count=3)
    model = makers.forecasting(network=network, objective=objective)
    engine = model.engine(Device.of(Runtime(device="cpu", precision="fp32", threads=1)))
    known = torch.randn(1, 1, 1, *model.grid.sizes).expand(5, -1, -1, -1)
    rows = Rows(given=known, scalars=None, cases=("one",) * 5, members=tuple(range(5)))
    states, alone = engine.states(rows, 3, seed=7), []
    for which in engine.denoiser.network.networks:
        single = copy.copy(engine.denoiser)
        single._modules = {**engine.denoiser._modules, "network": which}
        single.networks = 1
        alone.append(replace(engine, denoiser=single).states(rows, 3, seed=7))
    assert all(torch.equal(states[k], alone[k % 3][k]) for k in range(5))
    assert not torch.equal(alone[0], alone[1])


def test_from_a_file_and_back():
    """What it is made of is a member of the same family, as a word or with its keys."""
    node = {"network": {"use": "deep_ensemble", "of": {"use": "mlp", "width": 8}, "count": 5}}
    model = finish(fill(Model, Node(node, {"": "file.yaml"})))
    assert model.network == DeepEnsemble(of=MLP(width=8), count=5)
    assert plain_of(model)["network"]["of"] == {"use": "mlp", "width": 8, "depth": 4, "dropout": 0}
    plain = finish(fill(Model, Node({"network": "deep_ensemble"}, {"": "file.yaml"})))
    assert plain.network == DeepEnsemble(of=UNet(), count=4)
    node["network"]["of"]["wide"] = 8
    with pytest.raises(ConfigError, match="network.of.wide"):
        finish(fill(Model, Node(node, {"": "file.yaml"})))


def test_refused_by_name():
    with pytest.raises(FieldError, match="count: got 1, expected 2 networks or more"):
        DeepEnsemble(of=MLP(), count=1)
    with pytest.raises(FieldError, match="of: got 'deep_ensemble', expected another network"):
        DeepEnsemble(of=DeepEnsemble(of=MLP()))


def test_every_network_keeps_less_when_asked():
    net = built("deep_ensemble", ASKED)
    net.checkpointing = True
    assert net.checkpointing and all(each.checkpointing for each in net.networks)


def test_it_costs_what_one_network_does():
    """A step of training: FLOP and what grows with the batch; weights are those of all."""
    asked, of = ports(17, 23, condition=1), UNet(channels=(8, 16), blocks=1)
    several = DeepEnsemble(of=of, count=3)
    one, three = (
        cost.of_training(partial(each.build, asked), asked, precision="fp32")
        for each in (of, several)
    )
    assert three.parameters == 3 * one.parameters and three.fixed > 2 * one.fixed
    # The shares go through one after the other: of some, gradients of inputs are gone by then.
    assert three.flop == one.flop and 0.8 * one.each < three.each < 1.1 * one.each
