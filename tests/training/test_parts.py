"""A batch in parts: the same step as the whole one, up to the order of summation."""

import pytest
import torch

from diffsci.errors import FieldError
from diffsci.training.distributed import Ranks, check_batch
from tests.training.tiny import TinyExamples, tiny_denoiser, tiny_section, tiny_train, whole_run


def run(accumulate, steps=6, dropout=0.0, **changes):
    denoiser = tiny_denoiser(dtype=torch.float64)
    denoiser.network.dropout.p = dropout
    examples = TinyExamples(dtype=torch.float64)
    section = tiny_section(steps=steps, accumulate=accumulate, log_every=1, **changes)
    for step in tiny_train(denoiser, examples, section):
        last = step
    return last.state(), examples.asked


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_add_up_to_the_whole_batch(parts):
    """Six steps in float64, with noise on the condition, mirrors, rolls and dropped scalars."""
    (whole, asked), (split, same) = run(1), run(parts)
    assert asked == same
    for group in ("weights", "ema", "optimiser"):
        for name, value in getattr(whole, group).items():
            if "calls" in name:
                continue  # counts forward passes
            # 1e-12: a few hundred roundings of 1e-16; Adam divides by gradients of 1e-3 and more.
            found = getattr(split, group)[name]
            assert torch.allclose(found, value, rtol=1e-12, atol=1e-12), (group, name)
    for row, expected in zip(split.losses, whole.losses, strict=True):
        assert row == pytest.approx(expected, rel=1e-12)
    assert split.by_level == pytest.approx(whole.by_level, rel=1e-12)


def test_each_part_has_its_own_dropout():
    """Masks that repeated in each part would make the gradient's error one of the part alone."""
    denoiser, seen = tiny_denoiser(), []
    denoiser.network.dropout.register_forward_hook(lambda m, x, y: seen.append(y == 0))
    next(tiny_train(denoiser, TinyExamples(), tiny_section(accumulate=2)))
    assert len(seen) == 2 and not torch.equal(*seen)


def test_a_run_in_parts_resumes_bitwise():
    section = tiny_section(accumulate=2)
    losses, states = whole_run(section)
    rest = tiny_train(
        tiny_denoiser(seed=9), TinyExamples(), section, valid=TinyExamples(5, 1), resume=states[4]
    )
    assert [step.loss.hex() for step in rest] == [row[0] for row in losses[5:]]


def test_a_bad_example_is_named_in_whichever_part_it_is():
    for bad in (0, 1, 2, 3):
        examples = TinyExamples(4)
        examples.target[bad] = torch.nan
        with pytest.raises(ValueError, match=rf"target of the training examples \[{bad}\] is not"):
            next(tiny_train(tiny_denoiser(), examples, tiny_section(accumulate=4)))


def test_parts_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(FieldError, match="accumulate: got 3, expected a divisor of batch_size"):
        tiny_section(accumulate=3)
    with pytest.raises(FieldError, match="a multiple of the 2 processes, each with 4 parts"):
        check_batch(4, Ranks(world=2), parts=4)
