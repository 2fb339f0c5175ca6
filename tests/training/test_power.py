import math
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from diffsci.errors import ConfigError, FieldError, StorageError
from diffsci.training import checkpoint, power
from diffsci.training.places import snapshot_of
from diffsci.training.power import (
    LONGEST,
    TRIED,
    Powers,
    Snapshots,
    coefficients,
    power_of,
    profile,
    snapshot_steps,
)
from tests.training.tiny import (
    TinyExamples,
    clone,
    digest,
    tiny_denoiser,
    tiny_section,
    tiny_train,
    told,
)


def test_lengths_and_powers_of_the_paper():
    """Table of Karras et al.: 0.05 and 0.10 are the powers 16.97 and 6.94; 0 averages all alike."""
    assert power_of(0.05) == pytest.approx(16.97, abs=5e-3)
    assert power_of(0.10) == pytest.approx(6.94, abs=5e-3)
    assert power_of(LONGEST) == pytest.approx(0, abs=1e-12)
    for length in TRIED:
        power = power_of(length)
        assert math.sqrt(power + 1) / ((power + 2) * math.sqrt(power + 3)) == pytest.approx(length)
    for wrong in (0.0, 0.3):
        with pytest.raises(FieldError, match=f"length: got {wrong}, expected a share, up to 0.289"):
            power_of(wrong)


@pytest.mark.parametrize("length", [0.05, 0.1, LONGEST])
def test_the_recursion_gives_the_profile(length):
    """The weight follows unit impulses one after the other: its average is their weight."""
    steps, edges = 40, np.arange(41.0)
    module = nn.Linear(steps, 1, bias=False).double()
    powers = Powers(module, (length,))
    for step in range(steps):
        with torch.no_grad():
            module.weight.copy_(torch.eye(steps, dtype=torch.float64)[step : step + 1])
        powers.update(step + 1)
        expected = profile((step + 1, length), edges)
        found = powers.all[0]["weight"][0].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-15)
    assert found.sum() == pytest.approx(1)
    mean = (found * (edges[1:] - 0.5)).sum()
    spread = math.sqrt((found * (edges[1:] - 0.5 - mean) ** 2).sum() + 1 / 12) / steps
    assert spread == pytest.approx(length, rel=0.01)  # the profile is of steps, not continuous


def worst(steps, snapshots, kept, wanted):
    """Of the profile of the sum, in L2 of the wanted one."""
    have = [(n, each) for n in sorted(snapshot_steps(steps, snapshots)) for each in kept]
    edges = np.linspace(0, steps, 4097)
    columns = np.stack([profile(each, edges) for each in have], axis=1)
    target = profile((steps, wanted), edges)
    off = columns @ coefficients(have, (steps, wanted)) - target
    return float(np.linalg.norm(off) / np.linalg.norm(target))


def test_other_lengths_are_sums_of_those_that_are_kept():
    """Two lengths, 32 snapshots: measured 0.04 for 0.02, 0.02 for 0.24, else 0.011 or less."""
    for length in TRIED:
        limit = 0.012 if 0.03 <= length <= 0.18 else 0.045
        assert worst(50_000, 32, (0.05, 0.1), length) < limit, length
    errors = [worst(50_000, count, (0.05, 0.1), 0.04) for count in (8, 16, 32, 64)]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert coarse > 2.5 * fine  # measured: 2.99, 3.7 and 4.0; second order in their distance


def test_a_length_that_is_kept_is_taken_as_it_is():
    have = [(10, 0.05), (10, 0.1), (20, 0.05), (20, 0.1)]
    assert coefficients(have, (20, 0.1)).tolist() == [0, 0, 0, 1]


def test_snapshots_are_even_and_end_with_the_run():
    assert sorted(snapshot_steps(100, 4)) == [25, 50, 75, 100]
    assert sorted(snapshot_steps(10, 4)) == [3, 5, 8, 10]
    assert sorted(snapshot_steps(3, 32)) == [1, 2, 3]


def trained(folder, lengths=(0.05, 0.1), **changes):
    """A run's snapshots, its last state, and its weights after each step."""
    section = tiny_section(ema_lengths=lengths, snapshots=6, **changes)
    run, states = tiny_denoiser(), []
    for step in tiny_train(run, TinyExamples(), section, valid=TinyExamples(5, 1)):
        states.append(clone(step.state()))
        if step.step in snapshot_steps(section.steps, section.snapshots):
            copy = checkpoint.Copy.of(checkpoint.only_powers(step.state()))
            checkpoint.write_snapshot(folder, copy)
    return states


def test_any_average_from_snapshots_is_that_of_the_weights(tmp_path):
    """As good as its profile: the error of a weight is at most that of the profile times weights.

    Those that were kept come back bit for bit, buffers are those of the end.
    """
    states = trained(tmp_path)
    snapshots = Snapshots.of(tmp_path, pytest.fail)
    edges = np.arange(len(states) + 1.0)
    for length in (0.05, 0.1, 0.07, 0.15):
        found, weights = snapshots.average(length), profile((len(states), length), edges)
        kept = np.stack([profile(each, edges) for each in snapshots.kept], axis=1)
        off = np.abs(kept @ coefficients(snapshots.kept, (len(states), length)) - weights)
        for name in states[-1].powers[0]:
            series = np.stack([state.weights[name].double().numpy() for state in states])
            exact = np.tensordot(weights, series, axes=1)
            bound = np.tensordot(off, np.abs(series), axes=1) + 1e-6
            assert (np.abs(found[name].numpy() - exact) <= bound).all(), (length, name)
        assert off.sum() < 0.15, length
        assert found.keys() == states[-1].weights.keys()
        assert torch.equal(found["network.calls"], states[-1].weights["network.calls"])
    for place, length in enumerate((0.05, 0.1)):
        for name, value in states[-1].powers[place].items():
            assert torch.equal(snapshots.average(length)[name], value)


def test_a_damaged_snapshot_is_named_and_left_out(tmp_path):
    trained(tmp_path)
    broken = snapshot_of(tmp_path, 6) / "state.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1])
    said = []
    snapshots = Snapshots.of(tmp_path, said.append)
    assert len(snapshots.places) == 5 and len(said) == 1 and "power-00000006 is damaged" in said[0]
    assert torch.isfinite(snapshots.average(0.1)["network.last.weight"]).all()
    for place in snapshots.places:
        shutil.rmtree(place)
    with pytest.raises(StorageError, match="holds no whole snapshot.*train.ema_lengths"):
        Snapshots.of(tmp_path, said.append)


def test_snapshots_stay_when_checkpoints_are_pruned_but_for_those_of_the_future(tmp_path):
    states = trained(tmp_path)
    checkpoint.save(tmp_path, states[7], keep=1)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"power-0000000{n}" for n in (2, 4, 6, 8)] + ["step-00000008"]


def test_resume_with_them_is_bitwise(tmp_path):
    section = tiny_section(ema_lengths=(0.05, 0.1))
    states = trained(tmp_path / "whole")
    checkpoint.save(tmp_path, states[4], keep=1)
    saved = checkpoint.newest(tmp_path, warn=pytest.fail)
    assert all(
        torch.equal(saved.powers[k][name], value)
        for k, weights in enumerate(states[4].powers)
        for name, value in weights.items()
    )
    given = (tiny_denoiser(seed=9), TinyExamples(), tiny_section(ema_lengths=(0.05, 0.1)))
    *_, last = tiny_train(
        *given, valid=TinyExamples(5, 1), resume=saved, allow=("train.snapshots",)
    )
    assert digest(last.state()) == digest(states[-1])
    forgotten = saved.__class__(**{**vars(saved), "powers": states[0].powers})
    *_, other = tiny_train(
        tiny_denoiser(),
        TinyExamples(),
        section,
        valid=TinyExamples(5, 1),
        resume=forgotten,
        allow=("train.snapshots",),
    )
    assert digest(other.state()) != digest(states[-1])


def test_without_them_a_run_is_as_it_was():
    plain = list(tiny_train(tiny_denoiser(), TinyExamples(), tiny_section()))
    section, valid = tiny_section(ema_lengths=(0.05,)), TinyExamples(5, 1)
    more = list(tiny_train(tiny_denoiser(), TinyExamples(), section, valid=valid))
    assert [told(step)[:3] for step in plain] == [told(step)[:3] for step in more]
    assert plain[-1].state().powers == ()


def test_wrong_lengths_are_refused():
    for wrong in ((0.0,), (0.3,), (0.1, 0.1)):
        with pytest.raises(FieldError, match="ema_lengths: got .*expected shares that differ"):
            tiny_section(ema_lengths=wrong)
    with pytest.raises(ConfigError, match=r"train\.ema_lengths: .*expected a part data.split.val"):
        tiny_train(tiny_denoiser(), TinyExamples(), tiny_section(ema_lengths=(0.1,)))


def test_snapshots_before_the_first_update_have_no_share(tmp_path, monkeypatch):
    """In float16 the first steps overflow and are left out; their averages are of no weights."""
    updates = {tmp_path / f"power-{n}": n for n in (0, 1, 2)}
    monkeypatch.setattr(power.checkpoint, "snapshots", lambda *_: iter(updates))

    def numbers(place):
        return {"ema_updates": updates[place], "settings": {"train.ema_lengths": [0.05]}}

    monkeypatch.setattr(power.checkpoint, "numbers_of", numbers)
    found = power.Snapshots.of(tmp_path, print)
    assert found.kept == ((1, 0.05), (2, 0.05))
    assert [place.name for place in found.places] == ["power-1", "power-2"]
    assert np.isfinite(power.coefficients(found.kept, (2, 0.1))).all()
    updates.pop(tmp_path / "power-1"), updates.pop(tmp_path / "power-2")
    with pytest.raises(StorageError, match="all steps were left out"):
        power.Snapshots.of(tmp_path, print)
