"""The CRPS of validations, against closed forms for normal laws, and what follows from it."""

import math

import numpy as np
import pytest
import torch

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives.crps import CRPS
from diffsci.diffusion.samplers.dpmpp import DPMpp
from diffsci.diffusion.schedules.edm import EDM as Schedule
from diffsci.errors import ConfigError, FieldError, NumericsError
from diffsci.networks.base import Module
from diffsci.sections import ValidateCrps
from diffsci.training import checkpoint, judging
from diffsci.training.distributed import Ranks
from diffsci.training.judging import Judge
from diffsci.training.validation import Validations
from tests.training.tiny import (
    TinyExamples,
    clone,
    digest,
    tiny_denoiser,
    tiny_section,
    tiny_train,
    told,
)


class Normal(Module):
    """Members that are standard normal in each cell; without a random vector, nothing but zeros."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, level, condition, scalars, noise=None):
        made = torch.zeros_like(x) if noise is None else noise.reshape(x.shape)
        return self.weight * made


class Targets:
    """Fixed ones."""

    def __init__(self, values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def batch(self, index):
        return Batch(target=self.values[torch.from_numpy(index)])


def test_members_of_a_normal_law_have_its_score():
    """E|X - y| - E|X - X'| / 2 for y = 0.3: four standard errors, measured 0.268."""
    y, cases = 0.3, 500
    phi = math.exp(-y * y / 2) / math.sqrt(2 * math.pi)
    exact = y * math.erf(y / math.sqrt(2)) + 2 * phi - 1 / math.sqrt(math.pi)
    judge = Judge(
        asked=ValidateCrps(cases=cases, members=4),
        sampler=None,
        valid=Targets(torch.full((cases, 1, 8), y)),
        seed=0,
    )
    found = judge(Denoiser(Normal(), Schedule(), random=8), 64, Ranks())
    assert found == pytest.approx(exact, abs=4 * 0.45 / math.sqrt(8 * cases))


def test_an_exact_diffusion_model_has_the_score_of_its_law():
    """v = 0 is exact for standard normal data; the score of its samples is 1 / sqrt(pi)."""
    cases = 200
    targets = torch.randn(cases, 1, 8, generator=torch.Generator().manual_seed(1))
    judge = Judge(
        asked=ValidateCrps(cases=cases, members=4),
        sampler=DPMpp(steps=20),
        valid=Targets(targets),
        seed=0,
    )
    denoiser = Denoiser(Normal(), Schedule(), "v").train()
    found = judge(denoiser, 64, Ranks())
    assert denoiser.training
    assert found == pytest.approx(1 / math.sqrt(math.pi), abs=4 * 0.5 / math.sqrt(8 * cases))


def test_it_depends_on_no_grouping_and_ranks_share_it(monkeypatch):
    examples = TinyExamples(7)
    denoiser = tiny_denoiser()
    judge = Judge(
        asked=ValidateCrps(cases=7, members=2), sampler=DPMpp(steps=3), valid=examples, seed=5
    )
    alone, grouped = judge(denoiser, 1, Ranks()), judge(denoiser, 8, Ranks())
    assert grouped == pytest.approx(alone, rel=1e-5)  # float32, another order of sums
    assert judge(denoiser, 8, Ranks()) == grouped
    parts = []
    monkeypatch.setattr(judging, "total", lambda sums, ranks: parts.append(sums) or sums + 1)
    for rank in range(2):
        judge(denoiser, 8, Ranks(rank=rank, world=2))
    added, count = (parts[0] + parts[1]).tolist()
    assert count == 7 and added / count == pytest.approx(grouped, rel=1e-6)


def judged(section, seed=0, **given):
    valid = TinyExamples(5, seed=1)
    judge = Judge(asked=section.validate_crps, sampler=DPMpp(steps=2), valid=valid, seed=3)
    run = tiny_train(
        tiny_denoiser(seed), TinyExamples(), section, valid=valid, judge=judge, **given
    )
    found = [((*told(step), step.crps, step.improved), clone(step.state())) for step in run]
    return [row for row, _ in found], [state for _, state in found]


SECTION = {"keep_best": "crps", "validate_crps": ValidateCrps(cases=5, members=2)}


def test_the_best_step_is_that_of_the_lowest_score_and_resume_is_bitwise(tmp_path):
    section = tiny_section(**SECTION, validate_every=2, lr=0.1)
    rows, states = judged(section)
    last = states[-1]
    scores = dict(last.scores)
    assert sorted(scores) == [2, 4, 6, 8, 10, 12] and len(set(scores.values())) == 6
    for state in states[1:]:
        known = dict(state.scores)
        best = min(known, key=known.get)
        assert (state.best_step, state.best_loss) == (best, known[best])
    lowest = min(states[5].validations, key=lambda row: row[1])[0]
    assert states[5].best_step == 4 and lowest == 2  # else this could not fail
    assert [row[5] for row in rows if row[5] is not None] == list(scores.values())
    # Measuring it changes nothing of the run.
    plain = list(tiny_train(tiny_denoiser(), TinyExamples(), tiny_section(lr=0.1)))
    assert [step.loss.hex() for step in plain] == [row[0] for row in rows]
    checkpoint.save(tmp_path, states[4], keep=1)
    saved = checkpoint.newest(tmp_path, warn=pytest.fail)
    rest, others = judged(section, seed=9, resume=saved)
    assert rest == rows[5:] and digest(others[-1]) == digest(last)


def test_patience_counts_by_the_score(monkeypatch):
    """Scores that rise from the second on end the run after two more, whatever the loss does."""
    found = iter([3.0, 1.0, 2.0, 2.5, 9.0])
    monkeypatch.setattr(Judge, "__call__", lambda *_: next(found))
    section = tiny_section(**SECTION, validate_every=1, patience=2)
    _, states = judged(section)
    assert states[-1].step == 4 and states[-1].ended == "patience" and states[-1].best_step == 2


def test_a_score_that_is_not_finite_stops():
    with pytest.raises(NumericsError, match="validation after step 3"):
        Validations().add(3, (1.0,), np.nan)


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(FieldError, match="keep_best: got 'crps', expected true or false, or a sec"):
        tiny_section(keep_best="crps")
    with pytest.raises(FieldError, match="keep_best: got 'crps', .*beside train.ema_lengths"):
        tiny_section(**SECTION, ema_lengths=(0.05, 0.1))
    with pytest.raises(FieldError, match="members: got 1, expected 2 or more"):
        ValidateCrps(members=1)
    with pytest.raises(ConfigError, match="expected a part data.split.valid"):
        tiny_train(tiny_denoiser(), TinyExamples(), tiny_section(**SECTION))


def test_a_model_of_one_call_is_judged_as_it_samples():
    torch.manual_seed(0)
    objective = CRPS(noise=8)
    denoiser = Denoiser(Normal(), Schedule(), random=objective.random)
    valid = Targets(torch.zeros(4, 1, 8))
    judge = Judge(asked=ValidateCrps(cases=4), sampler=None, valid=valid, seed=0)
    assert judge(denoiser, 4, Ranks()) > 0
    with torch.no_grad():
        denoiser.network.weight.zero_()
    assert judge(denoiser, 4, Ranks()) == 0  # all members right
