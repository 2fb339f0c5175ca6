import re

import pytest
import torch
from torch import nn

from diffsci.errors import ConfigError, FieldError
from diffsci.training import checkpoint
from diffsci.training.ema import Ema, assign, same_after, weights_of
from tests.training.tiny import (
    TinyExamples,
    TinyNetwork,
    digest,
    tiny_denoiser,
    tiny_section,
    tiny_train,
    whole_run,
)


def test_average_against_the_recursion():
    module = nn.Linear(1, 1).double()
    ema = Ema(module, decay=0.5)
    average, n = module.weight.item(), 0
    for value in (3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0, 5.0, 3.0):
        with torch.no_grad():
            module.weight.fill_(value)
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        average, n = decay * average + (1 - decay) * value, n + 1
        assert ema.weights["weight"].item() == pytest.approx(average, rel=1e-14)
    assert ema.updates == 10


def test_a_shared_weight_is_averaged_once_and_buffers_are_copied():
    module = TinyNetwork()
    assert "again.weight" not in weights_of(module) and "calls" in weights_of(module)
    ema = Ema(module, decay=0.9)
    module.calls += 7
    ema.update()
    assert ema.weights["calls"].item() == 7


def test_applied_puts_the_weights_back_also_after_an_error():
    module = TinyNetwork()
    ema = Ema(module, decay=0.9)
    own = {name: value.clone() for name, value in weights_of(module).items()}
    with torch.no_grad():
        for value in ema.weights.values():
            value += 1
    with pytest.raises(KeyError), ema.applied():
        assert torch.equal(module.first.weight, own["first.weight"] + 1)
        raise KeyError
    for name, value in weights_of(module).items():
        assert torch.equal(value, own[name])


def test_assign_names_what_does_not_fit():
    weights = dict(weights_of(TinyNetwork()))
    del weights["last.bias"]
    weights["new"] = torch.zeros(2)
    weights["first.weight"] = torch.zeros(2)
    shape = list(TinyNetwork().first.weight.shape)
    told = (
        f"3 weights .*: first.weight is saved as [2], not {shape}, last.bias is not saved, new is"
    )
    with pytest.raises(ValueError, match=re.escape(told).replace(r"\.\*", ".*") + " saved alone"):
        assign(TinyNetwork(), weights)


def test_averages_side_by_side_are_those_that_each_would_be_alone():
    decays = (0.3, 0.9, 0.999)
    module = TinyNetwork()
    together, alone = Ema(module, decays), [Ema(module, decay) for decay in decays]
    for k in range(30):
        with torch.no_grad():
            for value in module.parameters():
                value.add_(torch.randn(value.shape))
        module.calls += k
        for ema in (together, *alone):
            ema.update()
    for weights, one in zip(together.all, alone, strict=True):
        assert all(torch.equal(weights[name], value) for name, value in one.weights.items())
    with together.applied(1):
        assert torch.equal(module.first.weight, alone[1].weights["first.weight"])


def test_averages_that_the_warm_up_alone_decides_are_the_same():
    """To the bit as long as it is said, and no longer: 0.9 is the warm-up's decay after 80."""
    net = nn.Linear(3, 2)
    ema = Ema(net, (0.8, 0.9, 0.99))
    for updates in range(1, 84):
        with torch.no_grad():
            for value in net.parameters():
                value.normal_()
        ema.update()
        _, one, other = ema.all
        equal = all(torch.equal(one[name], other[name]) for name in one)
        same = same_after(ema.decays, updates)
        assert equal == (len(same) > 1) == (updates <= 81)
    assert same_after((0.9, 0.99, 0.999), 50) == (0.9, 0.99, 0.999)
    assert same_after((0.999,), 50) == ()


def test_the_average_that_validates_best_is_the_model():
    """Decays far apart, whose losses differ; each is validated, and the lowest is told."""
    section = tiny_section(steps=12, ema=(0.0, 0.999, 0.5), lr=5e-2)
    losses, states = whole_run(section)
    state = states[-1]
    assert len(state.ema_losses) == 3 and len(set(state.ema_losses)) == 3
    assert state.validations[-1][1] == min(state.ema_losses)
    assert state.chosen == state.ema_losses.index(min(state.ema_losses))
    for decay, weights in zip(section.ema, state.averages, strict=True):
        _, single = whole_run(tiny_section(steps=12, ema=decay, lr=5e-2))
        assert all(torch.equal(weights[n], v) for n, v in single[-1].ema.items()), decay
    assert state.model is state.averages[state.chosen]


def test_several_averages_go_on_bitwise(tmp_path):
    section = tiny_section(ema=(0.9, 0.99))
    losses, states = whole_run(section)
    checkpoint.save(tmp_path, states[5], keep=1)
    saved = checkpoint.newest(tmp_path, warn=pytest.fail)
    assert digest(saved) == digest(states[5])
    run = tiny_train(
        tiny_denoiser(seed=9), TinyExamples(), section, valid=TinyExamples(5, 1), resume=saved
    )
    *_, last = run
    assert digest(last.state()) == digest(states[-1])


def test_a_choice_without_validation_is_refused():
    for changes in ({"ema": (0.9, 0.99)}, {"patience": 3}, {"keep_best": True}):
        (name,) = changes
        with pytest.raises(ConfigError, match=rf"train\.{name}: .*expected a part data.split.val"):
            tiny_train(tiny_denoiser(), TinyExamples(), tiny_section(**changes))
    for wrong in ((), (0.9, 0.9), (0.9, 1.0)):
        with pytest.raises(FieldError, match="ema: got"):
            tiny_section(ema=wrong)
