"""What can be known before data is read is told before, and with the place of its key."""

import re

import pytest

from diffsci import config, pipeline
from diffsci.errors import ConfigError
from diffsci.stages import sequence
from tests import tiny_runs

NO_EVALUATION = ("sample=null", "evaluate=null")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A pipeline without a part for validation."""
    return tiny_runs.make(tmp_path_factory.mktemp("early"), "pde")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ema=[0.9, 0.99]", "train.ema: got [0.9, 0.99], expected a part data.split.valid"),
        ("ema_lengths=[0.05]", "train.ema_lengths: got [0.05], expected a part data.split.valid"),
        ("patience=3", "train.patience: got 3, expected a part data.split.valid"),
        ("keep_best=true", "train.keep_best: got true, expected a part data.split.valid"),
    ],
)
def test_a_choice_by_validation_without_any_is_a_fault_of_the_file(file, text, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        config.load(file, [f"train.{text}"])


def test_a_short_ensemble_needs_a_sampler_and_a_variance_that_is_known(file):
    part = "data.split.valid={samples: [5, 6]}"
    said = "train.validate_crps: got {cases: 32, members: 4}, expected null, or a section"
    with pytest.raises(ConfigError, match=re.escape(said)):
        config.load(file, [part, "train.validate_crps={}", *NO_EVALUATION])
    exact = "sample.sampler={use: ancestral, steps: 2, variance: exact}"
    with pytest.raises(ConfigError, match=r"train\.validate_crps: expected null: the variance of"):
        config.load(file, [part, "train.validate_crps={}", exact])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train.from=runs/nowhere", "train.from: got 'runs/nowhere', expected the folder of a run"),
        ("runtime.device=cuda:99", "runtime.device: got 'cuda:99', expected"),
        ("runtime.sharding=full", "runtime.sharding: got 'full', expected none: a single process"),
    ],
)
def test_it_is_told_before_the_data_is_read(file, text, said, tmp_path, monkeypatch):
    monkeypatch.setattr(sequence, "prepare", lambda *_: pytest.fail("the data was read"))
    with pytest.raises(ConfigError, match=re.escape(said)):
        pipeline.run(config.load(file, [text]), tmp_path / "run")


def test_a_dry_run_tells_of_a_source_that_is_missing(file, tmp_path):
    with pytest.raises(ConfigError, match="train.from: got 'nowhere'"):
        pipeline.run(config.load(file, ["train.from=nowhere"]), tmp_path / "run", dry_run=True)


def test_what_only_the_data_shows_names_the_line_of_its_key(file, tmp_path):
    changed = file.with_name("changed.yaml")
    changed.write_text(file.read_text().replace("batch_size: 4", "batch_size: 4000"))
    lines = changed.read_text().splitlines()
    (number,) = [n for n, line in enumerate(lines, start=1) if line.startswith("train: {")]
    with pytest.raises(ConfigError, match=rf"changed\.yaml:{number}: train\.batch_size: got 4000"):
        pipeline.run(config.load(changed), tmp_path / "run")


def test_an_error_of_no_key_stays_as_it_is(file):
    loaded = config.load(file)
    for text in ("the file is gone", "weather.nc: has no times", "training step 3: not finite"):
        error = ConfigError(text)
        assert config.placed(loaded, error) is error
