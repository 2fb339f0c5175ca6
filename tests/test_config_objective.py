"""What an objective does not fit is refused by its key."""

import pytest

from diffsci import config
from diffsci.errors import ConfigError

FILE = """
name: waves
data:
  source: waves.zarr
  domain: pde
  task: forecast
  split: {train: {samples: [0, 6]}, test: {samples: [6, 10]}}
model: {}
train: {steps: 6}
sample: {}
"""
DIRECT = ("train.objective=crps", "sample.sampler=null")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "waves.yaml"
    path.write_text(FILE)
    return path


def test_what_fits(file):
    loaded = config.load(file, DIRECT)
    assert loaded.pipeline.sample.sampler is None and loaded.pipeline.sample.calls == 1
    assert loaded.plain["sample"]["sampler"] is None
    # The resolved file says it again.
    again = file.parent / "again.yaml"
    again.write_text(config.to_yaml(loaded.plain))
    assert config.load(again).pipeline == loaded.pipeline


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("train.objective=crps", "sample.sampler: would be ignored, expected null: train.objectiv"),
        ("sample.sampler=null", "sample.sampler: got null, expected one of ab, ancestral,"),
        ("* model.predict=x0", "model.predict: got x0, expected v .which is ignored.: train.ob"),
        ("* model.noise=coloured", "model.noise: got coloured, expected white .which is ignored"),
        ("* model.schedule=cosine", r"model.schedule: got Cosine\(.*\), expected edm .which is ig"),
        (
            "* train.drop_scalars=0.1 sample.guidance={use: classifier_free}",
            "sample.guidance: would be ignored, expected null: train.objective crps trains",
        ),
        (
            "train.objective=deterministic sample.sampler=null",
            "sample.members: got 16, expected 1: all members of train.objective deterministic are",
        ),
        (
            "train.objective=deterministic sample.sampler=null sample.members=1 "
            "sample.persistent_noise=0.5",
            "sample.persistent_noise: got 0.5, expected 0: train.objective deterministic makes fo",
        ),
        (
            "* data.task=generate sample.persistent_noise=0.5",
            "sample.persistent_noise: got 0.5, expected 0: the task generate has no leads",
        ),
        (
            "* data.task=trajectory sample.persistent_noise=0.5",
            "sample.persistent_noise: got 0.5, expected 0: the task trajectory samples all leads",
        ),
        ("* sample.persistent_noise=1.5", "sample.persistent_noise: got 1.5, expected a share fro"),
        ("* train.objective.members=1", "train.objective.members: got 1, expected 2 or more"),
        ("* train.objective.error=squared", "train.objective.error: unknown key"),
    ],
)
def test_what_does_not(file, changes, message):
    words = changes.replace("{use: classifier_free}", "{use:classifier_free}").split(" ")
    words = [w.replace("{use:", "{use: ") for w in words]
    overrides = [*DIRECT, *words[1:]] if words[0] == "*" else words
    with pytest.raises(ConfigError, match=message):
        config.load(file, overrides)


def test_a_single_forecast(file):
    words = ("train.objective=deterministic", "sample.sampler=null", "sample.members=1")
    assert not config.load(file, words).pipeline.train.objective.varied
