"""Batches that are not finite: the run stops, or leaves them out and says so; and loss spikes."""

import math
import random
import statistics

import numpy as np
import pytest
import torch

from diffsci.errors import FieldError, NumericsError
from diffsci.training import checkpoint
from diffsci.training.finite import explain
from diffsci.training.spikes import FEWEST, KEPT, Recent
from tests.training.tiny import (
    TinyExamples,
    clone,
    digest,
    tiny_denoiser,
    tiny_section,
    tiny_train,
    told,
)


def run(bad=(7,), resume=None, seed=0, **changes):
    """Steps and states of a run on ten examples, some of them not finite."""
    examples = TinyExamples()
    for example in bad:
        examples.target[example] = math.nan
    section = tiny_section(on_bad="skip", log_every=1, **changes)
    steps, states = [], []
    for step in tiny_train(
        tiny_denoiser(seed=seed), examples, section, valid=TinyExamples(5, 1), resume=resume
    ):
        steps.append(step)
        states.append(clone(step.state()))
    return steps, states, examples.asked


def test_a_bad_batch_is_left_out_with_all_of_its_traces():
    steps, states, asked = run()
    skipped = [7 in index for index in asked]
    assert [step.skipped for step in steps] == skipped and 1 < sum(skipped) < len(steps)
    for k in (k for k in range(1, 12) if skipped[k]):
        before, after = digest(states[k - 1]), digest(states[k])
        assert before[0] == after[0]  # weights, buffers, average, moments
        assert states[k].ema_updates == states[k - 1].ema_updates
        assert states[k].by_level == states[k - 1].by_level
        assert states[k].recent == states[k - 1].recent
        assert states[k].skipped == states[k - 1].skipped + 1
        assert (
            steps[k]
            .notes[0]
            .startswith(f"training step {k + 1}: target of the training examples [7] is not finite")
        )
        assert f"skipped, number {states[k].skipped} of this run" in steps[k].notes[0]
    assert [row[0] for row in states[-1].losses] == [s.step for s in steps if not s.skipped]


def test_the_steps_in_between_are_those_of_a_run_that_never_had_the_batch():
    """Where nothing is bad, `skip` and `stop` give the same bits."""
    _, skipping, _ = run(bad=())
    *_, last = tiny_train(
        tiny_denoiser(), TinyExamples(), tiny_section(log_every=1), valid=TinyExamples(5, 1)
    )
    assert digest(skipping[-1]) == digest(last.state())


def test_skipping_resumes_bitwise(tmp_path):
    steps, states, _ = run()
    middle = next(k for k, step in enumerate(steps) if k > 2 and step.skipped)
    checkpoint.save(tmp_path, states[middle], keep=1)
    saved = checkpoint.newest(tmp_path, pytest.fail)
    rest, ends, _ = run(resume=saved, seed=9)
    assert repr([told(s) for s in rest]) == repr([told(s) for s in steps[middle + 1 :]])
    assert digest(ends[-1]) == digest(states[-1])


def test_too_many_in_a_row_stop():
    with pytest.raises(NumericsError, match="is number 4 of such batches in.*skip_most is 3"):
        run(bad=range(10), skip_most=3)
    # The row goes on where the run does.
    examples = TinyExamples()
    examples.target[:] = math.nan
    given = (tiny_denoiser(), examples, tiny_section(on_bad="skip", skip_most=3))
    steps = tiny_train(*given)
    next(steps)
    saved = next(steps).state()
    rest = tiny_train(*given, resume=saved)
    assert next(rest).step == 3
    with pytest.raises(NumericsError, match="training step 4: .* number 4 of such batches"):
        next(rest)
    # With half of the batches bad, but never many in a row, the run goes on.
    steps, states, _ = run(skip_most=3, steps=40)
    assert states[-1].skipped > 3 and states[-1].step == 40


def test_a_bad_gradient_is_left_out_too():
    denoiser = tiny_denoiser()
    denoiser.network.last.bias.register_hook(lambda g: g * math.inf)
    section = tiny_section(on_bad="skip", skip_most=2)
    steps = tiny_train(denoiser, TinyExamples(), section)
    assert "the gradient is not finite in 1 weights" in next(steps).notes[0]
    next(steps)
    with pytest.raises(NumericsError, match="number 3 of such batch"):
        next(steps)


def test_what_is_bad_on_another_rank_is_named_on_all():
    """Here values and losses are finite; the gradient, a sum over ranks, is not."""
    batch = TinyExamples().batch(np.array([4, 5]))
    for parameter in (network := torch.nn.Linear(1, 1)).parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    given = (np.array([4, 5]), batch, torch.ones(2), network)
    told = explain(*given, [9], lambda number, _: f"sample {number}")
    assert "the training examples [9] of another process is not finite (9 is sample 9);" in told
    assert "the gradient is not finite in 2 weights" in explain(*given)


def test_recent_against_sorting_anew():
    """Median and quartiles by order statistics of the last hundred."""
    chance, kept, ours = random.Random(0), [], Recent()
    for _ in range(400):
        loss = chance.choice([chance.random(), chance.random(), round(chance.random(), 1)])
        if len(kept) >= FEWEST:
            ordered = sorted(kept[-KEPT:])
            n = len(ordered)
            spread = (ordered[3 * n // 4] - ordered[n // 4]) / 1.349
            expected = (loss - ordered[n // 2]) / spread
            assert ours.deviations(loss) == pytest.approx(expected, rel=1e-12)
        else:
            assert ours.deviations(loss) == 0
        ours.add(loss)
        kept.append(loss)
    assert list(ours.losses) == kept[-KEPT:]
    assert Recent(ours.losses).deviations(2.0) == ours.deviations(2.0)


def test_deviations_are_standard_ones_for_normal_losses():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(200):
        recent = Recent(rng.normal(5.0, 0.5, KEPT).tolist())
        found.append(recent.deviations(6.0))
    # (6 - 5) / 0.5 = 2; the quartiles of 100 values have an error of a tenth.
    assert statistics.median(found) == pytest.approx(2.0, abs=0.1)
    assert Recent([1.0] * 50).deviations(1.0) == 0


def test_a_spike_is_told_with_its_examples_and_moves_nothing():
    """Example 3 is a thousand times too large; by then there are enough losses to compare."""
    examples = TinyExamples(10)
    told_of, states = {}, {}
    for spike in (10.0, None):
        examples.target = TinyExamples(10).target
        notes = []
        for step in tiny_train(
            tiny_denoiser(), examples, tiny_section(steps=40, lr=1e-4, spike=spike, batch_size=2)
        ):
            notes += [(step.step, note) for note in step.notes]
            if step.step == 30:
                examples.target = examples.target.clone()
                examples.target[3] *= 1e3
        told_of[spike], states[spike] = notes, digest(step.state())
    assert told_of[None] == [] and len(told_of[10.0]) >= 1
    assert all(step > 30 and "in the training examples 3 (" in note for step, note in told_of[10.0])
    assert states[None] == states[10.0]


def test_wrong_policies_are_refused():
    for name, value in (("skip_most", 0), ("spike", 0.0)):
        with pytest.raises(FieldError, match=f"{name}: got"):
            tiny_section(**{name: value})


def test_a_gradient_too_long_for_its_norm_is_not_said_to_be_bad_in_no_weight():
    batch = TinyExamples().batch(np.array([4, 5]))
    for parameter in (network := torch.nn.Linear(1, 1)).parameters():
        parameter.grad = torch.full_like(parameter, 1e30)
    told = explain(np.array([4, 5]), batch, torch.ones(2), network)
    assert "the gradient is finite, and too long" in told and "[4, 5]" in told
