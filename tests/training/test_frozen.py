"""Frozen weights stay bit for bit, whatever decays, averages or goes on around them."""

from dataclasses import replace

import pytest
import torch

from diffsci.errors import ConfigError
from diffsci.training.ema import weights_of
from diffsci.training.frozen import freeze
from tests.training.tiny import TinyExamples, digest, tiny_denoiser, tiny_section, tiny_train


def frozen_run(resume=None, steps=8):
    denoiser = tiny_denoiser()
    names = freeze(denoiser, ["network.first.*", "network.level.bias"])
    section = tiny_section(steps=8, weight_decay=0.5, ema=(0.9, 0.0))
    for step in tiny_train(
        denoiser, TinyExamples(), section, valid=TinyExamples(seed=1), resume=resume
    ):
        if step.step == steps:
            break
    return names, denoiser, step.state()


def test_they_stay_bit_for_bit():
    before = {n: v.clone() for n, v in weights_of(tiny_denoiser()).items()}
    names, denoiser, state = frozen_run()
    assert names == ("network.first.weight", "network.first.bias", "network.level.bias")
    for name, value in before.items():
        if not value.dtype.is_floating_point or "calls" in name:
            continue
        for weights in (weights_of(denoiser), *state.averages):
            assert torch.equal(weights[name], value) == (name in names), name
    # No gradient was kept, and the optimiser knows nothing of them.
    assert all(dict(denoiser.named_parameters())[name].grad is None for name in names)
    assert not {key.rsplit("/", 1)[0] for key in state.optimiser} & set(names)


def test_a_run_goes_on_with_the_same_bits():
    *_, whole = frozen_run()
    *_, half = frozen_run(steps=4)
    own = {name: value.clone() for name, value in half.weights.items()}
    kept = {name: value.clone() for name, value in half.optimiser.items()}
    averages = [{n: v.clone() for n, v in each.items()} for each in half.averages]
    half = replace(
        half, weights=own, optimiser=kept, ema=averages[0], ema_others=tuple(averages[1:])
    )
    *_, rest = frozen_run(resume=half)
    assert digest(rest) == digest(whole)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (
            ["network.first.*", "network.frist.*"],
            r"train.freeze\[1\]: got 'network.frist.\*', which is the name of no weight; did you "
            r"mean 'network.first.\*'\?; they begin with network.first, network.last, network.le",
        ),
        (["first"], r"train.freeze\[0\]: got 'first', which is the name of no weight"),
        (["*"], "train.freeze: got .'\\*'., which leaves no weight to train; freeze fewer"),
    ],
)
def test_patterns_that_help_nobody(patterns, message):
    denoiser = tiny_denoiser()
    with pytest.raises(ConfigError, match=message):
        freeze(denoiser, patterns)
    assert all(p.requires_grad for p in denoiser.parameters())


def test_what_is_taken_back_is_trained():
    """In order, as in other lists of patterns: the last one that names a weight decides."""
    denoiser = tiny_denoiser()
    names = freeze(denoiser, ["*", "!network.level.*", "!network.first.*", "network.first.bias"])
    free = {name for name, p in denoiser.named_parameters() if p.requires_grad}
    assert free == {"network.level.weight", "network.level.bias", "network.first.weight"}
    assert set(names) == {name for name, _ in denoiser.named_parameters()} - free
    with pytest.raises(ConfigError, match=r"got '!network.frist.\*', .* mean 'network.first.\*'"):
        freeze(tiny_denoiser(), ["*", "!network.frist.*"])
    for patterns in (["!network.level.*"], ["network.first.*", "!network.level.*"]):
        with pytest.raises(ConfigError, match=r"'!network.level.\*', which takes nothing back: no"):
            freeze(tiny_denoiser(), patterns)


def test_none_freezes_nothing():
    assert freeze(tiny_denoiser(), []) == ()
