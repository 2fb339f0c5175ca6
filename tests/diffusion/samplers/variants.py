"""All settings of all samplers, and the schedules that they are tried under."""

import math
from contextlib import contextmanager

import jaxtyping
import pytest
import torch

from diffsci.diffusion.augmentation import level, pure_noise
from diffsci.diffusion.exact import DiagonalGaussian, diagonal_output_law, whole
from diffsci.diffusion.noise import seeded
from diffsci.families import load, names
from tests.diffusion.laws import f64


def straight(t):
    """A bare rectified flow: no signal at t = 1, no noise at t = 0."""
    return 1 - t, t


def near(t):
    """Variance-preserving, with noise that starts at 5 and not far above the data, and no class."""
    sigma = 0.002 * 2500**t
    return 1 / torch.sqrt(1 + sigma**2), sigma / torch.sqrt(1 + sigma**2)


SCHEDULES = {name: load("schedules", name)() for name in names("schedules")}
SCHEDULES |= {"straight": straight, "near": near}

VARIANTS = {
    "ab": [{"multistep": k} for k in (1, 2, 3, 4)],
    "ancestral": [{}, {"variance": "large"}],
    "ddim": [{}, {"eta": 0.5}, {"eta": 1.0}],
    "dpmpp": [{"multistep": k, "stochastic": noisy} for noisy in (False, True) for k in (1, 2, 3)],
    "edm": [{}, {"churn": 0.0}, {"noise_inflation": 1.05}],
    "unipc": [{"multistep": k} for k in (1, 2, 3)],
}
"""Settings that change what a member does; members not named are tried at their defaults.

`ancestral` with `variance: exact` asks more of a denoiser, and has a file of its own.
"""
ALL = [(name, fields) for name in names("samplers") for fields in VARIANTS.get(name, [{}])]


def label(value):
    if isinstance(value, tuple):
        return "-".join([value[0], *map(str, value[1].values())])
    return None


def make(variant, steps, **fields):
    name, own = variant
    return load("samplers", name)(steps=steps, **own, **fields)


def fewest(variant):
    """Fewest steps that the variant takes."""
    return variant[1].get("multistep", getattr(load("samplers", variant[0]), "multistep", 1))


def draws_of(variant):
    """Indices of the draws that one sampling in 5 steps takes."""
    taken = []

    def noise(like, index):
        taken.append(index)
        return torch.zeros_like(like)

    x_1 = torch.ones(1, 4, dtype=torch.float64)
    make(variant, 5)(lambda x_t, t: 0.5 * x_t, SCHEDULES["edm"], x_1, noise)
    return taken


def silent(like, index):
    raise AssertionError("a deterministic sampler took a draw")


DETERMINISTIC = [variant for variant in ALL if not draws_of(variant)]
STOCHASTIC = [variant for variant in ALL if draws_of(variant)]

every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
everyone = pytest.mark.parametrize("variant", ALL, ids=label)
deterministic = pytest.mark.parametrize("variant", DETERMINISTIC, ids=label)
stochastic = pytest.mark.parametrize("variant", STOCHASTIC, ids=label)


@contextmanager
def unchecked():
    """Many steps without the check of every shape, which takes four times as long as they do.

    Short runs of the same samplers keep it.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def start(schedule, dim, rows=32):
    return pure_noise(schedule, seeded(5)(torch.empty(rows, dim, dtype=torch.float64), 0))


def entered(schedule, x_1):
    """x_1 where a sampler takes it up: 1, but for a schedule without signal there."""
    return x_1 * (whole(schedule).now.noise_std / schedule(f64(1.0))[1])


def orders(errors):
    return [math.log2(coarse / fine) for coarse, fine in zip(errors, errors[1:], strict=False)]


def rms(x):
    return float(x.pow(2).mean().sqrt())


def output_law(variant, steps, schedule, law, warm=False):
    """The law after `steps`, for x_1 drawn as noise alone, or warm: as it truly is.

    Args:
        variant: The sampler.
        steps: Of it.
        schedule: The noise.
        law: Of the data, independent elements.
        warm: Whether x_1 has its share of signal.
    """
    first = level(schedule, f64(1.0))
    cold = DiagonalGaussian(
        mean=0 * law.mean, variance=first.noise_std**2 * torch.ones_like(law.mean)
    )
    with unchecked():
        law_1 = law.noisy(first) if warm else cold
        return diagonal_output_law(make(variant, steps), law.denoiser(schedule), schedule, law_1)


def at_the_end(schedule, law):
    """The law that a sampler should leave: of the data, with the noise of the last level."""
    return law.noisy(whole(schedule).after)
