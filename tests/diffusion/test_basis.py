"""Waves: orthonormal, Parseval, what a band is, and where stationary covariances are diagonal."""

import math

import pytest
import torch
from scipy import fft

from diffsci.diffusion.basis import Basis
from diffsci.grid import Grid
from tests.diffusion.laws import f64

BOXES = [
    ((8,), (True,)),
    ((9,), (True,)),
    ((8,), (False,)),
    ((9,), (False,)),
    ((6, 5), (True, False)),
    ((5, 6), (True, True)),
    ((4, 6), (False, False)),
    ((3, 4, 5), (True, False, True)),
    ((1, 7), (False, True)),
]
"""Sizes and whether each dim joins its ends: even, odd, unequal, one cell, one to three dims."""

every_box = pytest.mark.parametrize(("sizes", "periodic"), BOXES, ids=str)


def random_fields(sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, 2, *sizes, dtype=torch.float64, generator=generator)


@every_box
def test_the_waves_are_orthonormal_and_complete(sizes, periodic):
    """To rounding: products of at most 60 numbers below 1."""
    basis, count = Basis(sizes, periodic), math.prod(sizes)
    unit = torch.eye(count, dtype=torch.float64)
    waves = basis.forward(unit.reshape(count, *sizes)).reshape(count, count)
    assert torch.allclose(waves @ waves.T, unit, rtol=0, atol=1e-14)
    x = random_fields(sizes)
    assert torch.allclose(basis.inverse(basis.forward(x)), x, rtol=0, atol=1e-13)
    assert torch.allclose(basis.forward(basis.inverse(x)), x, rtol=0, atol=1e-13)


@every_box
def test_parseval(sizes, periodic):
    x = random_fields(sizes)
    space = tuple(range(2, x.ndim))
    energy = (Basis(sizes, periodic).forward(x) ** 2).sum(dim=space)
    assert torch.allclose(energy, (x**2).sum(dim=space), rtol=1e-13)


@pytest.mark.parametrize("size", [7, 8])
def test_the_waves_are_those_of_scipy(size):
    x = random_fields((size,))
    cosines = f64(fft.dct(x.numpy(), type=2, norm="ortho"))
    assert torch.allclose(Basis((size,), (False,)).forward(x), cosines, rtol=0, atol=1e-13)
    spectrum = torch.fft.fft(x) / math.sqrt(size)
    hartley = spectrum.real - spectrum.imag
    assert torch.allclose(Basis((size,), (True,)).forward(x), hartley, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [7, 8])
def test_a_circulant_covariance_is_diagonal(size):
    """A covariance that depends on the distance around a circle; its spectrum by FFT."""
    index = torch.arange(size)
    around = torch.minimum(index, size - index).double()
    row = torch.exp(-around)
    matrix = row[(index[:, None] - index) % size]
    basis = Basis((size,), (True,))
    turned = basis.forward(basis.forward(matrix).T)
    expected = torch.diag(torch.fft.fft(row.to(torch.complex128)).real)
    assert torch.allclose(turned, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("periodic", "cycles"), [(True, 3), (True, 1), (False, 1.5), (False, 2)])
def test_the_wavenumber_counts_cycles_per_cell(periodic, cycles):
    """A cosine of so many cycles along the dim is made of waves of that wavenumber alone."""
    size = 16
    basis = Basis((size,), (periodic,))
    wave = torch.cos(2 * math.pi * cycles * (torch.arange(size, dtype=torch.float64) + 0.5) / size)
    energy = basis.forward(wave) ** 2
    there = (basis.wavenumber - cycles / size).abs() < 1e-12
    assert energy[~there].max() < 1e-28
    assert float(energy.sum()) == pytest.approx(size / 2, rel=1e-13)


def test_wavenumbers_and_bands_by_hand():
    circle, line = Basis((6,), (True,)), Basis((6,), (False,))
    assert (circle.wavenumber * 6).tolist() == pytest.approx([0, 1, 2, 3, 2, 1])
    assert circle.band.tolist() == [0, 1, 2, 3, 2, 1]
    assert (line.wavenumber * 6).tolist() == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5])
    assert line.band.tolist() == [0, 1, 1, 2, 2, 3]
    # 4 x 8 cells: one cycle along the short dim is as fine as two along the long one.
    box = Basis((4, 8), (True, True))
    assert box.band[1, 0] == box.band[0, 2] == 2
    assert box.band[0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert box.bands == 7  # hypot(4, 4) = 5.66 at the corner
    assert box.band[2, 4] == 6


@every_box
def test_means_by_band(sizes, periodic):
    basis = Basis(sizes, periodic)
    x = random_fields(sizes)
    found = basis.mean_by_band(x)
    assert found.shape == (3, 2, basis.bands)
    for band in range(basis.bands):
        there = basis.band == band
        expected = x[..., there].mean(dim=-1)
        assert torch.allclose(found[..., band], expected, rtol=0, atol=1e-14)
    back = basis.by_band(found)
    assert back.shape == x.shape
    # A band's value is given to all its waves, and is then their mean.
    assert torch.allclose(basis.mean_by_band(back), found, rtol=0, atol=1e-14)


@pytest.mark.parametrize("thin", range(1, 9))
def test_no_band_is_empty(thin):
    """Along the longest dim |k| rises by at most 1, from where another dim's waves already were."""
    for periodic in ((True, True), (False, True), (False, False)):
        for sizes in ((thin, 9), (thin, 64), (thin, thin, 16)):
            basis = Basis(sizes, periodic + periodic[: len(sizes) - 2])
            counts = torch.bincount(basis.band.flatten(), minlength=basis.bands)
            assert counts.min() > 0


@every_box
def test_float32_is_float64_to_its_own_precision(sizes, periodic):
    basis, x = Basis(sizes, periodic), random_fields(sizes)
    rough = basis.forward(x.float())
    assert rough.dtype == torch.float32
    assert torch.allclose(rough.double(), basis.forward(x), rtol=0, atol=2e-6)
    assert basis.mean_by_band(x.float()).dtype == torch.float32


def test_large_waves_keep_their_digits():
    """The finest of 2048 waves alternates; the angle at its last cell is 1023.5 turns."""
    size = 2048
    x = 1 - 2 * (torch.arange(size, dtype=torch.float64) % 2)
    found = Basis((size,), (True,)).forward(x)
    assert float(found[size // 2]) == pytest.approx(math.sqrt(size), rel=1e-14)
    found[size // 2] = 0
    assert found.abs().max() < 1e-11


def test_made_while_sampling_it_serves_autograd():
    basis = Basis((5, 4), (True, False))
    with torch.inference_mode():
        basis.forward(torch.ones(5, 4))
    x = torch.ones(5, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad((basis.forward(x) ** 2).sum(), x)
    assert torch.allclose(gradient, 2 * x, atol=1e-6)


def test_of_a_grid():
    grid = Grid(
        dims=("y", "x"),
        coordinates=((0.0, 1.0, 2.0), (0.0, 1.0)),
        units=("m", "m"),
        boundary=(("wall", "open"), ("periodic", "periodic")),
    )
    assert Basis.of(grid) == Basis((3, 2), (False, True))


def test_wavenumbers_count_distance_where_cells_have_one():
    """Twice as long cells along y: one cycle along both dims of 8 x 16 cells is the same |k|."""
    grid = Grid(
        dims=("y", "x"),
        coordinates=(tuple(2.0 * i for i in range(8)), tuple(float(i) for i in range(16))),
        units=("m", "m"),
        boundary=(("periodic", "periodic"),) * 2,
    )
    basis = Basis.of(grid)
    assert basis.spacing == (2.0, 1.0)
    assert basis.extent == 16.0
    assert basis.wavenumber[1, 0] == basis.wavenumber[0, 1] == 1 / 16
    assert basis.band[1, 0] == basis.band[0, 1] == 1
    assert basis.band[2, 0] == 2


def test_on_a_sphere_a_degree_of_longitude_is_shorter():
    """At 60 degrees half as long as one of latitude: 16 x 32 cells of 1 x 1 degree."""
    grid = Grid(
        dims=("latitude", "longitude"),
        coordinates=(tuple(52.5 + i for i in range(16)), tuple(float(i) for i in range(32))),
        units=("degrees_north", "degrees_east"),
        boundary=(("open", "open"),) * 2,
        geometry="sphere",
    )
    down, across = Basis.of(grid).spacing
    assert across == 1.0
    assert down == pytest.approx(2.0, rel=0.01)
