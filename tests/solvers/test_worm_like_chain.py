"""Worm-like chains: the law of the bonds, of the ends, and of one bend, in closed form."""

import numpy as np
import pytest

from diffsci.errors import FieldError
from diffsci.solvers.worm_like_chain import WormLikeChain, chain

DRAWS, BONDS = 40_000, 6


@pytest.fixture(scope="module", params=[0.5, 3.0, 30.0])
def stiff(request):
    """Bonds of many chains of one stiffness, and the mean cosine of a bend."""
    uniform = np.random.default_rng(0).random((DRAWS, BONDS, 2))
    bonds = chain(np.full(DRAWS, request.param), uniform)
    return request.param, bonds, 1 / np.tanh(request.param) - 1 / request.param


def test_bonds_have_length_one(stiff):
    _, bonds, _ = stiff
    assert np.abs((bonds**2).sum(axis=-1) - 1).max() < 1e-14


def test_bonds_forget_their_direction_as_a_power_of_the_distance(stiff):
    _, bonds, cosine = stiff
    products = np.einsum("nid,njd->nij", bonds, bonds)
    # The wall's normal is the bond before the first.
    normal = bonds[:, :, 0]
    i, j = np.indices((BONDS, BONDS))
    # A cosine has a standard deviation below 1: 5 standard errors of the mean are 0.025.
    assert np.abs(products.mean(axis=0) - cosine ** np.abs(i - j)).max() < 5 / np.sqrt(DRAWS)
    assert np.abs(normal.mean(axis=0) - cosine ** np.arange(1, BONDS + 1)).max() < 5 / DRAWS**0.5


def test_ends_are_as_far_apart_as_kratky_and_porod_say(stiff):
    _, bonds, c = stiff
    squared = (bonds.sum(axis=1) ** 2).sum(axis=-1)
    n = BONDS
    exact = n * (1 + c) / (1 - c) - 2 * c * (1 - c**n) / (1 - c) ** 2
    assert abs(squared.mean() - exact) < 5 * squared.std() / np.sqrt(DRAWS)


def test_the_cosine_of_a_bend_is_exponential_and_its_direction_uniform(stiff):
    k, bonds, _ = stiff
    cosine = np.sort((bonds[:, 2] * bonds[:, 3]).sum(axis=-1))
    exact = (np.exp(k * (cosine - 1)) - np.exp(-2 * k)) / (1 - np.exp(-2 * k))
    # Kolmogorov's distance of n draws is above 1.95 / sqrt(n) in one case of a thousand.
    assert np.abs(exact - np.linspace(0, 1, DRAWS)).max() < 1.95 / np.sqrt(DRAWS)
    around = np.sort(np.arctan2(bonds[:, 0, 2], bonds[:, 0, 1]) / (2 * np.pi) + 0.5)
    assert np.abs(around - np.linspace(0, 1, DRAWS)).max() < 1.95 / np.sqrt(DRAWS)


def test_stiffness_is_between_its_ends_and_uniform_in_the_logarithm():
    made = WormLikeChain(trajectories=4000, bonds=2, softest=2.0, stiffest=8.0)()
    share = np.sort(np.log(made["stiffness"].values / 2.0) / np.log(4.0))
    assert share[0] >= 0 and share[-1] <= 1
    assert np.abs(share - np.linspace(0, 1, 4000)).max() < 1.95 / np.sqrt(4000)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"bonds": 1}, "bonds"),
        ({"softest": 0.0}, "softest"),
        ({"softest": 3.0, "stiffest": 2.0}, "stiffest"),
        ({"stiffest": float("inf")}, "stiffest"),
        ({"trajectories": 0}, "trajectories"),
        ({"frames": 0}, "frames"),
        ({"seed": -1}, "seed"),
    ],
)
def test_refuses_by_name(fields, named):
    with pytest.raises(FieldError, match=rf"^{named}: got"):
        WormLikeChain(**fields)
