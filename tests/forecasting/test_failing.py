"""Members that fail do so alone: the others are the same bits, and each failure has its name."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.data.fields import Channel
from diffsci.errors import NumericsError, StorageError
from diffsci.forecasting.bounds import Bounds
from diffsci.forecasting.failing import Limit
from diffsci.forecasting.rollout import Rollout
from diffsci.forecasting.store.disk import open_store
from diffsci.forecasting.store.ledger import Ledger
from diffsci.forecasting.store.places import Place
from diffsci.networks.base import Module
from tests import tiny_runs
from tests.forecasting import makers
from tests.forecasting.test_ensemble import CPU, rows_of
from tests.stages.ensembles import test_sampling as stores


class Explodes(Module):
    """A network whose output is `value` where the noisy field's first cell is above a level."""

    def __init__(self, network, value, above):
        super().__init__()
        self.network, self.value, self.above = network, value, above

    def forward(self, x, level, condition, scalars, noise=None):
        made = self.network(x, level, condition, scalars)
        hit = (x.flatten(1)[:, 0] > self.above).reshape(-1, *[1] * (x.ndim - 1))
        return torch.where(hit, torch.full_like(made, self.value), made)


def broken(model, value, above=1.2):
    model.denoiser.network = Explodes(model.denoiser.network, value, above)
    return model


@pytest.mark.parametrize(
    ("value", "why"),
    [(float("nan"), "not finite"), (1e6, "standard deviations from the mean, more than sample")],
)
def test_those_that_live_are_the_same_bits(value, why):
    model = makers.forecasting(steps=1)
    rows, leads = rows_of(model, range(3), range(5)), 3
    whole = model.engine(CPU).states(rows, leads, seed=0).numpy()
    rollout = Rollout(broken(model, value).engine(CPU), rows, leads, 0)
    found = rollout.next(leads)
    failed = {(each.case, each.member): each for each in rollout.failures.all()}
    assert 0 < len(failed) < len(rows)
    assert len({each.step for each in failed.values()}) > 1
    for row, key in enumerate(zip(rows.cases, rows.members, strict=True)):
        if key not in failed:
            np.testing.assert_array_equal(found[row], whole[row])
            continue
        each = failed[key]
        assert why in each.why
        np.testing.assert_array_equal(found[row, : each.step - 1], whole[row, : each.step - 1])
        assert np.isnan(found[row, each.step - 1 :]).all()
        if value == 1e6:
            assert each.variable == "u"


def test_nobody_lives():
    model = broken(makers.forecasting(steps=1), float("nan"), above=-1e9)
    rows = rows_of(model, range(1), range(3))
    rollout = Rollout(model.engine(CPU), rows, 4, 0)
    assert np.isnan(rollout.next(4)).all()
    assert [each.step for each in rollout.failures.all()] == [1, 1, 1]


def test_the_limit_finds_step_and_variable():
    limit = Limit(stds=10.0, variables=("a", "b"))
    states = torch.zeros(3, 2, 2, 4)
    assert limit.broken(states) == {}
    states[1, 1, 1, 2] = -11
    states[2, 0, 0, 0] = torch.inf
    found = limit.broken(states)
    assert set(found) == {1, 2}
    assert found[1][:2] == (1, "b")
    assert found[1][2].startswith("11 standard deviations")
    assert found[2] == (0, "a", "not finite")


def test_a_store_without_them_is_written_and_says_so(tmp_path):
    """NaN at all leads, named in attributes and ledger; asked again it says why not again."""
    whole = makers.forecasting(members=5, leads=3, steps=1, network=stores.SMALL)
    given = stores.cases_of(whole, makers.ring_fields(), range(3), 3)
    stores.written(whole, given, tmp_path / "whole.zarr", 5, 64, 0)
    model = makers.forecasting(members=5, leads=3, steps=1, network=stores.SMALL)
    model = broken(model, float("nan"))
    told = r"f\.zarr: \d of 15 members failed and are NaN.*not tried again.*\n  case sample=0,time="
    for _ in range(2):
        with pytest.raises(NumericsError, match=told):
            stores.written(model, given, tmp_path / "f.zarr", 5, 2, 0)
    ledger = Ledger.read(Place.of(tmp_path / "f.zarr"))
    failed = {(each.case, each.member) for each in ledger.failed}
    with open_store(tmp_path / "f.zarr") as found, open_store(tmp_path / "whole.zarr") as full:
        for case, key in enumerate(ledger.cases):
            for member in range(5):
                stored = found.u.values[case, member]
                if (key, member) in failed:
                    assert np.isnan(stored).all()
                else:
                    np.testing.assert_array_equal(stored, full.u.values[case, member])
        assert found.attrs["diffsci_failed"] == len(failed)
        first = sorted(ledger.failed)[0]
        assert str(first) in found.attrs["diffsci_failed_members"]


def test_failures_are_carried_over_when_a_store_grows(tmp_path):
    def write(store, members):
        model = makers.forecasting(members=members, leads=2, steps=1, network=stores.SMALL)
        given = stores.cases_of(model, makers.ring_fields(), range(3), 2)
        with pytest.raises(NumericsError):
            stores.written(broken(model, float("nan")), given, store, members, 64, 0)

    write(tmp_path / "whole.zarr", 6)
    write(tmp_path / "grown.zarr", 4)
    write(tmp_path / "grown.zarr", 6)
    assert tiny_runs.tree(tmp_path / "grown.zarr") == tiny_runs.tree(tmp_path / "whole.zarr")


def bounded(low, high):
    attributes = tuple(
        (key, str(value))
        for key, value in (("valid_min", low), ("valid_max", high))
        if value is not None
    )
    return Channel(variable="u", unit="1", attributes=attributes)


@pytest.mark.parametrize(("low", "high"), [(0.0, None), (None, 0.3), (-0.1, 0.1)])
def test_bounds_hold_in_every_state_and_in_what_is_fed_back(low, high):
    """Clipping the end alone would give other states at later leads."""
    model = makers.forecasting(steps=1)
    free = model.engine(CPU)
    rows = rows_of(model, range(2), range(3))
    bounds = Bounds.of((bounded(low, high),))
    held = replace(free, bounds=bounds).states(rows, 3, seed=0).numpy()
    plain = free.states(rows, 3, seed=0).numpy()
    physical = bounds.physical(model.statistics.decode(held))
    assert physical.min() >= (-np.inf if low is None else np.float32(low))
    assert physical.max() <= (np.inf if high is None else np.float32(high))
    clipped = np.clip(model.statistics.decode(plain), low, high)
    # One rounding of float32 from normalised to physical and back.
    np.testing.assert_allclose(physical[:, 0], clipped[:, 0], atol=1e-6)
    assert np.abs(physical[:, 2] - clipped[:, 2]).max() > 1e-3


def test_no_bounds_change_no_bit():
    states = torch.randn(2, 1, 1, 8)
    bounds = Bounds.of((bounded(None, None),))
    assert not bounds.any
    assert bounds.keep(states, makers.forecasting().statistics) is states


def flipped(content, place, bit=0):
    """The bytes with one bit turned over."""
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def test_a_store_that_is_damaged_is_not_grown_from(tmp_path):
    stores.downscaled(tmp_path / "f.zarr", members=2)
    data = tmp_path / "f.zarr" / "2m_temperature" / "c"
    (chunk,) = (path for path in data.rglob("*") if path.is_file())
    whole = chunk.read_bytes()
    chunk.write_bytes(flipped(whole, len(whole) // 2))
    with pytest.raises(StorageError, match="2m_temperature of case 2020-01-01T00.* is damaged"):
        stores.downscaled(tmp_path / "f.zarr", members=3)
    chunk.write_bytes(whole)
    stores.downscaled(tmp_path / "f.zarr", members=3)
    stores.downscaled(tmp_path / "whole.zarr", members=3)
    assert tiny_runs.tree(tmp_path / "f.zarr") == tiny_runs.tree(tmp_path / "whole.zarr")
