"""What a run would say, in words for who sends a body: no option, no catalog, no path of ours."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from diffsci.data.catalog import Entry, Source
from diffsci.errors import DataError
from diffsci.forecasting.requests.answering import Question, planned
from diffsci.serving.refusals import refusal_of
from tests.forecasting import makers

RING = xr.Dataset(
    {"u": (("time", "x"), np.random.default_rng(5).standard_normal((3, 16)).astype("f4"))},
    {"time": 0.2 * np.arange(3), "x": np.arange(16.0)},
)


def _since_never(ds):
    return ds.assign_coords(time=ds.time.assign_attrs(units="hours since never"))


@pytest.mark.parametrize(
    "change, question, ending",
    [
        (lambda ds: ds + 300, Question(), "or take them as they are by within=inf"),
        (_since_never, Question(), "; correct it in the body"),
        (lambda ds: ds, Question(starts=("9",)), "nearest 0.4"),
    ],
)
def test_advice_is_for_who_sends_a_body(change, question, ending, tmp_path):
    body: Path = tmp_path / "body"
    change(RING).to_netcdf(body, engine="netcdf4")
    with pytest.raises(DataError) as told:
        planned(makers.forecasting(), Entry(name="body", source=Source(path=str(body))), question)
    error = str(refusal_of(told.value, body))
    assert error.endswith(ending), error
    assert not any(word in error for word in ("--", "yaml", "Python", str(tmp_path))), error


@pytest.mark.parametrize(
    "text, said",
    [
        ("body: says nothing; leave --from out", "body: says nothing; send an empty body"),
        ("body: one; two; correct `source` in data_catalog/body.yaml, or so",
         "body: one; two; correct it in the body"),
        ("body: cannot be read; the file may be cut off: fetch it again",
         "body: cannot be read; it may be cut off: send it again"),
    ],
)  # fmt: skip
def test_the_fix_alone_is_put_in_other_words(text, said):
    assert str(refusal_of(DataError(text), None)) == said
