import math

import numpy as np
import pytest
import torch

from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives.likelihood import Likelihood
from diffsci.diffusion.schedules.edm import EDM as Schedule
from diffsci.errors import ConfigError, FieldError, NumericsError
from diffsci.runtime import Device
from diffsci.training import checkpoint, loop
from diffsci.training.losses import Loss
from diffsci.training.optimiser import learning_rate
from tests.training.tiny import (
    TinyExamples,
    clone,
    digest,
    tiny_denoiser,
    tiny_section,
    tiny_train,
    told,
    whole_run,
)


@pytest.mark.parametrize(
    ("stop", "objective"),
    [(1, None), (5, None), (10, None), (12, None)]
    + [(5, Likelihood(per=per)) for per in ("channel", "pixel", "wavenumber")],
)
def test_resume_is_bitwise(tmp_path, stop, objective):
    """The first step, an epoch border (5 steps of 4 are 2 epochs of 10), and the end."""
    section = tiny_section() if objective is None else tiny_section(objective=objective)
    losses, states = whole_run(section, objective=objective)
    checkpoint.save(tmp_path, states[stop - 1], keep=1)
    saved = checkpoint.newest(tmp_path, warn=pytest.fail)
    # Another start, other global random numbers: all must come from state, seed and step.
    denoiser = tiny_denoiser(seed=99, objective=objective)
    torch.manual_seed(1234)
    resumed, last = [], saved
    for step in tiny_train(
        denoiser, TinyExamples(), section, valid=TinyExamples(5, seed=1), resume=saved
    ):
        resumed.append(told(step))
        last = step.state()
    assert resumed == losses[stop:]
    assert digest(last) == digest(states[-1])


def test_resume_is_bitwise_in_another_memory_layout(tmp_path):
    """Filters laid out channels-last are saved in plain order: moments must be turned back."""

    class Flat(torch.nn.Module):
        """A 2-D network on the 1-D examples, with filters for which the layout matters."""

        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(2, 4, (1, 3), padding=(0, 1))
            self.last = torch.nn.Conv2d(4, 1, (1, 3), padding=(0, 1))

        def forward(self, x, level, condition, scalars):
            hidden = torch.tanh(self.first(torch.cat([x, condition], dim=1)[:, :, None]))
            return self.last(hidden)[:, :, 0]

    def denoiser():
        torch.manual_seed(0)
        return Denoiser(Flat(), Schedule()).to(memory_format=torch.channels_last)

    assert not denoiser().network.first.weight.is_contiguous()
    whole = list(tiny_train(denoiser(), TinyExamples(), tiny_section(steps=6)))
    checkpoint.save(
        tmp_path,
        next(tiny_train(denoiser(), TinyExamples(), tiny_section(steps=6))).state(),
        keep=1,
    )
    saved = checkpoint.newest(tmp_path, warn=pytest.fail)
    rest = list(tiny_train(denoiser(), TinyExamples(), tiny_section(steps=6), resume=saved))
    assert [step.loss.hex() for step in rest] == [step.loss.hex() for step in whole[1:]]


def test_a_finished_run_gives_no_steps():
    section = tiny_section()
    _, states = whole_run(section)
    assert list(tiny_train(tiny_denoiser(), TinyExamples(), section, resume=states[-1])) == []


def test_each_epoch_takes_each_example_once():
    examples = TinyExamples(10)
    list(tiny_train(tiny_denoiser(), examples, tiny_section(steps=15)))
    order = np.concatenate(examples.asked).reshape(6, 10)
    assert (np.sort(order, axis=1) == np.arange(10)).all()
    assert len({tuple(epoch) for epoch in order}) == 6


def test_a_batch_larger_than_the_set_repeats_whole_epochs():
    examples = TinyExamples(3)
    list(tiny_train(tiny_denoiser(), examples, tiny_section(steps=2, batch_size=6)))
    assert all(sorted(asked) == [0, 0, 1, 1, 2, 2] for asked in examples.asked)


def test_it_learns():
    """The average of the weights has a lower validation loss after 160 steps than after 20."""
    section = tiny_section(
        steps=160, validate_every=20, lr=3e-2, condition_noise=0.0, drop_scalars=0.0, flip=()
    )
    run = tiny_train(tiny_denoiser(), TinyExamples(64), section, valid=TinyExamples(64))
    losses = [step.validation for step in run if step.validation is not None]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]


def test_rate_rises_and_falls():
    section = tiny_section(steps=100, warmup=10, lr=2.0, lr_end=0.1)
    rates = [learning_rate(step, section) for step in range(100)]
    assert rates[0] == 0.2 and rates[9] == 2.0 and rates[10] == 2.0
    assert rates[55] == pytest.approx(2.0 * 0.55)  # half way: the mean of peak and end
    assert rates[-1] == pytest.approx(0.2, rel=0.01)
    assert all(math.isfinite(learning_rate(s, tiny_section(steps=2, warmup=5))) for s in (0, 1))


def test_clipping_bounds_the_gradient():
    """With SGD-like first steps of AdamW hidden, look at the gradients the optimiser saw."""
    denoiser = tiny_denoiser()
    section = tiny_section(steps=1, clip=1e-3)
    (step,) = tiny_train(denoiser, TinyExamples(), section)
    gradients = [p.grad for p in denoiser.parameters()]
    assert step.grad_norm > 1e-3
    assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(1e-3, rel=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bad_example_stops_before_the_step(value):
    examples = TinyExamples()
    examples.target[7, 0, 3] = value
    denoiser = tiny_denoiser()
    before, seen = None, 0
    with pytest.raises(
        NumericsError, match=r"step \d+: target of the training examples \[7\] is not"
    ):
        for step in tiny_train(denoiser, examples, tiny_section()):
            before, seen = digest(clone(step.state())), step.step
    # Those of the next step are asked for while a step runs.
    assert 7 in examples.asked[seen] and 7 not in sum(examples.asked[:seen], [])
    after = {name: value.detach().numpy().tobytes() for name, value in denoiser.named_parameters()}
    expected = before[0]["weights"] if seen else None
    assert expected is None or after.items() <= expected.items()


def test_a_gradient_that_overflows_is_named():
    denoiser = tiny_denoiser()
    denoiser.network.last.bias.register_hook(lambda g: g * math.inf)
    with pytest.raises(
        NumericsError, match=r"step 1: the gradient is not finite in 1 weights, first"
    ):
        next(tiny_train(denoiser, TinyExamples(), tiny_section()))


def test_a_loss_that_overflows_is_named():
    denoiser = tiny_denoiser()
    with torch.no_grad():
        denoiser.network.last.weight.fill_(math.inf)
    with pytest.raises(NumericsError, match="the loss of the training examples"):
        next(tiny_train(denoiser, TinyExamples(), tiny_section()))


def test_validation_that_is_not_finite_stops():
    valid = TinyExamples(4)
    valid.target[0] = math.nan
    run = tiny_train(tiny_denoiser(), TinyExamples(), tiny_section(validate_every=1), valid=valid)
    with pytest.raises(NumericsError, match="validation after step 1"):
        next(run)


def test_validation_leaves_the_run_alone():
    """With and without it: the same losses and weights, bit for bit."""
    section = tiny_section()
    with_it, without = whole_run(section), whole_run(section, valid=False)
    assert [row[:3] for row in with_it[0]] == [row[:3] for row in without[0]]
    assert [row[4] for row in with_it[0]] == [row[4] for row in without[0]]
    assert digest(with_it[1][-1])[0] == digest(without[1][-1])[0]


def test_bf16_trains_close_to_fp32():
    """bfloat16 keeps 8 bits: losses of the first steps agree to some per cent."""
    section = tiny_section(steps=3)
    runs = [
        [s.loss for s in tiny_train(tiny_denoiser(), TinyExamples(), section, device=device)]
        for device in (Device(), Device(precision="bf16"))
    ]
    assert runs[0] != runs[1]
    assert runs[1] == pytest.approx(runs[0], rel=0.05)


def test_what_is_not_finite_is_named_for_people():
    """With the channel of a target; of a loss only which example it is."""

    def names(number, channel):
        return "waves.zarr, sample 3" if channel is None else f"channel {channel} of waves.zarr"

    examples = TinyExamples()
    examples.target[7, 0, 3] = math.nan
    run = tiny_train(tiny_denoiser(), examples, tiny_section(), names=names)
    with pytest.raises(NumericsError, match=r"\[7\] is not finite \(7 is channel 0 of waves\.zarr"):
        list(run)
    denoiser = tiny_denoiser()
    with torch.no_grad():
        denoiser.network.last.weight.fill_(math.inf)
    with pytest.raises(NumericsError, match=r"their values are \(\d is waves\.zarr, sample 3; "):
        next(tiny_train(denoiser, TinyExamples(), tiny_section(), names=names))


def test_deterministic_algorithms_may_be_left():
    denoiser, seen = tiny_denoiser(), []
    denoiser.network.register_forward_pre_hook(
        lambda *_: seen.append(torch.are_deterministic_algorithms_enabled())
    )
    device = Device(deterministic=False)
    next(tiny_train(denoiser, TinyExamples(), tiny_section(), device=device))
    assert seen == [False]


def test_deterministic_algorithms_inside_a_step_and_not_between():
    denoiser, seen = tiny_denoiser(), []
    denoiser.network.register_forward_pre_hook(
        lambda *_: seen.append(torch.are_deterministic_algorithms_enabled())
    )
    next(tiny_train(denoiser, TinyExamples(), tiny_section()))
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_other_settings_are_refused_one_by_one():
    section = tiny_section()
    _, states = whole_run(section)
    changes = {
        "lr": 0.02,
        "steps": 13,
        "batch_size": 5,
        "ema": 0.9,
        "flip": (),
        "condition_noise": 0.0,
        "drop_scalars": 0.1,
        "lr_end": 0.5,
        "warmup": 4,
        "clip": 2.0,
        "weight_decay": 0.0,
        "shift": (),
    }
    for name, value in changes.items():
        with pytest.raises(ConfigError, match=rf"train\.{name}: .* -> "):
            changed = tiny_section(**{name: value})
            tiny_train(tiny_denoiser(), TinyExamples(), changed, resume=states[3])
    with pytest.raises(ConfigError, match="seed: 3 -> 4"):
        tiny_train(tiny_denoiser(), TinyExamples(), section, resume=states[3], seed=4)
    with pytest.raises(ConfigError, match="training examples: 10 -> 11"):
        tiny_train(tiny_denoiser(), TinyExamples(11), section, resume=states[3])
    # Where it computes may change, and what moves no number.
    tiny_train(
        tiny_denoiser(), TinyExamples(), section, resume=states[3], device=Device(precision="bf16")
    )
    tiny_train(tiny_denoiser(), TinyExamples(), tiny_section(log_every=1, keep=9), resume=states[3])


def test_another_network_is_refused():
    section = tiny_section()
    _, states = whole_run(section)
    denoiser = tiny_denoiser()
    denoiser.network.last = torch.nn.Conv1d(6, 2, 3, padding=1)
    told = r"another network.*last\.weight is saved as \[1, 6, 3\], not \[2, 6, 3\]"
    with pytest.raises(ConfigError, match=told):
        tiny_train(denoiser, TinyExamples(), section, resume=states[0])


def test_bad_arguments_are_refused_at_once():
    with pytest.raises(ConfigError, match="holds no example"):
        tiny_train(tiny_denoiser(), TinyExamples(0), tiny_section())
    with pytest.raises(FieldError, match="flip: got 'y', expected dims of the data"):
        tiny_train(tiny_denoiser(), TinyExamples(), tiny_section(flip=("y",)))


def test_the_loss_is_made_of_the_denoiser_where_it_computes(monkeypatch):
    """What it holds beside the denoiser, as weights of fields, goes where that is: here float64."""
    seen = []

    def made(denoiser, *others):
        loss = Loss(denoiser, *others)
        seen.append((next(denoiser.parameters()).dtype, loss.weights.dtype))
        return loss

    monkeypatch.setattr(loop, "Loss", made)
    monkeypatch.setattr(Device, "laid_out", lambda self, module: module.double())
    section = tiny_section(steps=1, validate_every=1)
    examples = TinyExamples(dtype=torch.float64)
    steps = tiny_train(tiny_denoiser(), examples, section, valid=examples, weights=(1.0,))
    assert len(list(steps)) == 1
    assert seen == [(torch.float64, torch.float64)]
