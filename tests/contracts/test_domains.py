"""Laws of every domain: what is labelled comes back, what is encoded comes back."""

import numpy as np
import pytest

from diffsci import families
from diffsci.data.catalog import Entry, Source
from diffsci.data.fields import Fields
from diffsci.data.fitting import fit_statistics
from diffsci.data.tasks.generate import Generate
from tests.data import makers

ENTRY = Entry(name="made", source=Source(path="made.nc"))
RAW = {"weather": makers.weather(), "pde": makers.pde(), "image": makers.images()}


@pytest.fixture(params=families.names("domains"))
def domain(request):
    return families.load("domains", request.param)()


@pytest.fixture
def fields(domain):
    return domain.fields(domain.canonical(RAW[families.name_of(domain)], ENTRY), "made")


def test_fields_keep_the_contract(fields):
    assert isinstance(fields, Fields)
    trajectory, time, channel, *space = fields.values.shape
    assert fields.values.dtype == np.float32
    assert trajectory == len(fields.trajectories) and time == len(fields.times) == len(
        fields.breaks
    )
    assert channel == len(fields.channels) and tuple(space) == fields.grid.sizes
    assert len(fields.scalar_names) == (0 if fields.scalars is None else fields.scalars.shape[1])


def test_reading_leaves_the_data_as_it_was(domain):
    raw = RAW[families.name_of(domain)]
    before = raw.copy(deep=True)
    domain.fields(domain.canonical(raw, ENTRY), "made")
    assert raw.identical(before)


@pytest.mark.parametrize("leads", [(), (1, 2, 3)])
@pytest.mark.parametrize("members", [None, 1, 4])
def test_unlabel_inverts_label_bitwise(domain, fields, leads, members):
    rows = np.array([[0, 0]] if len(fields.trajectories) == 1 else [[0, 0], [2, 0]])
    cases = domain.cases(fields, rows, leads)
    if leads and cases.step is None:
        cases = type(cases)(**{**vars(cases), "step": 1.0})
    shape = (len(rows), members or 1, max(len(leads), 1), *fields.values.shape[2:])
    values = np.random.default_rng(1).normal(size=shape).astype("f4")
    numbers = None if members is None else np.arange(members)
    ds = domain.label(values, cases, fields.channels, fields.grid, numbers, fields.time_unit)
    assert np.array_equal(domain.unlabel(ds, fields.channels, fields.grid), values)
    backwards = ds.transpose(*reversed(list(ds.dims)))
    assert np.array_equal(domain.unlabel(backwards, fields.channels, fields.grid), values)


def test_decode_inverts_encode(fields):
    statistics = fit_statistics(fields, Generate())
    back = statistics.decode(statistics.encode(fields.values))
    # One unit in the last place of float32, of the value or of its anomaly if that is larger.
    largest = np.maximum(np.abs(fields.values), np.abs(fields.values - fields.values.mean()))
    assert (np.abs(back - fields.values) <= np.spacing(largest)).all()


def test_keys_are_unique(domain, fields):
    times, trajectories = len(fields.times), len(fields.trajectories)
    rows = np.array([[i, j] for i in range(trajectories) for j in range(times)])
    assert len(set(domain.cases(fields, rows, ()).keys)) == len(rows)
