"""What every guidance must do: a denoiser from a denoiser, with the stated evaluations."""

import pytest
import torch

from diffsci.errors import ConfigError, FieldError
from diffsci.families import load, names

everyone = pytest.mark.parametrize(
    "guidance", [load("guidance", name)() for name in names("guidance")], ids=names("guidance")
)
X, T = torch.ones(3, 1, 4), torch.tensor(0.5)
CONDITION, SCALARS = torch.full((3, 2, 4), 2.0), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])


def affine(x_t, t, condition, scalars):
    """Different for every row: scalars weigh 1 and 10, the condition 0.1."""
    pull = scalars @ torch.tensor([1.0, 10.0])
    return x_t * t + 0.1 * condition.sum(dim=1, keepdim=True) + pull[:, None, None]


@everyone
def test_calls_are_as_stated_and_shapes_stay(guidance):
    seen = []

    def denoise(*args):
        seen.append(args)
        return affine(*args)

    out = guidance(denoise)(X, T, CONDITION, SCALARS)
    assert out.shape == X.shape
    assert out.dtype == X.dtype
    assert len(seen) == guidance.calls_per_step
    assert all(x_t is X and t is T and condition is CONDITION for x_t, t, condition, _ in seen)


@everyone
def test_inputs_are_left_as_they_were(guidance):
    guidance(affine)(X, T, CONDITION, SCALARS)
    assert torch.equal(SCALARS, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    assert torch.equal(X, torch.ones(3, 1, 4))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 4.0])
def test_classifier_free_extrapolates_from_zero_scalars(scale):
    """The affine denoiser's pull is multiplied by the scale, row by row."""
    found = load("guidance", "classifier_free")(scale=scale)(affine)(X, T, CONDITION, SCALARS)
    pull = torch.tensor([1.0, 10.0, 0.0])[:, None, None]
    assert torch.allclose(found, (0.5 + 0.4 + scale * pull).expand(3, 1, 4))


def test_classifier_free_scales_the_mean_of_gaussians():
    """Class mean m, none 0, both of variance 1: the guided posterior is that of mean scale m.

    E[x_0 | x_t] = m + c / (c^2 + d^2) (x_t - c m) is affine in m: the guided law is N(scale m, 1).
    """

    def denoise(x_t, t, condition, scalars):
        c, d = 0.6, 0.8
        m = 2 * scalars[:, :1, None]
        return m + c / (c**2 + d**2) * (x_t - c * m)

    guided = load("guidance", "classifier_free")(scale=3.0)(denoise)
    one = torch.ones(3, 1)
    assert torch.allclose(guided(X, T, None, one), denoise(X, T, None, 3 * one))


def test_classifier_free_needs_scalars():
    guided = load("guidance", "classifier_free")()(affine)
    with pytest.raises(ConfigError, match=r"no scalars to guide by; leave `sample.guidance` out"):
        guided(X, T, CONDITION, None)


@pytest.mark.parametrize("scale", [-0.5, float("inf"), float("nan")])
def test_scale_out_of_range_is_named(scale):
    with pytest.raises(
        FieldError, match=f"scale: got {scale}, expected a finite number, 0 or more"
    ):
        load("guidance", "classifier_free")(scale=scale)
