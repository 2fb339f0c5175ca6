"""Units that nothing says: told by the values, never guessed."""

import logging

import numpy as np
import pytest

from diffsci.data.fields import Channel
from diffsci.errors import DataError
from diffsci.evaluation.blocks import Held
from diffsci.stages.scores.alike import require_alike

RAIN = Channel(variable="rain", unit="m")


def fields(scale=1.0, members=3, seed=0):
    """Rain as it falls: dry nearly everywhere."""
    random = np.random.default_rng(seed)
    values = random.gamma(0.1, 0.02, (2, members, 1, 1, 40, 50))
    return Held(values=(scale * values).astype(np.float32))


def require(made, true, unstated=("rain",)):
    require_alike(made, true, (RAIN,), unstated, "made.nc")


@pytest.mark.parametrize(("scale", "unit"), [(1000.0, "mm"), (100.0, "cm"), (1e-3, "km")])
def test_rain_in_another_unit_is_refused_where_nothing_says_it(scale, unit, caplog):
    other, true = fields(scale), fields(members=1, seed=1)
    with pytest.raises(DataError, match=rf"rain .*; as {unit} they would fit; say what they are"):
        require(other, true)
    with caplog.at_level(logging.WARNING):
        require(other, true, unstated=())
    assert f"as {unit} they would fit" in caplog.text


def test_wet_and_dry_forecasts_are_scored():
    """Ten times as much rain is a bad forecast, and none at all is one, too."""
    true = fields(members=1, seed=1)
    for scale in (1.0, 10.0, 0.1, 0.0, 1e-9, 2e-4):
        require(fields(scale), true)
    require(fields(), Held(values=0 * fields(members=1).values))
