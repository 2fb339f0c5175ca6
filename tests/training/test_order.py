import hashlib

import numpy as np
import pytest
import torch

from diffsci.training.order import Draws, examples_of_step, key, open_interval, permutation

CPU = torch.device("cpu")


def draws(*words, count=6, rows=slice(None)):
    return Draws(*words, count=count, rows=rows, device=CPU)


def test_the_order_is_the_one_of_release_0_1():
    """A golden value: checkpoints of older releases must go on with the order they began with."""
    assert permutation(0, 0, 8).tolist() == [2, 5, 7, 6, 4, 1, 0, 3]
    assert key("order", 0, 0) == int.from_bytes(
        hashlib.blake2b(b"order/0/0", digest_size=8).digest(), "little"
    )


@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (7, 7), (5, 12), (1, 3), (12, 1)])
def test_steps_are_the_concatenated_epochs(count, batch_size):
    steps = [examples_of_step(3, step, batch_size, count) for step in range(20)]
    epochs = 20 * batch_size // count + 1
    whole = np.concatenate([permutation(3, epoch, count) for epoch in range(epochs)])
    assert np.array_equal(np.concatenate(steps), whole[: 20 * batch_size])


def test_permutations_are_uniform():
    """Each of 3 examples is first in a third of 3000 epochs, within 5 standard deviations (26)."""
    first = np.bincount([permutation(1, epoch, 3)[0] for epoch in range(3000)])
    assert np.abs(first - 1000).max() < 130


def test_seeds_and_epochs_give_other_orders():
    orders = {tuple(permutation(seed, epoch, 20)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_a_rank_draws_its_rows_of_the_whole():
    like = torch.empty(6, 2, 5, dtype=torch.float64)
    whole, rows = draws("a", 1), draws("a", 1, rows=slice(2, 4))
    assert torch.equal(whole.normal(like)[2:4], rows.normal(like[2:4]))
    assert torch.equal(whole.stratified(torch.float32)[2:4], rows.stratified(torch.float32))
    assert torch.equal(whole.uniform()[2:4], rows.uniform())


def test_words_decide_the_numbers():
    like = torch.empty(6, 1)
    assert torch.equal(draws(3, 7).normal(like), draws(3, 7).normal(like))
    assert not torch.equal(draws(3, 7).normal(like), draws(3, 8).normal(like))
    assert not torch.equal(draws(3, 7).normal(like), draws(4, 7).normal(like))


def test_stratified_numbers_hit_each_interval_once():
    levels = draws(0, count=64).stratified(torch.float64)
    assert sorted((levels * 64).floor().long().tolist()) == list(range(64))
    # Var of the mean is 1 / (12 n^3), far below the 1 / (12 n) of independent numbers.
    assert abs(levels.mean().item() - 0.5) < 5 * (12 * 64**3) ** -0.5
    assert levels.tolist() != sorted(levels.tolist())


def test_the_open_interval_is_open():
    ends = torch.tensor([0.0, 1e-30, 1 - 1e-12, 1.0], dtype=torch.float64)
    for dtype in (torch.float32, torch.float64):
        assert torch.isfinite(torch.special.ndtri(open_interval(ends, dtype))).all()
