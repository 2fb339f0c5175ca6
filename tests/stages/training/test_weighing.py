"""`train.field_weights`: which channel of the target counts how much."""

from dataclasses import replace

import pytest

from diffsci import config
from diffsci.data.fields import Channel
from diffsci.errors import ConfigError
from diffsci.forecasting.model_folder import read_weights
from diffsci.stages.checks import check_weights, faults
from diffsci.stages.prepare import prepare
from diffsci.stages.training.weighing import weights_of
from tests import tiny_runs

CHANNELS = (
    Channel(variable="t", unit="K", level=500.0),
    Channel(variable="t", unit="K", level=850.0),
    Channel(variable="ps", unit="Pa", level=None),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tiny_runs.make(tmp_path_factory.mktemp("weighing"), "pde")


def of(file, asked, ahead=1):
    pipeline = config.load(file).pipeline
    task = replace(pipeline.data.task, ahead=ahead)
    train = replace(pipeline.train, field_weights=asked)
    pipeline = replace(pipeline, data=replace(pipeline.data, task=task), train=train)
    return weights_of(pipeline, CHANNELS)


@pytest.mark.parametrize(
    ("asked", "weights"),
    [
        ({"ps": 4.0}, (0.5, 0.5, 2.0)),
        ({"t": 2.0, "t@850": 0.5}, (12 / 7, 3 / 7, 6 / 7)),
        ({"t": 0.25, "ps": 0.25}, (1.0, 1.0, 1.0)),
    ],
)
def test_a_variable_is_all_of_its_levels_and_the_mean_is_one(file, asked, weights):
    assert of(file, asked) == pytest.approx(weights)
    # Several frames that come out as one state: those of a frame together.
    assert of(file, asked, ahead=2) == pytest.approx(weights * 2)


def test_nothing_asked_nothing_weighed(file):
    assert of(file, None) is None


def test_what_the_data_has_not_is_refused(file):
    told = (
        "train.field_weights: 'tt' is no field of the data; did you mean 't'.; it has ps, t, t@500"
    )
    with pytest.raises(ConfigError, match=told):
        of(file, {"tt": 2.0})


def test_null_takes_them_away(file):
    """Mappings are merged key by key, so that an empty one would leave what is below."""
    given = ("train.field_weights={u: 2}", "train.field_weights=null")
    assert config.load(file, given).pipeline.train.field_weights is None


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.field_weights={v: 2}", "train.field_weights: 'v' is no field of the data"),
        ("train.field_weights={}", "train.field_weights: got {}, expected a weight by field"),
        ("train.field_weights={u: -1}", "train.field_weights.u: got -1.0, expected more than 0"),
    ],
)
def test_it_is_refused_before_training(file, override, told):
    with pytest.raises(ConfigError, match=told):
        loaded = config.load(file, (override,))
        check_weights(loaded.pipeline, prepare(loaded.pipeline, loaded.roots))


def test_an_objective_that_learns_its_weights_takes_none(file):
    loaded = config.load(file, ("train.field_weights={u: 2}", "train.objective=uncertainty"))
    prepared = prepare(loaded.pipeline, loaded.roots)
    (fault,) = faults(loaded.pipeline, prepared.ports, (), len(prepared.examples))
    assert str(fault).startswith("train.field_weights: got {u: 2.0}, expected null: the objective")


def test_a_run_of_one_field_is_the_same_whatever_its_weight(file):
    """Its mean is brought to 1; sums of weighted cells are rounded otherwise than plain means."""
    for name, given in (("plain", ()), ("weighed", ("train.field_weights={u: 3}",))):
        tiny_runs.run(file, *given, "sample=null", "evaluate=null", out=file.parent / name)
    one, other = (
        read_weights(file.parent / name / "model" / "weights.safetensors")
        for name in ("plain", "weighed")
    )
    for name, value in one.items():
        assert (other[name] - value).abs().max() <= 1e-4 * value.abs().max().clamp(min=1e-3), name
