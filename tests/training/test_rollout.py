"""Rollouts: closed forms of linear dynamics, and the same by hand with states instead of errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives.crps import CRPS
from diffsci.diffusion.objectives.deterministic import Deterministic
from diffsci.diffusion.schedules.edm import EDM as Schedule
from diffsci.errors import FieldError
from diffsci.networks.base import Module
from diffsci.sections import Rollout
from diffsci.training import checkpoint
from diffsci.training.losses import Loss
from diffsci.training.parts import backward
from diffsci.training.rollout import rolled
from tests.training.tiny import (
    TinyExamples,
    TinyNetwork,
    clone,
    digest,
    tiny_section,
    tiny_train,
    told,
)


class Tendency:
    """The condition is the last state, the target its change, in units of 0.5."""

    def moved(self, batch, errors):
        off = errors[-1]
        return replace(batch, condition=batch.condition + off, target=batch.target - off / 0.5)

    def errors(self, off):
        return (0.5 * off,)


class State(Tendency):
    """The target is the next state itself."""

    def moved(self, batch, errors):
        return replace(batch, condition=batch.condition + errors[-1])

    def errors(self, off):
        return (off,)


class Scaled(Module):
    """The condition times a weight."""

    def __init__(self, weight):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, x, level, condition, scalars, noise=None):
        return self.weight * condition


class Random(TinyNetwork):
    """Turns a random vector into a member."""

    def forward(self, x, level, condition, scalars, noise=None):
        member = 0 if noise is None else 0.3 * noise[:, :1, None]
        return super().forward(x, level, condition + member, scalars)


def chain(states, scale=1.0, tendency=False, scalars=None):
    """Examples of consecutive states of one channel, with the later ones."""
    batches = [
        Batch(
            target=(after - before if tendency else after) / scale,
            condition=before,
            scalars=scalars,
        )
        for before, after in zip(states, states[1:], strict=False)
    ]
    return replace(batches[0], later=tuple(batches[1:]))


@pytest.mark.parametrize("backprop", [None, 1, 2, 3])
def test_linear_dynamics_in_closed_form(backprop):
    """x_l = b^l x_0 forecast by w^l x_0: the mean of (w^l - b^l)^2, and its gradient.

    Through all steps the l-th has the slope l w^(l-1); cut after K, ((l-1) mod K + 1) w^(l-1).
    """
    w, b, leads = 1.1, 0.9, 4
    x_0 = torch.linspace(-1, 2, 8, dtype=torch.float64).reshape(1, 1, 8)
    batch = chain([b**lead * x_0 for lead in range(leads + 1)])
    denoiser = Denoiser(Scaled(w), Schedule())
    nothing = torch.zeros(1, leads, 1, 0, dtype=torch.float64)
    found = rolled(denoiser, batch, Deterministic(), State(), nothing, backprop)
    off = np.array([w**lead - b**lead for lead in range(1, leads + 1)])
    square = float((x_0**2).mean())
    assert found.loss.item() == pytest.approx(square * (off**2).mean(), rel=1e-12)
    found.loss.sum().backward()
    counts = np.array([lead if backprop is None else lead % backprop + 1 for lead in range(leads)])
    if backprop is None:
        counts = counts + 1
    slopes = counts * w ** np.arange(leads)
    expected = square * (2 * off * slopes).mean()
    assert denoiser.network.weight.grad.item() == pytest.approx(expected, rel=1e-12)


def states_of(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 1, 8, generator=generator, dtype=torch.float64) for _ in range(count)]


def gradient(loss, module):
    return torch.autograd.grad(loss.mean(), list(module.parameters()), allow_unused=True)


def require_equal(one, two):
    for left, right in zip(one, two, strict=True):
        assert (left is None) == (right is None)
        assert left is None or torch.allclose(left, right, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("backprop", [None, 1])
def test_members_go_their_own_way(backprop):
    """Each from its own states; the score of each step is that of the states, in target units."""
    torch.manual_seed(0)
    objective = CRPS(members=3, noise=2)
    denoiser = Denoiser(Random(), Schedule(), random=2).double().eval()
    truth, leads = states_of(4), 3
    scalars = torch.ones(3, 1, dtype=torch.float64)
    noise = torch.randn(3, leads, 3, 2, dtype=torch.float64)
    batch = chain(truth, 0.5, tendency=True, scalars=scalars)
    found = rolled(denoiser, batch, objective, Tendency(), noise, backprop)
    members, total = [truth[0]] * 3, []
    for lead in range(leads):
        members = [
            state + 0.5 * denoiser.direct(state, state, scalars, noise[:, lead, k])
            for k, state in enumerate(members)
        ]
        score = objective.loss(torch.stack(members) / 0.5, truth[lead + 1] / 0.5)
        total.append(score.flatten(1).mean(dim=1))
        if backprop == 1:
            members = [state.detach() for state in members]
    by_hand = torch.stack(total).mean(dim=0)
    assert torch.allclose(found.loss, by_hand, rtol=1e-10)
    require_equal(gradient(found.loss, denoiser), gradient(by_hand, denoiser))


class Chains(TinyExamples):
    """Each later step is the one before, shifted by a cell."""

    later = 2

    def batch(self, index):
        first = super().batch(index)
        moved = [
            replace(
                first,
                target=first.target.roll(n, dims=-1),
                condition=first.condition.roll(n, dims=-1),
            )
            for n in range(1, self.later + 1)
        ]
        return replace(first, later=tuple(moved))


def denoiser_for(objective, seed=0):
    torch.manual_seed(seed)
    return Denoiser(Random(), Schedule(), "v", random=objective.random)


def run(objective, rollout, seed=0, **given):
    section = tiny_section(objective=objective, rollout=rollout, **given.pop("changes", {}))
    steps = tiny_train(
        denoiser_for(objective, seed),
        Chains(),
        section,
        valid=Chains(5, seed=1),
        stepper=Tendency(),
        **given,
    )
    found = [(told(step), clone(step.state())) for step in steps]
    return [row for row, _ in found], [state for _, state in found]


OBJECTIVES = [Deterministic(), CRPS(noise=2)]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_lead_is_plain_training_bit_by_bit(objective):
    """And so is every step before the first of several; only validation rolls out already."""
    plain, states = run(objective, None)
    one, same = run(objective, Rollout(leads=1))
    late, _ = run(objective, Rollout(leads=3, from_step=8))
    assert [row[:3] for row in one] == [row[:3] for row in plain]
    assert digest(same[-1])[0] == digest(states[-1])[0]
    assert [row[:3] for row in late[:8]] == [row[:3] for row in plain[:8]]
    assert late[8][0] != plain[8][0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_resume_is_bitwise_over_the_border_of_leads(objective, tmp_path):
    rollout = Rollout(leads=(2, 3), from_step=(3, 6), backprop=2)
    rows, states = run(objective, rollout)
    assert all(row[3] is not None for row in rows[3::4])
    for stop in (2, 5, 8):
        checkpoint.save(tmp_path / str(stop), states[stop - 1], keep=1)
        saved = checkpoint.newest(tmp_path / str(stop), warn=pytest.fail)
        rest, last = run(objective, rollout, seed=9, resume=saved)
        assert rest == rows[stop:]
        assert digest(last[-1]) == digest(states[-1])


def test_parts_of_a_batch_are_rolled_out_as_the_whole():
    """In float64, without dropout: the order of summation is all that differs."""
    examples = Chains(dtype=torch.float64)
    batch = examples.batch(np.arange(4))
    objective = CRPS(noise=2)
    numbers = torch.rand(4, 3, dtype=torch.float64), torch.randn(4, 3, 2, 2, dtype=torch.float64)
    found = []
    for parts in (1, 2):
        denoiser = denoiser_for(objective).double().eval()
        loss = Loss(denoiser, objective, Tendency(), 2)
        each = backward(loss, batch, *numbers, parts=parts, scale=1.0, seed=lambda *_: None)
        found.append([each.loss, *(p.grad for p in denoiser.parameters())])
    require_equal(*found)


def test_the_curriculum():
    rollout = Rollout(leads=(2, 4), from_step=(10, 20))
    assert [rollout.leads_at(step) for step in (0, 9, 10, 19, 20, 99)] == [1, 1, 2, 2, 4, 4]
    assert rollout.longest == 4 and Rollout(leads=3).leads_at(0) == 3
    assert tiny_section().leads_at(5) == 1


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"leads": 0}, "leads: got 0, expected 1 or more"),
        ({"leads": ()}, "leads: got"),
        ({"leads": (2, 4)}, "from_step: got 0, expected 2 training steps for the 2 of leads"),
        ({"leads": (2, 4), "from_step": (5, 5)}, "from_step: got .* each after the last"),
        ({"leads": 2, "backprop": 0}, "backprop: got 0, expected 1 or more, or null for all"),
    ],
)
def test_wrong_settings_are_refused(bad, message):
    with pytest.raises(FieldError, match=message):
        Rollout(**bad)
