"""Truth that is read in parts is the same as that of all cases at once."""

import numpy as np
import pytest
import torch

from diffsci.data.domains.pde import Pde
from diffsci.data.examples import truth as module
from diffsci.data.examples.cases import cases_given
from diffsci.data.fitting import fit_statistics
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.infill import Infill
from diffsci.stages.ensembles.resampling import chosen
from tests.data import makers

FIELDS = makers.fields(space=(9, 14), periodic=False)


def forecasts(**options):
    task = Forecast(history=1, **options)
    return cases_given(FIELDS, task, Pde(), fit_statistics(FIELDS, task), leads=3)


@pytest.fixture(params=["all", "rim", "known"])
def found(request):
    if request.param == "known":
        task = Infill(share=(0.4, 0.4))
        return cases_given(FIELDS, task, Pde(), fit_statistics(FIELDS, task))
    return forecasts(boundary=2 if request.param == "rim" else 0)


def test_parts_are_those_of_the_whole(found):
    truth, whole = found.truth, found.truth.read()
    assert whole.shape == truth.shape == (len(truth), *whole.shape[1:])
    assert np.array_equal(truth.read(slice(2, 5), slice(0, 1)), whole[2:5, :1], equal_nan=True)
    for channel in range(whole.shape[2]):
        one = truth.read(slice(1, 4), channel=channel)
        assert np.array_equal(one, whole[1:4, :, channel], equal_nan=True)
    some = truth.part([3, 0, 4]).read()
    assert np.array_equal(some, whole[[3, 0, 4]], equal_nan=True)


@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_blocks_are_whole_chunks(found, multiple, monkeypatch):
    whole = found.truth.read()
    monkeypatch.setattr(module, "_BLOCK_BYTES", 4 * whole[0].nbytes)
    parts = list(found.truth.blocks(multiple))
    assert len(parts) > 1
    assert all(cases.start % multiple == 0 for cases, _ in parts)
    joined = np.concatenate([block for _, block in parts])
    assert np.array_equal(joined, whole, equal_nan=True)


def test_what_is_read_may_be_changed(found):
    before = found.truth.read()
    found.truth.read()[:] = 0
    assert np.array_equal(found.truth.read(), before, equal_nan=True)


def test_cases_do_not_depend_on_the_blocks(monkeypatch):
    """Rims and kept values are taken block by block."""
    task = Infill(share=(0.4, 0.4))
    for make in (
        lambda: forecasts(boundary=1),
        lambda: cases_given(FIELDS, task, Pde(), fit_statistics(FIELDS, task)),
    ):
        monkeypatch.setattr(module, "_BLOCK_BYTES", 64_000_000)
        one = make()
        monkeypatch.setattr(module, "_BLOCK_BYTES", 1)
        many = make()
        assert np.array_equal(one.truth.read(), many.truth.read(), equal_nan=True)
        assert (one.edges is None) != (one.kept is None)
        if one.edges is not None:
            assert torch.equal(one.edges, many.edges)
        else:
            assert np.array_equal(one.kept, many.kept, equal_nan=True)


def test_chosen_cases_keep_what_is_given_in_them():
    task = Infill(share=(0.4, 0.4))
    every = cases_given(FIELDS, task, Pde(), fit_statistics(FIELDS, task))
    some = chosen(every, [every.cases.keys[row] for row in (5, 1)])
    assert np.array_equal(some.kept, every.kept[[1, 5]], equal_nan=True)
    assert np.array_equal(some.truth.read(), every.truth.read()[[1, 5]], equal_nan=True)
