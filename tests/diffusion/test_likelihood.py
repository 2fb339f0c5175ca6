"""Log-densities by the probability flow, against closed forms."""

import math

import pytest
import torch

from diffsci.diffusion.augmentation import Level
from diffsci.diffusion.basis import Basis
from diffsci.diffusion.exact import DiagonalGaussian, StationaryField, whole
from diffsci.diffusion.likelihood import log_likelihood, nats_per_number
from diffsci.diffusion.noise import seeded
from diffsci.errors import ConfigError, FieldError, NotFiniteError
from diffsci.families import load, names
from tests.diffusion.laws import DIAGONAL, FIELD, GAUSSIAN, MIXTURE, f64
from tests.diffusion.samplers.variants import unchecked

SCHEDULES = {name: load("schedules", name)() for name in names("schedules")}
LAWS = {"gaussian": GAUSSIAN, "mixture": MIXTURE}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)


def normals(rows, *shape, index=0):
    return seeded(3)(torch.empty(rows, *shape, dtype=torch.float64), index)


def draws(law, rows=4):
    if law is MIXTURE:
        return law.sample(normals(rows, 2), (torch.arange(rows).double() + 0.5) / rows)
    return law.sample(normals(rows, *law.mean.shape))


@every_schedule
@every_law
def test_exact_trace_gives_the_closed_form(law, schedule):
    """To 1e-4 of it, as it is promised; measured: 1.1e-5 of it at worst."""
    x = draws(law)
    exact = law.log_density(x, whole(schedule).after)
    with unchecked():
        found = log_likelihood(law.denoiser(schedule), schedule, x, end=law)
    assert found.nats.dtype == torch.float64
    assert (found.standard_error == 0).all()
    assert torch.allclose(found.nats, exact, rtol=1e-4, atol=0)


@every_law
@pytest.mark.parametrize(
    "counts", [(32, 64), pytest.param((32, 64, 128), marks=pytest.mark.slow)], ids=["quick", "slow"]
)
def test_the_integration_is_of_fourth_order(law, counts):
    schedule, x = SCHEDULES["edm"], draws(law)
    exact = law.log_density(x, whole(schedule).after)
    with unchecked():
        errors = [
            (log_likelihood(law.denoiser(schedule), schedule, x, steps=n, end=law).nats - exact)
            .pow(2)
            .mean()
            .sqrt()
            for n in counts
        ]
    for coarse, fine in zip(errors, errors[1:], strict=False):
        # Measured from 3.96 to 4.2.
        assert 3.8 < math.log2(coarse / fine) < 4.4


@every_schedule
def test_what_the_default_end_costs_is_as_stated(schedule):
    """z m sqrt(r) + (1 - z^2) (v - 1) r / 2 to first order, with z of x_0 itself."""
    m, v = 0.8, 1.7
    law = DiagonalGaussian(mean=f64([m]), variance=f64([v]))
    z = f64([[-2.0], [-0.5], [0.7], [1.8]])
    jump = whole(schedule)
    after = law.noisy(jump.after)
    x = after.mean + torch.sqrt(after.variance) * z
    known = log_likelihood(law.denoiser(schedule), schedule, x, steps=16, end=law).nats
    found = log_likelihood(law.denoiser(schedule), schedule, x, steps=16).nats
    r = float(jump.now.snr)
    # Against c^2 + d^2 the end is off by -z m / sigma and by the difference of the variances.
    expected = -(z * m * math.sqrt(r) + (1 - z**2) * (1 - v) * r / 2)[:, 0]
    bound = m**2 * r + 20 * r**1.5
    assert ((found - known - expected).abs() < bound).all()
    assert (found - known).abs().max() > 3 * bound


def test_standard_normal_data_need_no_steps():
    """w stays where it is: one step is as good as many."""
    law = DiagonalGaussian(mean=torch.zeros(3).double(), variance=torch.ones(3).double())
    schedule, x = SCHEDULES["edm"], normals(4, 3)
    found = log_likelihood(law.denoiser(schedule), schedule, x, steps=1).nats
    assert torch.allclose(found, law.log_density(x, whole(schedule).after), rtol=1e-12)


def test_random_signs_are_exact_for_independent_numbers():
    """z^T J z = tr J where J is diagonal, probe by probe."""
    schedule, x = SCHEDULES["vp"], draws(DIAGONAL)
    exact = log_likelihood(DIAGONAL.denoiser(schedule), schedule, x, steps=8).nats
    nats, error = log_likelihood(DIAGONAL.denoiser(schedule), schedule, x, steps=8, probes=2)
    assert torch.allclose(nats, exact, rtol=1e-12)
    assert (error < 1e-12).all()


@pytest.mark.parametrize("schedule", ["edm", "linear"])
def test_hutchinson_is_unbiased_and_its_error_is_as_stated(schedule):
    """400 repetitions with 2 and 8 probes: mean, scatter, stated error, and 1 / probes."""
    schedule, rows = SCHEDULES[schedule], 400
    x = draws(GAUSSIAN, 1).expand(rows, 3)
    denoise, sums = GAUSSIAN.denoiser(schedule), {}
    exact = log_likelihood(denoise, schedule, x[:1], steps=16).nats
    for probes in (2, 8):
        nats, error = log_likelihood(denoise, schedule, x, steps=16, probes=probes, noise=seeded(1))
        scatter = nats.std()
        assert (nats.mean() - exact).abs() < 4.5 * scatter / rows**0.5
        # Means of squares of 400: 4.5 times sqrt(2 / 400) of themselves, and more for 2 probes,
        # whose stated errors scatter by their own size.
        assert error.pow(2).mean().sqrt() == pytest.approx(float(scatter), rel=0.25)
        sums[probes] = scatter**2
    assert sums[2] / sums[8] == pytest.approx(4, rel=0.6)


def test_hutchinson_for_fields_is_within_its_stated_error():
    schedule = SCHEDULES["edm"]
    basis = Basis((24, 24), (True, False))
    law = StationaryField.by_band(basis, 3 / (1 + torch.arange(basis.bands).double()[None]) ** 2)
    x = law.sample(normals(3, 1, 24, 24))
    exact = law.log_density(x, whole(schedule).after)
    nats, error = log_likelihood(
        law.denoiser(schedule), schedule, x, steps=32, probes=6, noise=seeded(2), end=law
    )
    assert (error > 0.01).all()
    # Student's t with 5 degrees of freedom, three examples: 1 in 10 000 beyond 10.
    assert ((nats - exact).abs() < 10 * error).all()
    # Six probes of 576 numbers leave some thousandths of a nat for each number.
    assert (nats_per_number(error, x) < 0.01).all()


def test_channels_and_means_are_followed_too():
    """The exact trace of 60 numbers on a box, with a mean and two channels."""
    schedule, x = SCHEDULES["cosine"], FIELD.sample(normals(1, 2, 6, 5))
    found = log_likelihood(FIELD.denoiser(schedule), schedule, x, steps=32, end=FIELD).nats
    exact = FIELD.log_density(x, whole(schedule).after)
    # Measured 0.001 for 60 numbers in 32 steps.
    assert torch.allclose(found, exact, atol=0.003)


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
def test_it_works_where_gradients_are_off(context):
    schedule, law = SCHEDULES["edm"], GAUSSIAN
    outside = log_likelihood(law.denoiser(schedule), schedule, draws(law), steps=8)
    with context():
        inside = log_likelihood(law.denoiser(schedule), schedule, draws(law), steps=8)
        probed = log_likelihood(law.denoiser(schedule), schedule, draws(law), steps=8, probes=2)
    assert torch.equal(inside.nats, outside.nats)
    assert torch.isfinite(probed.nats).all()


def test_float32_is_good_to_its_digits():
    schedule, x = SCHEDULES["edm"], draws(GAUSSIAN)
    fine = log_likelihood(GAUSSIAN.denoiser(schedule), schedule, x, steps=32)
    law = GAUSSIAN.to(x.float())
    rough = log_likelihood(law.denoiser(schedule), schedule, x.float(), steps=32)
    assert rough.nats.dtype == torch.float64
    # 32 steps of rounding 6e-8, in a flow that widens the thinnest direction (std 0.12) 8 times.
    assert torch.allclose(rough.nats, fine.nats, atol=1e-4)


def test_examples_do_not_depend_on_their_batch():
    schedule, x = SCHEDULES["linear"], draws(MIXTURE)
    together = log_likelihood(MIXTURE.denoiser(schedule), schedule, x, steps=8).nats
    alone = log_likelihood(MIXTURE.denoiser(schedule), schedule, x[2:3], steps=8).nats
    assert torch.allclose(together[2:3], alone, rtol=1e-12)


def test_the_density_of_unlikely_fields_is_lower():
    schedule, law = SCHEDULES["edm"], GAUSSIAN
    x = draws(law)
    far = law.mean + 5 * (x - law.mean)
    likely, unlikely = (
        log_likelihood(law.denoiser(schedule), schedule, y, steps=16) for y in (x, far)
    )
    assert (unlikely.nats < likely.nats - 1).all()


def test_nats_per_number_of_standard_normal_data():
    law = DiagonalGaussian(mean=torch.zeros(()).double(), variance=torch.ones(()).double())
    x = normals(1, 1, 100, 100)
    clean = Level(f64(0.0), f64(1.0), f64(0.0))
    found = nats_per_number(law.log_density(x, clean), x)
    # The mean of 10 000 squares over 2 has a standard error of 0.007.
    assert abs(float(found) + (1 + math.log(2 * math.pi)) / 2) < 0.03


def test_what_cannot_be_had_is_refused():
    schedule, x = SCHEDULES["edm"], torch.ones(2, 1, 17, 17)
    with pytest.raises(ConfigError, match="an example has 289 numbers.*up to 256: give probes=8"):
        log_likelihood(lambda x, t: x / 2, schedule, x)
    with pytest.raises(ConfigError, match="denoise: its estimate carries no gradient"):
        log_likelihood(lambda x, t: x.detach() / 2, schedule, x, probes=2)
    with pytest.raises(FieldError, match="probes: got 1, expected 2 or more, since one has no"):
        log_likelihood(lambda x, t: x / 2, schedule, x, probes=1)
    with pytest.raises(FieldError, match="steps: got 0, expected 1 or more"):
        log_likelihood(lambda x, t: x / 2, schedule, x, probes=2, steps=0)
    with pytest.raises(FieldError, match="noise: got .*, expected none, unless `probes`"):
        log_likelihood(lambda x, t: x / 2, schedule, x, noise=seeded(0))
    with pytest.raises(NotFiniteError, match="not finite in call 1 of 12 .* example 1"):
        bad = torch.tensor([1.0, math.nan])[:, None]
        log_likelihood(lambda x, t: x * bad, schedule, x[:, 0, 0, :3], steps=3)
    with pytest.raises(
        ConfigError, match="its estimate has dtype torch.float64, x_t has torch.flo"
    ):
        log_likelihood(lambda x, t: x.double(), schedule, x[:, 0, 0, :3], steps=3)
