"""What does not fit the data is told before training, all of it, by its full key."""

from dataclasses import replace

import pytest

from diffsci import checking, config
from diffsci.diffusion.smallest_scale import Scale
from diffsci.errors import ConfigError, FieldError
from diffsci.sections.calibrating import Calibrate
from diffsci.stages import checks
from diffsci.stages.checks import check, faults, warnings
from diffsci.stages.prepare import prepare
from tests import tiny_runs


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Pipeline and prepared data, once for each kind."""
    made = {}

    def of(kind):
        if kind not in made:
            loaded = config.load(tiny_runs.make(tmp_path_factory.mktemp(kind), kind))
            made[kind] = loaded.origin, prepare(loaded.pipeline, loaded.roots)
        return made[kind]

    return of


def found(kinds, kind, *overrides):
    file, prepared = kinds(kind)
    pipeline = config.load(file, overrides).pipeline
    return list(
        faults(pipeline, prepared.ports, prepared.train.scalar_names, len(prepared.examples))
    )


GUIDED = "sample.guidance={use: classifier_free}"


@pytest.mark.parametrize(
    ("kind", "overrides", "told"),
    [
        ("downscale", ["train.shift=[latitude]"], "train.shift: "),
        ("downscale", ["train.flip=[z]"], "train.flip: "),
        (
            "downscale",
            ["train.batch_size=100000"],
            "train.batch_size: got 100000, expected at most",
        ),
        ("downscale", ["train.drop_scalars=0.1"], "train.drop_scalars: got 0.1, expected 0: "),
        ("downscale", ["train.scalar_noise=0.1"], "train.scalar_noise: got 0.1, expected 0: "),
        ("image", ["train.scalar_noise=0.1"], "train.scalar_noise: got 0.1, expected 0: "),
        ("image", ["train.condition_noise=0.2"], "train.condition_noise: got 0.2, expected 0: "),
        (
            "downscale",
            ["evaluate.scores=[crps, class_accuracy]"],
            "evaluate.scores[1]: got 'class_accuracy', expected a score for data without classes",
        ),
        # What has parameters has no classes all the same.
        ("pde", ["evaluate.scores=[class_accuracy]"], "evaluate.scores[0]: got 'class_accuracy'"),
    ],
)
def test_what_does_not_fit_is_told_by_its_full_key(kinds, kind, overrides, told):
    (fault,) = found(kinds, kind, *overrides)
    assert isinstance(fault, ConfigError)
    assert str(fault).startswith(told)


def test_guidance_needs_scalars_and_training_without_them(kinds):
    one, two = found(kinds, "downscale", GUIDED, "train.drop_scalars=0.1")
    assert str(one).startswith("train.drop_scalars: got 0.1, expected 0")
    assert str(two).startswith(
        "sample.guidance: got 'classifier_free', expected null: the data has"
    )
    assert found(kinds, "image", GUIDED, "train.drop_scalars=0.1") == []
    file, prepared = kinds("image")
    guided = config.load(file, [GUIDED, "train.drop_scalars=0.1"]).pipeline
    undropped = replace(guided, train=replace(guided.train, drop_scalars=0.0))
    (fault,) = faults(
        undropped, prepared.ports, prepared.train.scalar_names, len(prepared.examples)
    )
    assert str(fault).startswith("train.drop_scalars: got 0.0, expected more than 0")


@pytest.mark.parametrize("kind", ["downscale", "weather", "pde", "image"])
def test_what_fits_passes(kinds, kind):
    assert found(kinds, kind) == []
    scores = "evaluate.scores=[memorisation, class_accuracy]"
    if kind == "image":
        assert found(kinds, kind, scores, "train.drop_scalars=0.1") == []


def test_bands_of_a_calibration_are_refused_beside_conditions_on_cells(kinds):
    """A factor for each band moves the cells of an edge; the mean of a field is in no band."""
    file, prepared = kinds("pde")
    edge = "sample.constraints=[{use: dirichlet, sides: [x.low]}]"
    loaded = replace(config.load(file, (edge,)).pipeline, calibrate=Calibrate(bands=2))
    with pytest.raises(FieldError, match=r"calibrate.bands: got 2, expected 1: sample.constraints"):
        checks.check_constraints(loaded, prepared)
    other = config.load(file, ("sample.constraints=[mean]",)).pipeline
    checks.check_constraints(replace(other, calibrate=Calibrate(bands=2)), prepared)


def test_a_run_stops_at_the_first_before_anything_is_trained(kinds, tmp_path):
    file, prepared = kinds("downscale")
    overrides = ("train.flip=[z]", "train.drop_scalars=0.1", "evaluate.scores=[class_accuracy]")
    pipeline = config.load(file, overrides).pipeline
    with pytest.raises(FieldError, match=r"^train\.flip"):
        check(pipeline, prepared.ports, prepared.train.scalar_names, len(prepared.examples))
    for some in (overrides[1:2], overrides[2:]):
        with pytest.raises(ConfigError):
            tiny_runs.run(file, *some, out=tmp_path / "run")
        assert not (tmp_path / "run" / "checkpoints").exists()


def test_compiling_is_tried_before_a_run_asks_for_it(kinds, monkeypatch):
    from diffsci import runtime

    monkeypatch.setattr(runtime, "cannot_compile", lambda name: "no compiler")
    (fault,) = found(kinds, "pde", "runtime.compile=true")
    assert str(fault).startswith("runtime.compile: got true, expected auto or false: torch cannot")
    assert found(kinds, "pde") == []


def test_a_network_for_other_dims_is_told_by_its_section(kinds):
    _, prepared = kinds("pde")
    four = replace(
        prepared.ports,
        grid=replace(
            prepared.ports.grid,
            dims=("a", "b", "c", "d"),
            coordinates=((0.0, 1.0),) * 4,
            units=("1",) * 4,
            boundary=(("open", "open"),) * 4,
        ),
    )
    file, _ = kinds("pde")
    pipeline = config.load(file).pipeline
    told = [str(fault) for fault in faults(pipeline, four, (), 1000)]
    assert any(text.startswith("model.network: got 4, expected a grid of 1, 2") for text in told)


def test_averages_that_cannot_differ_are_told_before_they_are_trained(kinds):
    file, _ = kinds("downscale")
    problems = checking.check((file,), None, ["train.ema=[0.9, 0.999]"])
    (told,) = [problem for problem in problems if problem.code == "ema"]
    assert told.warning and "0.9, 0.999 are one and the same after train.steps=6" in str(told)
    assert "come to 0.4 by" in str(told)
    assert checks.averages_warning(config.load(file).pipeline.train) is None


def test_the_smallest_scale_is_looked_for_in_every_step_of_a_block(tmp_path, monkeypatch):
    loaded = config.load(tiny_runs.make(tmp_path, "weather"), ["data.task.ahead=2"])
    prepared = prepare(loaded.pipeline, loaded.roots)
    names = prepared.channel_names

    def smallest(targets, basis, names):
        seen.append((targets.shape[1], names))
        return Scale(std=1e-9, channel=names[-1], band=3, wavelength=1.0)

    seen = []
    monkeypatch.setattr(checks, "smallest_scale", smallest)
    (told,) = warnings(loaded.pipeline, prepared.examples, names)
    assert seen == [(2 * len(names), names + names)]
    assert names[-1] in told
