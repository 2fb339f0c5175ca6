"""Spherical log-spectral distance: power of each total wavenumber on the whole sphere.

A field is a sum of harmonics Y(l, m) = P(l, m; sin latitude) exp(i m longitude), whose squares have
the mean 1 over the sphere. Coefficients are found by a Fourier transform along the rows, then an
integral over the latitudes whose weights are exact for polynomials of a degree below the number of
rows, so that fields of l up to half of it come out exactly, and the sum over l of the power is the
area mean of their square (Parseval).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from diffsci.errors import DataError
from diffsci.evaluation.scores.base import Pairs, Score
from diffsci.evaluation.scores.spectrum import log_distance


@lru_cache(maxsize=4)
def _quadrature(latitudes: tuple[float, ...]) -> Float[np.ndarray, " row"]:
    """Weights of an integral over sin(latitude) from -1 to 1, exact for polynomials."""
    x = np.sin(np.deg2rad(latitudes))
    # The integrals of Legendre polynomials are 2, 0, 0, ...; points crowd towards the poles, which
    # keeps the system well conditioned.
    values = np.polynomial.legendre.legvander(x, len(x) - 1)
    return np.asarray(np.linalg.solve(values.T, 2.0 * (np.arange(len(x)) == 0)))


def spherical_spectrum(
    fields: Float[np.ndarray, "field latitude longitude"], latitudes: Float[np.ndarray, " latitude"]
) -> Float[np.ndarray, "field wavenumber"]:
    """Power of each total wavenumber from 0.

    Args:
        fields: On rows of equally spaced longitudes all around.
        latitudes: Of the rows in degrees, from pole to pole.

    Returns:
        Square of the fields' unit; the sum is the area mean of the square of a smooth field.

    Source:
        Legendre functions by the recursion over l of Holmes, Featherstone (2002),
        doi:10.1007/s00190-002-0216-2, without its scaling: good to l = 1000 or so.
    """
    rows, width = fields.shape[1:]
    last = min((rows - 1) // 2, (width - 1) // 2)
    x = np.sin(np.deg2rad(latitudes))
    weights = _quadrature(tuple(latitudes.tolist())) / 2
    waves = np.fft.rfft(fields, axis=2)[:, :, : last + 1] / width
    power = np.zeros((len(fields), last + 1))
    sectoral = np.ones(rows)  # P(m, m), whose square has the mean 1 over -1 to 1.
    for m in range(last + 1):
        if m:
            sectoral = sectoral * np.sqrt((2 * m + 1) / (2 * m)) * np.sqrt(1 - x**2)
        before, now = np.zeros(rows), sectoral
        weighed = (waves[:, :, m] * weights).T
        legendre = np.empty((last + 1 - m, rows))
        for degree in range(m, last + 1):
            legendre[degree - m] = now
            scale = np.sqrt((2 * degree + 3) / ((degree + 1) ** 2 - m**2))
            lower = np.sqrt((degree**2 - m**2) / max(2 * degree - 1, 1))
            before, now = now, scale * (np.sqrt(2 * degree + 1) * x * now - lower * before)
        found = np.abs(legendre @ weighed) ** 2
        power[:, m:] += (1 if m == 0 else 2) * found.T
    return power


@dataclass(frozen=True, kw_only=True)
class SphericalSpectrum(Score):
    """Log-spectral distance of members and truth by total wavenumber, on the whole sphere.

    Source:
        Boer, Shepherd (1983), Large-scale two-dimensional turbulence in the atmosphere,
        doi:10.1175/1520-0469(1983)040<0164:LSTDTI>2.0.CO;2.
    """

    goal = "0"

    def statistics(self, pairs: Pairs) -> Float[np.ndarray, "case statistic"]:
        """Mean power of members, then power of the truth, from wavenumber 1."""
        latitudes = _whole_sphere(pairs)
        count = pairs.members.shape[1]
        members = np.zeros(0)
        for number in range(count):
            found = spherical_spectrum(pairs.members[:, number], latitudes)[:, 1:] / count
            members = members + found if members.size else found
        truth = spherical_spectrum(pairs.truth, latitudes)[:, 1:]
        return np.concatenate([members, truth], axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """Root mean square of the log ratio."""
        return log_distance(means)

    def unit(self, unit: str) -> str:
        """None."""
        return "1"


def _whole_sphere(pairs: Pairs) -> Float[np.ndarray, " latitude"]:
    """The latitudes, once it is known that they and the rows go all around."""
    advice = "take `spectrum` or `zonal_spectrum`"
    if pairs.latitudes is None or pairs.truth.ndim != 3:
        raise DataError(f"spherical_spectrum: needs latitudes and longitudes; {advice}")
    latitudes = np.sort(pairs.latitudes)
    step = float(np.diff(latitudes).max()) if len(latitudes) > 1 else 180.0
    reach = max(latitudes[0] + 90, 90 - latitudes[-1])
    if len(latitudes) < 4 or reach > 1.01 * step or not (pairs.periodic and pairs.periodic[1]):
        raise DataError(
            f"spherical_spectrum: needs the whole sphere, and the grid has latitudes "
            f"{latitudes[0]:g} to {latitudes[-1]:g}; {advice}"
        )
    return np.asarray(pairs.latitudes)
