"""Infill: what is hidden is declared, what is known is kept, and the rest is asked for."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.data.domains.pde import Pde
from diffsci.data.examples.cases import cases_given
from diffsci.data.examples.seeing import number_of
from diffsci.data.examples.windows import Examples
from diffsci.data.fitting import fit_statistics
from diffsci.data.tasks.infill import Infill
from diffsci.errors import ConfigError, DataError
from tests.data import makers


def fields(space=(9, 14), **changes):
    made = makers.fields(space=space, trajectories=4, times=1, **changes)
    missing = tuple(
        replace(channel, attributes=(("missing", "moving"),)) for channel in made.channels
    )
    return replace(made, channels=missing)


def hidden(task, count=200, space=(9, 14)):
    window = task.hide(torch.zeros(count, 1, 2, *space), np.arange(count))
    gone = window.isnan()
    assert torch.equal(gone[:, :, 0], gone[:, :, 1])
    return gone[:, 0, 0].numpy()


@pytest.mark.parametrize("pattern", ["boxes", "cells", "lines"])
@pytest.mark.parametrize("space", [(40,), (18, 14), (6, 7, 8)])
def test_the_share_that_is_hidden_is_the_declared_one(pattern, space):
    task = Infill(pattern=pattern, share=(0.2, 0.6))
    shares = hidden(task, space=space).reshape(200, -1).mean(axis=1)
    # The mean of 200 draws; sides of boxes are whole cells.
    assert abs(shares.mean() - 0.4) < 0.06
    assert shares.min() > 0 and shares.max() < 1 and len(set(shares)) > 4


def test_patterns_are_what_they_are_called():
    box = hidden(Infill(share=(0.3, 0.3)))
    for one in box:
        rows, columns = one.any(axis=1), one.any(axis=0)
        assert np.array_equal(one, rows[:, None] & columns)
        for line in (rows, columns):
            assert np.diff(np.flatnonzero(line)).max(initial=1) == 1
    lines = hidden(Infill(pattern="lines"))
    assert all((one == one[:, :1]).all() or (one == one[:1]).all() for one in lines)
    many = hidden(Infill(boxes=3, share=(0.3, 0.3)))
    assert len({one.sum() for one in many}) > 10  # They overlap by chance.


def test_a_mask_is_a_function_of_seed_and_number():
    task = Infill(pattern="cells")
    one = hidden(task, 20)
    assert np.array_equal(one, hidden(task, 20)) and (one != one[0]).any()
    assert (hidden(replace(task, seed=1), 20) != one).any()
    assert number_of("sample=3") == number_of("sample=3") != number_of("sample=4")


def test_at_least_one_cell_is_asked_for_and_one_known():
    for share in (0.001, 0.999):
        task = Infill(pattern="cells", share=(share, share))
        counts = hidden(task, 50, (3,)).sum(axis=1)
        assert counts.min() >= 1 and counts.max() <= 2


def test_each_epoch_shows_every_field_with_every_mask():
    task, data = Infill(draws=3), fields()
    examples = Examples(data, task, fit_statistics(data, task))
    assert len(examples) == 3 * 4
    batch = examples.batch(np.arange(12))
    masks = batch.condition[:, 0].reshape(3, 4, -1)
    assert all((masks[0, i] != masks[j, i]).any() for i in range(4) for j in (1, 2))
    assert torch.equal(batch.target[:4], batch.target[4:8])
    again = examples.batch(np.array([7, 2]))
    assert torch.equal(again.condition, batch.condition[[7, 2]])


def test_given_states_are_the_values_beside_the_mask():
    data = fields()
    task = Infill()
    examples = Examples(data, task, fit_statistics(data, task))
    made = examples.batch(np.arange(8))
    first, end = made.states
    mask = made.condition[:, :first]
    assert (first, end) == (2, made.condition.shape[1])
    # A mask has two values, those that are known have as many as there are cells, and one.
    assert len(mask.unique()) == 2 and len(made.condition[:, first:end].unique()) > 100


def test_what_is_known_is_kept_bit_for_bit_and_the_rest_is_asked():
    task, data = Infill(share=(0.4, 0.4)), fields()
    found = cases_given(data, task, Pde(), fit_statistics(data, task))
    values = data.values[:, 0]
    known, truth = ~np.isnan(found.kept), found.truth.read()[:, 0]
    assert np.array_equal(known, np.isnan(truth))
    assert np.array_equal(found.kept[known], values[known])
    assert np.array_equal(truth[~known], values[~known])
    assert np.array_equal(found.cases.labels["known"], known.all(axis=1).astype("i1"))
    grid = data.grid
    condition = task.condition(found.given, grid)
    state = task.restore(torch.full((4, 2, 9, 14), 7.0), condition)
    normalised = torch.from_numpy(fit_statistics(data, task).encode(values))
    assert torch.equal(state[torch.from_numpy(known)], normalised[torch.from_numpy(known)])
    assert (state[torch.from_numpy(~known)] == 7).all()


def test_a_case_has_its_mask_whatever_other_cases_there_are():
    task, data = Infill(), fields()
    statistics = fit_statistics(data, task)
    every = cases_given(data, task, Pde(), statistics)
    some = replace(data, values=data.values[1:], trajectories=data.trajectories[1:])
    fewer = cases_given(some, task, Pde(), statistics)
    assert torch.equal(fewer.given, every.given[1:])


def test_gaps_of_the_data_are_neither_given_nor_asked_for():
    data = fields()
    values = data.values.copy()
    values[:, :, 0, :3] = np.nan
    data = replace(data, values=values)
    task = Infill(pattern="cells", share=(0.5, 0.5))
    statistics = fit_statistics(data, task)
    found = cases_given(data, task, Pde(), statistics)
    assert (found.given[:, 0, :3] == 0).all() and (found.given[:, 2, :3] == 0).all()
    assert np.isnan(found.truth.read()[:, 0, 0, :3]).all() and np.isnan(found.kept[:, 0, :3]).all()
    batch = Examples(data, task, statistics).batch(np.arange(4))
    assert not batch.mask[:, 0, :3].any() and batch.mask[:, 0, 3:].all() and batch.mask[:, 1].all()


def test_masks_of_a_data_set_are_taken_by_chance_or_by_time():
    data = makers.fields(space=(6,), trajectories=2, times=5)
    bank = np.random.default_rng(3).random((5, 6)) < 0.5
    bank[:, 0], bank[:, 1] = True, False
    chance = replace(data, masks=bank)
    task = Infill()
    examples = Examples(chance, task, fit_statistics(chance, task))
    given = examples.batch(np.arange(len(examples))).condition
    shown = {tuple(row) for row in (given[:, 0] > given[:, 0].mean()).tolist()}
    assert shown == {tuple(row) for row in bank.tolist()}
    timed = replace(data, masks=bank, mask_at=np.arange(5)[::-1])
    found = cases_given(timed, task, Pde(), fit_statistics(timed, task))
    assert np.array_equal(found.given[:, 0] > 0.5, np.tile(bank[::-1], (2, 1)))


def test_a_case_of_which_nothing_is_asked_is_refused():
    data = replace(fields(space=(6,)), masks=np.ones((1, 6), dtype=bool))
    task = Infill()
    with pytest.raises(DataError, match="nothing is asked of channel 0 in case sample=0,time=0"):
        cases_given(data, task, Pde(), fit_statistics(data, task))


@pytest.mark.parametrize(
    ("key", "value"), [("share", (0.0, 0.5)), ("share", (0.6, 0.5)), ("draws", 0), ("seed", -1)]
)
def test_wrong_values_name_the_key(key, value):
    with pytest.raises(ConfigError, match=f"{key}: got"):
        Infill(**{key: value})
