"""float16: the scale of the loss, against torch's own scaler, and runs that overflow."""

import math

import pytest
import torch

from diffsci import runtime
from diffsci.errors import FieldError, NumericsError
from diffsci.runtime import Device
from diffsci.sections import Runtime
from diffsci.training import checkpoint
from diffsci.training.scaler import Scaler
from tests.training.tiny import TinyExamples, digest, tiny_denoiser, tiny_section, tiny_train, told

HALF = Device(precision="fp16")

pytestmark = pytest.mark.skipif(
    runtime.cannot_halve("cpu") is not None, reason=str(runtime.cannot_halve("cpu"))
)


def test_the_scale_is_that_of_torch():
    """Sixty steps, of which some overflow."""
    weight = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.SGD([weight], lr=0.0)
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**16, growth_interval=3)
    ours = Scaler(every=3)
    for step in range(60):
        overflowed = step % 7 == 3 or step in (20, 21, 22)
        weight.grad = torch.full_like(weight, math.inf if overflowed else 1.0)
        theirs.scale(torch.zeros(1))  # makes the scale
        theirs.step(optimiser)
        theirs.update()
        ours = ours.after(overflowed)
        assert ours.scale == theirs.get_scale()
    assert ours.overflows == 9 + 3


def overflowing(steps=(3, 4, 7)):
    """A network whose gradient overflows in some steps, each attempt counted from 1."""
    denoiser = tiny_denoiser()

    def spoil(gradient):
        return gradient * (math.inf if int(denoiser.network.attempt) in steps else 1.0)

    denoiser.network.attempt = 0
    denoiser.network.last.bias.register_hook(spoil)
    return denoiser


def run(resume=None, begin=0, device=HALF, **changes):
    denoiser, found, states = overflowing(), [], []
    steps = tiny_train(
        denoiser,
        TinyExamples(),
        tiny_section(**changes),
        valid=TinyExamples(5, 1),
        device=device,
        resume=resume,
    )
    for attempt in range(begin + 1, 13):
        denoiser.network.attempt = attempt
        step = next(steps)
        found.append(step)
        states.append(checkpoint.only_model(step.state()))
        if attempt == 5:
            kept = checkpoint.Copy.of(step.state())
    return found, states, None if begin else kept, step.state()


def test_steps_that_overflow_are_left_out_and_counted(tmp_path):
    found, _, _, last = run()
    assert [step.skipped for step in found] == [k in (3, 4, 7) for k in range(1, 13)]
    assert last.scaler.overflows == 3 and last.scaler.scale == 2.0**13
    assert last.ema_updates == 9 and last.skipped == 0
    assert last.weights["network.calls"] == 9  # what a forward pass counts is put back too
    assert all("overflowed float16" in step.notes[0] for step in found if step.skipped)
    assert "scaled by 32768" in found[2].notes[0]


def test_an_overflow_changes_nothing_but_the_scale():
    denoiser = overflowing(steps=(1,))
    denoiser.network.attempt = 1
    before = {name: p.detach().clone() for name, p in denoiser.named_parameters()}
    step = next(tiny_train(denoiser, TinyExamples(), tiny_section(), device=HALF))
    state = step.state()
    assert step.skipped and state.optimiser == {} and state.ema_updates == 0
    for name, value in before.items():
        assert torch.equal(state.weights[name], value) and torch.equal(state.ema[name], value)


def test_half_resumes_bitwise_with_its_scale(tmp_path):
    found, _, kept, last = run()
    checkpoint.write(tmp_path, kept, keep=1)
    saved = checkpoint.newest(tmp_path, warn=pytest.fail)
    assert saved.scaler == Scaler(scale=2.0**14, clean=1, overflows=2)
    rest, _, _, end = run(saved, begin=5)
    assert [told(step) for step in rest] == [told(step) for step in found[5:]]
    assert digest(end) == digest(last)


def test_the_scale_cancels():
    """What is told and clipped is the gradient of the loss itself."""
    half, full = (
        [
            (step.loss, step.grad_norm)
            for step in tiny_train(
                tiny_denoiser(), TinyExamples(), tiny_section(steps=4), device=device
            )
        ]
        for device in (HALF, Device())
    )
    # float16 keeps 11 bits: 5e-4 each, over a few layers and steps.
    for one, other in zip(half, full, strict=True):
        assert one == pytest.approx(other, rel=1e-2)
    assert half != full


def test_a_gradient_that_overflows_without_a_scale_is_an_error():
    denoiser = overflowing(steps=range(1, 99))
    steps = tiny_train(denoiser, TinyExamples(), tiny_section(steps=30), device=HALF)
    denoiser.network.attempt, done = 1, 0
    with pytest.raises(NumericsError, match="step 17: the gradient is not finite"):
        for step in steps:
            done = step.step
            denoiser.network.attempt += 1
    assert done == 16  # 2^16 halves sixteen times


def test_a_device_that_cannot_is_refused(monkeypatch):
    monkeypatch.setattr(runtime, "cannot_halve", lambda name: "no such convolution")
    with pytest.raises(FieldError, match="runtime.precision: got 'fp16', expected bf16 or fp32"):
        Device.of(Runtime(device="cpu", precision="fp16"))
    monkeypatch.undo()
    assert Device.of(Runtime(device="cpu", precision="fp16")).precision == "fp16"
