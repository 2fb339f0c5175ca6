"""What ends a run, and that it stays ended."""

import pytest
import torch

from diffsci.errors import FieldError
from diffsci.training import checkpoint, ending
from tests.training.tiny import TinyExamples, digest, tiny_denoiser, tiny_section, tiny_train


def run(section, resume=None, valid=None, seed=0):
    return list(
        tiny_train(
            tiny_denoiser(seed=seed),
            TinyExamples(),
            section,
            valid=valid or TinyExamples(5, 1),
            resume=resume,
        )
    )


def test_the_last_step_says_so():
    steps = run(tiny_section(steps=4))
    assert [step.ended for step in steps] == [None, None, None, "steps"]
    assert steps[-1].state().ended == "steps"


def test_patience_ends_a_run_whose_validation_no_longer_improves(tmp_path):
    """A rate of almost nothing: the loss moves with the average's warm-up, then not enough."""
    section = tiny_section(steps=60, lr=1.0, validate_every=1, patience=2)
    steps = run(section)
    losses = [step.validation for step in steps]
    best, since = float("inf"), 0
    for step, loss in zip(steps, losses, strict=True):
        since = 0 if loss < best else since + 1
        assert step.improved == (loss < best)
        best = min(best, loss)
        assert step.ended == ("patience" if since == 2 else None)
    assert steps[-1].ended == "patience" and len(steps) < 60
    state = steps[-1].state()
    checkpoint.save(tmp_path, state, keep=1)
    saved = checkpoint.newest(tmp_path, warn=pytest.fail)
    assert saved.ended == "patience" and run(section, resume=saved) == []
    assert saved.best_step == len(steps) - 2


class Clock:
    """One minute for each look at it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 60.0
        return self.now


def test_hours_end_a_run_at_a_step_and_count_over_restarts(monkeypatch, tmp_path):
    monkeypatch.setattr(ending, "monotonic", Clock())
    section = tiny_section(steps=500, hours=1.0, validate_every=500)
    steps = run(section)
    *before, last = steps
    assert last.ended == "hours" and {step.ended for step in before} == {None}
    assert last.validation is not None  # so that averages can be chosen
    assert 3600 <= last.state().seconds < 3600 + 5 * 60
    # Half of it, then the rest in another process.
    first = next(tiny_train(tiny_denoiser(), TinyExamples(), section, valid=TinyExamples(5, 1)))
    assert first.state().seconds > 0
    steps_of = iter(tiny_train(tiny_denoiser(), TinyExamples(), section, valid=TinyExamples(5, 1)))
    for _ in range(10):
        tenth = next(steps_of)
    checkpoint.save(tmp_path, tenth.state(), keep=1)
    saved = checkpoint.newest(tmp_path, warn=pytest.fail)
    rest = run(section, resume=saved)
    assert saved.seconds > 0 and rest[-1].ended == "hours"
    assert 3600 <= rest[-1].state().seconds < 3600 + 5 * 60
    assert run(section, resume=rest[-1].state()) == []


def test_a_budget_moves_no_number_of_the_steps():
    with_it, without = (run(tiny_section(hours=hours))[-1].state() for hours in (1e3, None))
    assert digest(with_it) == digest(without)
    assert with_it.seconds > 0 == without.seconds


def test_the_rate_depends_on_the_steps_alone(monkeypatch):
    monkeypatch.setattr(ending, "monotonic", Clock())
    short = run(tiny_section(steps=500, hours=0.5))
    long = tiny_train(tiny_denoiser(), TinyExamples(), tiny_section(steps=500))
    assert [step.lr for step in short] == [step.lr for step, _ in zip(long, short, strict=False)]


def test_the_best_average_is_kept_and_found(tmp_path):
    """A rate that spoils the weights: the best validation is not the last."""
    section = tiny_section(steps=12, lr=1.0, validate_every=1, keep_best=True, keep=2)
    expected = None
    for step in tiny_train(tiny_denoiser(), TinyExamples(), section, valid=TinyExamples(5, 1)):
        if step.improved:
            checkpoint.save_best(tmp_path, step.state())
            expected = {name: value.clone() for name, value in step.state().model.items()}
        if step.step % 3 == 0:
            checkpoint.save(tmp_path, step.state(), keep=2)
            # Those that a kept checkpoint may name are there.
            oldest = tmp_path / f"step-{max(3, step.step - 3):08d}"
            named = checkpoint.read(oldest).best_step
            assert checkpoint.damage_of(checkpoint.best_of(tmp_path, named)) is None
    last = checkpoint.newest(tmp_path, pytest.fail)
    assert 0 < last.best_step < 12
    found = checkpoint.best(tmp_path, last, pytest.fail)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    # Where it was damaged, the end's average serves, and it is said.
    (checkpoint.best_of(tmp_path, last.best_step) / "state.json").unlink()
    said = []
    assert checkpoint.best(tmp_path, last, said.append) is last.model
    assert "the average of the last step is taken" in said[0]


def test_bests_of_a_future_that_was_given_up_go_and_no_other(tmp_path):
    names = lambda: sorted(path.name for path in tmp_path.glob("*-*"))  # noqa: E731
    for step in (1, 2, 3, 4, 5):
        (tmp_path / f"best-{step:08d}").mkdir()
    state = run(tiny_section(steps=3, keep_best=True))[-1].state()
    checkpoint.save(tmp_path, state, keep=2)
    assert state.best_step == 3
    assert names() == ["best-00000003", "step-00000003"]


def test_wrong_ends_are_refused():
    for name, value in (("patience", 0), ("hours", 0.0), ("hours", -1.0)):
        with pytest.raises(FieldError, match=f"{name}: got"):
            tiny_section(**{name: value})
