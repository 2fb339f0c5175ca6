"""Counter-based noise: published vectors, moments, independence, and no memory of other rows."""

import math

import pytest
import torch

from diffsci.diffusion.noise import MemberNoise, key_of, normals, philox, seeded
from diffsci.errors import FieldError

# Known answers shipped with Random123 (kat_vectors, philox4x32-10): counter, key, output.
KNOWN = [
    ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


def words(text):
    return tuple(torch.tensor(int(word, 16)) for word in text.split())


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_philox_gives_the_published_words(counter, key, output):
    found = philox(words(counter), words(key))
    assert " ".join(f"{int(word):08x}" for word in found) == output


def test_philox_gives_the_published_words_for_all_rows_at_once():
    counter, key, output = (
        [torch.stack(column) for column in zip(*(words(row[part]) for row in KNOWN), strict=True)]
        for part in range(3)
    )
    found = philox(tuple(counter), tuple(key))
    assert all(torch.equal(a, b) for a, b in zip(found, output, strict=True))


def test_box_muller_by_hand_at_the_extreme_words():
    """Word w is the uniform (w + 1/2) / 2^32: finite for 0, and below 1 for 2^32 - 1."""
    low, high, quarter = torch.tensor(0), torch.tensor(2**32 - 1), torch.tensor(2**30)
    found = normals(tuple(w[None, None] for w in (low, quarter, high, low)), 4)[0]
    angle = math.pi / 2 * (1 + 2.0**-31)
    radius = math.sqrt(2 * 33 * math.log(2))
    expected = [radius * math.cos(angle), radius * math.sin(angle), math.sqrt(2.0**-32), 0.0]
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-7, atol=1e-12)


def noise_of(cases, members, leads=None, seed=0):
    return MemberNoise(seed=seed, cases=cases, members=members, leads=leads or (0,) * len(cases))


def test_moments_up_to_the_fourth():
    """Of N standard normals x^k has mean 0, 1, 0, 3 and variance 1, 2, 15, 96; we allow 4 sigma."""
    x = seeded(3)(torch.empty(16, 50_000, dtype=torch.float64), 0).flatten()
    for power, (mean, variance) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96)], start=1):
        assert abs((x**power).mean() - mean) < 4 * math.sqrt(variance / len(x)), power


def test_distribution_is_normal_not_only_its_moments():
    """Kolmogorov-Smirnov: the 0.1 % point of sqrt(N) times the largest gap is 1.95."""
    x = seeded(4)(torch.empty(1, 200_001, dtype=torch.float64), 0).flatten().sort().values
    steps = torch.arange(len(x) + 1, dtype=torch.float64) / len(x)
    cdf = torch.special.ndtr(x)
    gap = torch.maximum((cdf - steps[:-1]).abs().max(), (cdf - steps[1:]).abs().max())
    assert gap * math.sqrt(len(x)) < 1.95


def test_streams_that_differ_in_one_word_of_the_counter_or_key_are_uncorrelated():
    """A sample correlation of N independent pairs has standard deviation 1 / sqrt(N)."""
    like = torch.empty(1, 20_000, dtype=torch.float64)
    streams = [noise_of(("a",), (0,))(like, 0), noise_of(("a",), (0,))(like, 1)]
    streams += [noise_of(("a",), (1,))(like, 0), noise_of(("a",), (0,), (1,))(like, 0)]
    streams += [noise_of(("b",), (0,))(like, 0), noise_of(("a",), (0,), seed=1)(like, 0)]
    correlation = torch.corrcoef(torch.cat(streams)) - torch.eye(len(streams))
    assert correlation.abs().max() < 4.5 / math.sqrt(20_000)


def test_neighbouring_elements_are_uncorrelated():
    x = seeded(5)(torch.empty(1, 100_003, dtype=torch.float64), 0)[0]
    for lag in (1, 2, 3, 4, 5):
        assert abs((x[lag:] * x[:-lag]).mean()) < 4 / math.sqrt(len(x)), lag


CASES, MEMBERS, LEADS = ("a", "a", "b", "b", "c"), (0, 7, 0, 7, 3), (0, 0, 2, 2, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 5, 7), (3,), (2, 4, 4, 2), ()])
def test_a_row_has_the_same_bits_in_any_batch(shape, dtype):
    together = noise_of(CASES, MEMBERS, LEADS)(torch.empty(5, *shape, dtype=dtype), 4)
    assert together.shape == (5, *shape)
    assert together.dtype == dtype
    for rows in ([0], [3, 1], [4, 4, 2, 0, 1, 3]):
        part = noise_of(*(tuple(column[r] for r in rows) for column in (CASES, MEMBERS, LEADS)))
        assert torch.equal(part(torch.empty(len(rows), *shape, dtype=dtype), 4), together[rows])


def test_a_call_has_no_memory():
    noise, like = noise_of(CASES, MEMBERS), torch.empty(5, 9)
    first = noise(like, 0)
    noise(like, 1)
    assert torch.equal(noise(like, 0), first)
    assert torch.equal(seeded(0)(like, 2)[:2], seeded(0)(like[:2], 2))


def test_the_element_s_bits_do_not_depend_on_the_field_s_size():
    noise = noise_of(("a",), (0,))
    assert torch.equal(noise(torch.empty(1, 50), 0)[:, :13], noise(torch.empty(1, 13), 0))


def lasting(share, leads):
    count = len(leads)
    return MemberNoise(
        seed=5, cases=("a",) * count, members=(2,) * count, leads=leads, persistent=share
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_persistent_noise_correlates_between_leads_by_its_share(share):
    """A correlation r of N pairs has standard deviation (1 - r^2) / sqrt(N); 4 of them, or none."""
    size = 20_000
    x = lasting(share, (0, 1, 70))(torch.empty(3, size, dtype=torch.float64), 0)
    assert (x.square().mean(dim=1) - 1).abs().max() < 4 * math.sqrt(2 / size)
    found = torch.corrcoef(x)[[0, 0, 1], [1, 2, 2]]
    assert (found - share).abs().max() <= 4 * (1 - share**2) / math.sqrt(size) + 1e-12


def test_what_a_sampler_adds_on_its_way_does_not_persist():
    like = torch.empty(2, 30)
    assert torch.equal(lasting(0.7, (0, 1))(like, 1), lasting(0.0, (0, 1))(like, 1))


def test_persistent_noise_of_members_and_cases_differs():
    like = torch.empty(1, 30)
    rows = [("a", 2), ("a", 3), ("b", 2)]
    draws = [
        MemberNoise(seed=5, cases=(case,), members=(member,), leads=(0,), persistent=1.0)(like, 0)
        for case, member in rows
    ]
    assert all((one - other).abs().min() > 0 for one, other in zip(draws, draws[1:], strict=False))


def test_float32_is_float64_rounded():
    noise = noise_of(CASES, MEMBERS)
    exact = noise(torch.empty(5, 11, dtype=torch.float64), 0)
    assert torch.equal(noise(torch.empty(5, 11), 0), exact.float())


def test_keys_are_the_same_for_ever():
    """The value is pinned: another one would change the members of every published ensemble."""
    assert key_of(7, "2001-02-03T00") == 17386938312567691913


def test_bad_calls_are_named():
    with pytest.raises(FieldError, match="members: got .* expected 2 numbers"):
        noise_of(("a", "b"), (0,))
    with pytest.raises(FieldError, match="leads: got"):
        noise_of(("a",), (0,), (-1,))
    with pytest.raises(FieldError, match="seed: got -1"):
        noise_of(("a",), (0,), seed=-1)
    with pytest.raises(FieldError, match="like: got 3, expected 1 rows"):
        noise_of(("a",), (0,))(torch.empty(3, 2), 0)
    with pytest.raises(FieldError, match="index: got -1"):
        noise_of(("a",), (0,))(torch.empty(1, 2), -1)
    with pytest.raises(FieldError, match="persistent: got 1.5, expected a share from 0 to 1"):
        lasting(1.5, (0,))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_makes_the_same_noise():
    noise, like = noise_of(CASES, MEMBERS), torch.empty(5, 1000)
    there = noise(like.cuda(), 3).cpu()
    # The float64 logarithm and cosine may differ in the last place, rarely the rounded float32.
    assert (there != noise(like, 3)).sum() <= 1
