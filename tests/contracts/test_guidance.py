"""What every guidance must do: a denoiser from a denoiser, with the stated evaluations."""

import pytest
import torch

from diffsci.diffusion.augmentation import level
from diffsci.diffusion.guidance.base import Observed
from diffsci.diffusion.schedules.cosine import Cosine
from diffsci.families import load, names
from tests.diffusion.laws import MIXTURE, f64

GUIDANCE = {name: load("guidance", name)() for name in names("guidance")}
everyone = pytest.mark.parametrize("guidance", GUIDANCE.values(), ids=GUIDANCE)
OBSERVING = {name: each for name, each in GUIDANCE.items() if each.needs_observed}
observing = pytest.mark.parametrize("guidance", OBSERVING.values(), ids=OBSERVING)
SCHEDULE = Cosine()
X, T = torch.tensor([[[0.1, -0.4, 0.9, 2.0]]]).repeat(3, 1, 1), torch.tensor(0.5)
CONDITION, SCALARS = torch.full((3, 2, 4), 2.0), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
POINTS = load("operators", "points")(every=2)


def affine(x_t, t, condition, scalars):
    """Different for every row: scalars weigh 1 and 10, the condition 0.1."""
    pull = scalars @ torch.tensor([1.0, 10.0])
    return x_t * t + 0.1 * condition.sum(dim=1, keepdim=True) + pull[:, None, None]


def bent(x_t, t, condition, scalars):
    """Cells and rows of their own slope; takes no condition."""
    return torch.tanh(x_t) * t


def observed(**changed):
    given = {"operator": POINTS, "values": torch.tensor([[[1.0, -2.0]]]), "noise_std": 0.5}
    return Observed(**given | changed)


def given(guidance):
    return observed() if guidance.needs_observed else None


@everyone
def test_calls_are_as_stated_and_shapes_stay(guidance):
    seen = []

    def denoise(*args):
        seen.append(args)
        return affine(*args)

    out = guidance(denoise, SCHEDULE, given(guidance))(X, T, CONDITION, SCALARS)
    assert out.shape == X.shape
    assert out.dtype == X.dtype
    assert len(seen) == guidance.calls_per_step
    assert all(torch.equal(x_t, X) and t == T and c is CONDITION for x_t, t, c, _ in seen)


@everyone
def test_inputs_are_left_as_they_were(guidance):
    x, scalars = X.clone(), SCALARS.clone()
    guidance(affine, SCHEDULE, given(guidance))(x, T, CONDITION, scalars)
    assert torch.equal(scalars, SCALARS)
    assert torch.equal(x, X)


@everyone
def test_examples_do_not_see_each_other(guidance):
    """Nor does it matter whether the level is told once or for each example."""
    x = torch.randn(3, 1, 4, dtype=torch.float64)
    condition, scalars = CONDITION.double(), SCALARS.double()
    seen = None
    if guidance.needs_observed:
        seen = observed(values=f64([[[1.0, -2.0]], [[0.0, 3.0]], [[5.0, 0.5]]]))

    def denoise(x_t, t, condition, scalars):
        return torch.tanh(x_t) + scalars.sum(dim=1)[:, None, None]

    together = guidance(denoise, SCHEDULE, seen)(x, T, condition, scalars)
    each = guidance(denoise, SCHEDULE, seen)(x, T.expand(3), condition, scalars)
    assert torch.equal(together, each)
    for row in range(3):
        alone = seen and observed(values=seen.values[[row]])
        found = guidance(denoise, SCHEDULE, alone)(x[[row]], T, condition[[row]], scalars[[row]])
        assert torch.allclose(found[0], together[row], rtol=1e-13, atol=1e-13)


@observing
def test_inference_mode_changes_nothing_and_parameters_get_no_gradients(guidance):
    """Inputs and observations made inside it cannot be kept by autograd unless copied."""
    network = torch.nn.Linear(4, 4)

    def denoise(x_t, t, condition, scalars):
        return network(x_t) * condition[:, :1] * scalars[:, :1, None]

    outside = guidance(denoise, SCHEDULE, observed())(X, T, CONDITION, SCALARS + 1)
    with torch.inference_mode():
        inside = guidance(denoise, SCHEDULE, observed(values=torch.tensor([[[1.0, -2.0]]])))(
            X.clone(), T.clone(), CONDITION.clone(), SCALARS + 1
        )
    assert torch.equal(inside, outside)
    assert not outside.requires_grad
    assert network.weight.grad is None


@observing
def test_observations_are_computed_with_in_full_precision(guidance):
    """Under autocast, that a network runs in, products of matrices would lose digits."""
    operator = load("operators", "block_mean")(factor=2)
    if guidance is GUIDANCE["inpaint"]:
        operator = POINTS
    seen = observed(operator=operator)
    plain = guidance(bent, SCHEDULE, seen)(X, T, None, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(guidance(bent, SCHEDULE, seen)(X, T, None, None), plain)


@observing
def test_no_step_waits_for_the_device(guidance):
    """A meta tensor has no values: a host that waits for one raises."""
    seen = observed(values=torch.empty(1, 1, 2, device="meta"))
    x, t = X.to("meta"), T.to("meta")
    assert guidance(bent, SCHEDULE, seen)(x, t, None, None).device.type == "meta"


@observing
def test_what_is_observed_draws_the_estimate_to_it(guidance):
    """The sign: a misfit never gets larger by a small enough noise_std's correction."""
    seen = observed(noise_std=2.0)
    before = (seen.values - POINTS.apply(bent(X, T, None, None))).norm()
    after = (seen.values - POINTS.apply(guidance(bent, SCHEDULE, seen)(X, T, None, None))).norm()
    assert after < before


@observing
def test_agreement_changes_nothing(guidance):
    """Nothing to divide by is left for the solver, either."""
    seen = observed(values=POINTS.apply(bent(X, T, None, None)))
    found = guidance(bent, SCHEDULE, seen)(X, T, None, None)
    assert torch.equal(found, bent(X, T, None, None))


def closed_form(weigh):
    """`D + C_t H^T weigh(H C_t H^T) (y - H D)` of a mixture, whose covariance is known exactly."""
    x, t = torch.randn(5, 1, 2, dtype=torch.float64), torch.rand(5, dtype=torch.float64)
    matrix, y = f64([[0.5, 0.5]]), f64([0.7])
    at = level(SCHEDULE, t)
    mean = MIXTURE.posterior_mean(x.squeeze(1), at)
    covariance = MIXTURE.posterior_covariance(x.squeeze(1), at)
    cross = covariance @ matrix.T
    weight = weigh(matrix @ cross, at.over(cross))
    moved = mean + (cross @ weight @ (y - mean @ matrix.T)[..., None]).squeeze(-1)

    def denoise(x_t, t, condition, scalars):
        return MIXTURE.denoiser(SCHEDULE)(x_t.squeeze(1), t).unsqueeze(1)

    seen = Observed(
        operator=load("operators", "block_mean")(factor=2), values=y[None, None], noise_std=0.3
    )
    return moved, lambda guidance: guidance(denoise, SCHEDULE, seen)(x, t, None, None).squeeze(1)


@pytest.mark.parametrize(
    ("name", "fields", "weigh"),
    [
        ("posterior", {"iterations": 1}, lambda seen, at: 1 / (seen + 0.3**2)),
        ("posterior", {"iterations": 20}, lambda seen, at: 1 / (seen + 0.3**2)),
        ("dps", {}, lambda seen, at: torch.full_like(seen, 1 / 0.3**2)),
        ("dps", {"scale": 0.2}, lambda seen, at: torch.full_like(seen, 0.2 / 0.3**2)),
        ("sda", {}, lambda seen, at: 1 / (0.3**2 + at.noise_to_signal**2)),
        ("sda", {"gamma": 0.05}, lambda seen, at: 1 / (0.3**2 + 0.05 * at.noise_to_signal**2)),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_the_formula_of_each_method(name, fields, weigh):
    """With a perfect denoiser the pull is its covariance, by Tweedie's second identity."""
    exact, found = closed_form(weigh)
    assert torch.allclose(found(load("guidance", name)(**fields)), exact, rtol=1e-10, atol=1e-11)


def test_posterior_solves_with_several_unequal_observations():
    """A Jacobian that is symmetric, as J = tanh'(x) t here, against a dense solve; R by value."""
    std = f64([[[0.2, 3.0, 0.7, 0.05]]])
    x, t = torch.randn(3, 1, 4, dtype=torch.float64), f64(0.3)
    mix = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q

    def denoise(x_t, t, condition, scalars):
        return torch.tanh(x_t @ mix) @ mix.T

    y = torch.randn(3, 1, 4, dtype=torch.float64)
    seen = Observed(operator=load("operators", "points")(every=1), values=y, noise_std=std)
    found = load("guidance", "posterior")(iterations=4)(denoise, SCHEDULE, seen)(x, t, None, None)
    at = level(SCHEDULE, t)
    slope = 1 - torch.tanh(x @ mix) ** 2
    covariance = at.noise_std**2 / at.signal_scale * (mix * slope) @ mix.T
    mean = denoise(x, t, None, None)
    total = covariance + torch.diag(std.flatten() ** 2)
    exact = mean + (covariance @ torch.linalg.solve(total, (y - mean).mT)).mT
    # Four steps solve four equations; their condition number is below 1e4.
    assert torch.allclose(found, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("iterations", [1, 8, 60])
def test_posterior_stays_bounded_for_a_jacobian_that_is_no_covariance(iterations, dtype):
    """Neither symmetric nor positive, at a level that multiplies it by some 500.

    The steps never raise |y - H D| of the linear problem, whose solution then is at most
    |y - H D| / r^2 long per step; what comes out is finite.
    """
    size, rows, std = 24, 50, 0.1
    matrices = torch.randn(rows, size, size, dtype=dtype)
    t = torch.tensor(0.95, dtype=dtype)

    def denoise(x_t, t, condition, scalars):
        return (matrices @ x_t.mT).mT

    y = torch.randn(rows, 1, 12, dtype=dtype)
    seen = Observed(operator=load("operators", "points")(every=2), values=y, noise_std=std)
    x = torch.randn(rows, 1, size, dtype=dtype)
    guided = load("guidance", "posterior")(iterations=iterations)(denoise, SCHEDULE, seen)
    found = guided(x, t, None, None) - denoise(x, t, None, None)
    at = level(SCHEDULE, t)
    factor = at.noise_std**2 / at.signal_scale
    residual = (y - denoise(x, t, None, None)[..., ::2]).norm(dim=2).squeeze(1)
    norm = torch.linalg.matrix_norm(matrices, ord=2)
    bound = iterations * factor * norm * residual / std**2
    assert torch.isfinite(found).all()
    assert (found.norm(dim=2).squeeze(1) <= bound).all()


def test_posterior_reports_what_is_not_finite():
    """A Jacobian of NaN reaches the sampler, which names step and example."""

    def denoise(x_t, t, condition, scalars):
        return x_t + 0 * torch.sqrt(x_t - x_t.detach())

    found = load("guidance", "posterior")()(denoise, SCHEDULE, observed())(X, T, None, None)
    assert torch.isnan(found).any()


@pytest.mark.parametrize("unit", [1.0, 5.0])
def test_inpaint_puts_values_in_place_whatever_their_unit(unit):
    class Scaled(load("operators", "mask")):
        def apply(self, field):
            return unit * super().apply(field)

        def adjoint(self, values, like):
            return unit * super().adjoint(values, like)

    values = torch.tensor([[[0.0, 30.0, 40.0, 0.0]]])
    seen = Observed(operator=Scaled(start=(1,), stop=(3,)), values=values, noise_std=0.1)
    found = load("guidance", "inpaint")()(bent, SCHEDULE, seen)(X, T, None, None)
    assert torch.allclose(found[..., 1:3], values[..., 1:3] / unit)
    assert torch.equal(found[..., [0, 3]], bent(X, T, None, None)[..., [0, 3]])


@pytest.mark.parametrize("scale", [0.0, 1.0, 1.5, 4.0])
def test_classifier_free_extrapolates_from_zero_scalars(scale):
    """The affine denoiser's pull is multiplied by the scale, row by row."""
    one = torch.ones(3, 1, 4)
    guided = load("guidance", "classifier_free")(scale=scale)(affine, SCHEDULE, None)
    pull = torch.tensor([1.0, 10.0, 0.0])[:, None, None]
    assert torch.allclose(
        guided(one, T, CONDITION, SCALARS), (0.5 + 0.4 + scale * pull).expand(3, 1, 4)
    )


def test_classifier_free_scales_the_mean_of_gaussians():
    """Class mean m, none 0, both of variance 1: the guided posterior is that of mean scale m.

    E[x_0 | x_t] = m + c / (c^2 + d^2) (x_t - c m) is affine in m: the guided law is N(scale m, 1).
    """

    def denoise(x_t, t, condition, scalars):
        c, d = 0.6, 0.8
        m = 2 * scalars[:, :1, None]
        return m + c / (c**2 + d**2) * (x_t - c * m)

    guided = load("guidance", "classifier_free")(scale=3.0)(denoise, SCHEDULE, None)
    one = torch.ones(3, 1)
    assert torch.allclose(guided(X, T, None, one), denoise(X, T, None, 3 * one))
