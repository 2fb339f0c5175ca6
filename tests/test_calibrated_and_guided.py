"""The exact reverse variance and guidance by observations, from a finished run."""

import logging
import shutil

import numpy as np
import pytest
import xarray as xr

from diffsci import checking, config, pipeline
from diffsci.errors import ConfigError
from diffsci.files import sha256_of
from diffsci.stages.ensembles import reverse_variance
from tests.tiny_runs import make, run

EXACT = "sample.sampler={use: ancestral, steps: 2, variance: exact}"
OBSERVED = "sample.observed={operator: {use: points, every: 2}, noise_std: 0.01}"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    base = tmp_path_factory.mktemp("downscale")
    return make(base, "downscale"), run(make(base, "downscale"), out=base / "run")


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished[0].parent, tmp_path / "copy")
    return tmp_path / "copy" / finished[1].name


def test_the_variance_is_estimated_once_and_kept_with_the_model(folder, caplog, monkeypatch):
    monkeypatch.setattr(reverse_variance, "EXAMPLES", 384)  # 16 a level, the fewest
    caplog.set_level(logging.INFO)
    weights = sha256_of(folder / "model" / "weights.safetensors")
    first = pipeline.sample(folder, out=folder / "a.zarr", overrides=(EXACT,))
    assert "estimated the posterior variance" in caplog.text
    assert (folder / "model" / "variance.safetensors").exists()
    assert sha256_of(folder / "model" / "weights.safetensors") == weights
    caplog.clear()
    again = pipeline.sample(folder, out=folder / "b.zarr", overrides=(EXACT,))
    assert "estimated the posterior" not in caplog.text
    with xr.open_zarr(first) as one, xr.open_zarr(again) as other:
        xr.testing.assert_identical(one.load(), other.load())
    # The run is whole as before: loading checks every file, the new one too.
    assert pipeline.load(folder).variance is not None


def test_a_twin_experiment_draws_members_to_the_truth(folder):
    guided = pipeline.sample(
        folder, out=folder / "guided.zarr", overrides=("sample.guidance=posterior", OBSERVED)
    )
    free = pipeline.sample(folder, out=folder / "free.zarr")
    errors = []
    with xr.open_zarr(folder / "truth.zarr") as truth:
        for store in (guided, free):
            with xr.open_zarr(store) as made:
                error = np.abs(made["t2m"] - truth["t2m"])
                errors.append(float(error[..., ::2, ::2].mean()))
    # Observed to 0.01 K in a field whose std is some K, by a model of 6 steps of training.
    assert errors[0] < 0.2 * errors[1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sample.guidance=posterior"], "sample.guidance: posterior needs observations"),
        ([OBSERVED], "sample.observed: would be ignored"),
        (["sample.guidance=dps", EXACT, OBSERVED], "exact variance is that of the unguided model"),
        (["model.noise=coloured", EXACT], "exact variance is for white noise"),
        (["model.noise=coloured", "sample.guidance=sda", OBSERVED], "sda is for white noise"),
        (
            ["sample.guidance=posterior", "sample.observed={operator: points, noise_std: 0.0}"],
            "noise_std: got 0.0, expected more than 0",
        ),
        (["sample.sampler={use: ab, multistep: 3, steps: 2}"], "steps: got 2, expected 3 or more"),
    ],
)
def test_combinations_without_meaning_are_refused_when_the_file_is_read(
    finished, overrides, message
):
    with pytest.raises(ConfigError, match=message):
        config.load(finished[0], overrides)


@pytest.mark.parametrize(
    ("operator", "guidance", "message"),
    [
        ("{use: points, at: [[90, 90]]}", "posterior", "sample.observed.operator.at: got"),
        (
            "{use: points, every: 2, channels: [3]}",
            "posterior",
            "sample.observed.operator.channels",
        ),
        ("{use: line_mean, axis: 5}", "posterior", "sample.observed.operator.axis: got 5"),
        ("{use: block_mean, factor: 3}", "inpaint", "BlockMean does not pick values"),
    ],
)
def test_observations_that_do_not_fit_are_told_before_training(
    finished, tmp_path, operator, guidance, message
):
    text = (
        finished[0]
        .read_text()
        .replace(
            "sample: {",
            f"sample: {{guidance: {guidance}, observed: {{operator: {operator}, noise_std: 0.1}}, ",
        )
    )
    file = finished[0].parent / f"{tmp_path.name}.yaml"
    file.write_text(text)
    found = [str(problem) for problem in checking.check((file,))]
    assert any(message in each for each in found), found
    with pytest.raises(ConfigError, match=message):
        run(file, out=tmp_path / "run")
    assert not (tmp_path / "run" / "model").exists()
