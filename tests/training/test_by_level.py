import math

import pytest
import torch

from diffsci.training import by_level
from diffsci.training.by_level import BINS, CENTRES, KEPT, NOTHING, faded, means, sums
from tests.training.tiny import TinyExamples, tiny_denoiser, tiny_section, tiny_train


def test_bins_are_even_in_the_log_and_open_at_both_ends():
    """Of twelve levels at the centres each is alone; what lies outside joins the end bins."""
    assert CENTRES[0] == pytest.approx(0.002 * 40_000 ** (1 / 24))
    assert CENTRES[-1] == pytest.approx(80 / 40_000 ** (1 / 24))
    at = [math.log(sigma) for sigma in (*CENTRES, 1e-9, 0.00201, 79.0, 1e9)]
    expected = [*map(float, range(12)), *[1.0] * 12]
    expected[0] += 12 + 13
    expected[11] += 14 + 15
    expected[12] += 2
    expected[23] += 2
    assert sums([float(number) for number in range(16)], at) == expected


def test_means_fade_by_a_percent_a_step():
    kept = NOTHING
    for value in (5.0, 1.0):
        kept = faded(kept, sums([value], [math.log(CENTRES[3])]))
    assert means(kept) == {CENTRES[3]: pytest.approx((KEPT * 5 + 1) / (KEPT + 1))}
    # What was drawn long ago is no longer told.
    for _ in range(600):
        kept = faded(kept, [0.0] * 2 * BINS)
    assert means(kept)[CENTRES[3]] == pytest.approx((KEPT * 5 + 1) / (KEPT + 1))
    for _ in range(200):
        kept = faded(kept, [0.0] * 2 * BINS)
    assert means(kept) == {}


def test_an_infinite_error_stays_in_its_bin():
    added = sums([math.inf, 2.0], [math.log(CENTRES[0]), math.log(CENTRES[5])])
    assert added[0] == math.inf and added[5] == 2 and all(map(math.isfinite, added[1:]))


def test_a_step_waits_once_for_its_numbers(monkeypatch):
    """All that the host learns of a step is one tensor that it reads."""
    read, run = [], tiny_train(tiny_denoiser(), TinyExamples(), tiny_section(validate_every=100))
    for name in ("tolist", "item"):
        kept = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda *given, n=name, f=kept: read.append(n) or f(*given)
        )
    next(run)
    assert read == ["tolist"]


def test_the_bins_of_a_first_step_make_up_its_loss():
    """Where no variance is learned, the mean over all bins is the mean loss."""
    section = tiny_section(batch_size=10, log_every=1)
    step = next(tiny_train(tiny_denoiser(), TinyExamples(), section))
    kept = step.state().by_level
    assert sum(kept[BINS:]) == 10
    assert sum(kept[:BINS]) / 10 == pytest.approx(step.loss, rel=1e-6)
    assert (
        list(step.by_level) == [c for c, n in zip(CENTRES, kept[BINS:], strict=True) if n > 0]
        and len(step.by_level) > 3
    )


def test_steps_tell_it_when_they_are_logged():
    steps = list(tiny_train(tiny_denoiser(), TinyExamples(), tiny_section(log_every=5)))
    assert [step.step for step in steps if step.by_level is not None] == [5, 10, 12]


def test_the_mean_over_a_run_is_that_of_what_was_seen(monkeypatch):
    """Without fading, counts are all draws and sums all errors."""
    monkeypatch.setattr(by_level, "KEPT", 1.0)
    *_, last = steps = list(tiny_train(tiny_denoiser(), TinyExamples(), tiny_section()))
    kept = last.state().by_level
    assert sum(kept[BINS:]) == 12 * 4
    assert sum(kept[:BINS]) == pytest.approx(4 * sum(step.loss for step in steps), rel=1e-5)
