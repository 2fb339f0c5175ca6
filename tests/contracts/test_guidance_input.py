"""What guidance refuses, by name and with the fix."""

import pytest
import torch

from diffsci.diffusion.guidance.base import Observed
from diffsci.errors import ConfigError, FieldError
from diffsci.families import load
from tests.contracts.test_guidance import (
    CONDITION,
    POINTS,
    SCHEDULE,
    T,
    X,
    affine,
    bent,
    observed,
    observing,
)


@pytest.mark.parametrize(
    "operator",
    [
        load("operators", "block_mean")(factor=2),
        load("operators", "line_mean")(),
        load("operators", "low_pass")(),
    ],
    ids=lambda operator: type(operator).__name__,
)
def test_inpaint_refuses_what_cannot_be_put_in_place(operator):
    seen = Observed(operator=operator, values=operator.apply(X), noise_std=0.1)
    name = type(operator).__name__
    with pytest.raises(ConfigError, match=f"inpaint: the operator {name} does not pick values out"):
        load("guidance", "inpaint")()(bent, SCHEDULE, seen)(X, T, None, None)


def test_classifier_free_needs_scalars():
    guided = load("guidance", "classifier_free")()(affine, SCHEDULE, None)
    with pytest.raises(ConfigError, match=r"no scalars to guide by; leave `sample.guidance` out"):
        guided(X, T, CONDITION, None)


def test_classifier_free_refuses_observations():
    with pytest.raises(ConfigError, match="classifier_free: it guides by scalars and would ignore"):
        load("guidance", "classifier_free")()(affine, SCHEDULE, observed())


@observing
def test_missing_observations_are_named_with_the_fix(guidance):
    with pytest.raises(ConfigError, match=r"needs observations and none .* Observed\(operator="):
        guidance(affine, SCHEDULE, None)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("classifier_free", {"scale": -0.5}, "scale: got -0.5, expected a finite number, 0 or mo"),
        ("classifier_free", {"scale": float("inf")}, "scale: got inf, expected a finite number"),
        ("classifier_free", {"scale": float("nan")}, "scale: got nan, expected a finite number"),
        ("posterior", {"iterations": 0}, "iterations: got 0, expected 1 or more"),
        ("dps", {"scale": 0.0}, "scale: got 0.0, expected a finite number, more than 0"),
        ("dps", {"scale": float("nan")}, "scale: got nan, expected a finite number, more than 0"),
        ("sda", {"gamma": -1.0}, "gamma: got -1.0, expected a finite number, 0 or more"),
        ("sda", {"gamma": float("inf")}, "gamma: got inf, expected a finite number, 0 or more"),
    ],
)
def test_fields_out_of_range_are_named(name, fields, message):
    with pytest.raises(FieldError, match=message):
        load("guidance", name)(**fields)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"noise_std": 0.0}, "noise_std: got 0.0, expected finite numbers, all more than 0"),
        ({"noise_std": -1.0}, "noise_std: got -1.0, expected finite numbers, all more than 0"),
        ({"noise_std": float("nan")}, "noise_std: got nan, expected finite numbers"),
        ({"noise_std": torch.tensor([1.0, 0.0])}, "noise_std: got 0.0, expected finite numbers"),
        (
            {"values": torch.tensor([[[1.0, float("nan")]]])},
            "1 of 2 are not finite; leave out what",
        ),
    ],
)
def test_observations_that_cannot_be_are_named(changed, message):
    with pytest.raises(ConfigError, match=message):
        observed(**changed)


@observing
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"values": torch.ones(1, 1, 3)}, r"shape is \[1, 1, 3\], the operator Points sees \[3, 1"),
        ({"values": torch.ones(2, 1, 2)}, "give one set for each example, or one for all"),
        ({"values": torch.ones(1, 1, 2).double()}, "observed values: dtype is torch.float64, that"),
        ({"noise_std": torch.ones(2).double()}, "noise_std: dtype is torch.float64, that of the"),
        ({"noise_std": torch.ones(3)}, r"noise_std: its shape is \[3\], which does not broadcast"),
        ({"noise_std": torch.ones(1, 1, 1, 2)}, "which does not broadcast against observations of"),
    ],
)
def test_observations_that_do_not_fit_are_named(guidance, changed, message):
    with pytest.raises(ConfigError, match=message):
        guidance(bent, SCHEDULE, observed(**changed))(X, T, None, None)


@observing
def test_a_wrong_adjoint_is_named_before_any_sampling(guidance):
    class Wrong(type(POINTS)):
        def adjoint(self, values, like):
            return 2 * super().adjoint(values, like)

    def never(*args):
        raise AssertionError("the denoiser was called")

    with pytest.raises(
        ConfigError, match="operator Wrong: it is not linear, or its adjoint is not"
    ):
        guidance(never, SCHEDULE, observed(operator=Wrong(every=2)))(X, T, None, None)


@pytest.mark.parametrize("name", ["posterior", "dps", "sda"])
def test_a_denoiser_without_gradient_is_named(name):
    guidance = load("guidance", name)()

    def detached(*args):
        return bent(*args).detach()

    for denoise in (detached, guidance(bent, SCHEDULE, observed())):
        with pytest.raises(ConfigError, match=f"{name}: the denoiser's estimate carries no gradie"):
            guidance(denoise, SCHEDULE, observed())(X, T, None, None)


@observing
def test_a_denoiser_of_another_shape_or_dtype_is_named(guidance):
    for denoise, message in (
        (lambda x_t, *_: x_t[..., 1:], r"the shape of its estimate is \[3, 1, 3\]"),
        (lambda x_t, *_: x_t.double(), "the estimate of denoise: dtype is torch.float64"),
    ):
        with pytest.raises(ConfigError, match=message):
            guidance(denoise, SCHEDULE, observed())(X, T, None, None)
