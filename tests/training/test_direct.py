"""Training a model of one call on the loop of all others: bits, dropout, precision, compiling."""

from dataclasses import replace

import pytest
import torch
import torch._dynamo

from diffsci import runtime
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives.crps import CRPS
from diffsci.diffusion.objectives.deterministic import Deterministic
from diffsci.diffusion.schedules.edm import EDM
from diffsci.networks.base import Module, Ports
from diffsci.networks.unet import UNet
from diffsci.runtime import Device
from tests.training.tiny import GRID, TinyExamples, digest, tiny_section, tiny_train

OBJECTIVES = {"crps": CRPS(noise=4, members=3), "deterministic": Deterministic()}
everyone = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def denoiser_for(objective, **network):
    torch.manual_seed(0)
    spec = UNet(**({"channels": (8,), "blocks": 1, "groups": 4, "embedding": 16} | network))
    ports = Ports(target=1, condition=1, scalars=1, grid=GRID, noise=objective.random)
    return Denoiser(spec.build(ports), EDM(), "v", random=objective.random)


def run(objective, device=None, steps=8, resume=None, **network):
    """All steps of a run, with the last state."""
    denoiser = denoiser_for(objective, **network)
    section = tiny_section(objective=objective, steps=8, log_every=2)
    found = []
    for step in tiny_train(
        denoiser,
        TinyExamples(),
        section,
        valid=TinyExamples(seed=1),
        resume=resume,
        device=device or Device(),
    ):
        found.append(step)
        if step.step == steps:
            break
    return found


@everyone
def test_a_run_goes_on_with_the_same_bits(objective):
    whole = run(objective, dropout=0.2)
    # As a checkpoint would keep it: of its own.
    state = run(objective, steps=5, dropout=0.2)[-1].state()
    groups = {
        name: {key: value.clone() for key, value in getattr(state, name).items()}
        for name in ("weights", "ema", "optimiser")
    }
    rest = run(objective, resume=replace(state, **groups), dropout=0.2)
    assert [step.loss.hex() for step in rest] == [step.loss.hex() for step in whole[5:]]
    assert digest(rest[-1].state()) == digest(whole[-1].state())


@everyone
def test_there_is_no_loss_by_level(objective):
    steps = run(objective)
    assert all(step.by_level is None for step in steps)
    assert [step.step for step in steps if step.validation is not None] == [4, 8]


@everyone
def test_it_learns(objective):
    """Which the random vector of a member must, too: its first weights have moved."""
    denoiser = denoiser_for(objective)
    before = {name: value.clone() for name, value in denoiser.named_parameters()}
    section = tiny_section(objective=objective, steps=150, condition_noise=0.0, drop_scalars=0.0)
    losses = [step.loss for step in tiny_train(denoiser, TinyExamples(), section)]
    # The smoothed truth is given. What is left after 150 steps: measured 0.06 and 0.1 of the first.
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    moved = {n for n, p in denoiser.named_parameters() if not torch.equal(p, before[n])}
    noise = {name for name in before if ".noise." in name}
    assert noise <= moved and bool(noise) == objective.varied


@everyone
def test_dropout_precision_and_checkpointing(objective):
    plain = [step.loss for step in run(objective)]
    dropped = [step.loss for step in run(objective, dropout=0.3)]
    # The head begins at zero: dropout shows from the second step on.
    assert plain[0] == dropped[0] and plain[4] != dropped[4]
    again = [step.loss for step in run(objective, Device(checkpointing=True))]
    assert again == plain
    low = [step.loss for step in run(objective, Device(precision="bf16"))]
    # 8 bits of a number: 1 % of the loss, after few steps.
    assert low != plain and low == pytest.approx(plain, rel=0.02)


def test_compiled_by_the_back_end_that_runs_what_it_was_given(monkeypatch):
    class Network(Module):
        # Shape checks of tests are part of the package's own modules, and no code to compile.
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv1d(1, 4, 3, padding=1)
            self.told = torch.nn.Linear(4, 4)
            self.last = torch.nn.Conv1d(4, 1, 1)

        def forward(self, x, level, condition, scalars, noise=None):
            return x + self.last(torch.tanh(self.conv(condition) + self.told(noise)[:, :, None]))

    monkeypatch.setattr(runtime, "BACKEND", "eager")
    objective, found = OBJECTIVES["crps"], []
    for compile in (False, True):
        torch._dynamo.reset()
        torch.manual_seed(0)
        denoiser = Denoiser(Network(), EDM(), "v", random=4)
        section = tiny_section(objective=objective, steps=3)
        steps = tiny_train(denoiser, TinyExamples(), section, device=Device(compile=compile))
        found.append([step.loss for step in steps])
    torch._dynamo.reset()
    assert found[0] == found[1]
