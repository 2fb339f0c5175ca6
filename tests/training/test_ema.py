import pytest
import torch
from torch import nn

from diffsci.training.ema import Ema, assign, weights_of
from tests.training.tiny import TinyNetwork


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
    with pytest.raises(
        ValueError, match=r"2 weights .*last\.bias: None -> \(1,\), new: \(2,\) -> None"
    ):
        assign(TinyNetwork(), weights)
