"""Scores of the four PDE problems, as their definitions have them, of members held in memory.

Arrays are `[case, member, lead, channel, *space]` and `[case, lead, channel, *space]`, in physical
units on a periodic box. What `scores.csv` has too is computed by the same classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffsci.evaluation.scores.correlation_time import CorrelationTime
from diffsci.evaluation.scores.crps import crps
from diffsci.evaluation.scores.spectrum import power_spectrum

LEVEL = 0.8
"""Of the high-correlation time."""


def correlation(members: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Pearson correlation in space, `[case, member, lead]`, channels taken as one field."""
    a = members.reshape(*members.shape[:3], -1).astype(np.float64)
    b = truth.reshape(*truth.shape[:2], -1).astype(np.float64)[:, None]
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1)))


def followed(found: np.ndarray, leads: Sequence[float]) -> np.ndarray:
    """Time of each case at which its correlation `[case, lead]` falls below the level."""
    statistics = np.asarray(found).T[..., None]
    return CorrelationTime(level=LEVEL).along(statistics, tuple(leads))[0, :, 0]


def times(members: np.ndarray, truth: np.ndarray, leads: Sequence[float]) -> dict[str, float]:
    """High-correlation times: of trajectories, of the mean curve, of the ensemble mean."""
    found = correlation(members, truth)
    each = np.stack([followed(found[:, m], leads) for m in range(found.shape[1])])
    by_case = each.mean(axis=0)
    mean = correlation(members.mean(axis=1, keepdims=True), truth)[:, 0]
    curve = np.nan_to_num(found, nan=-1.0).mean(axis=(0, 1))[None]
    return {
        "time": float(by_case.mean()),
        "time_error": float(by_case.std(ddof=1) / np.sqrt(len(by_case))),
        "time_of_curve": float(followed(curve, leads)[0]),
        "time_of_mean": float(followed(mean, leads).mean()),
    }


def ensemble(members: np.ndarray, truth: np.ndarray, lead: int) -> dict[str, float]:
    """Fair CRPS and spread over skill at one lead, all channels and cells alike."""
    some, known = members[:, :, lead].astype(np.float64), truth[:, lead].astype(np.float64)
    count = some.shape[1]
    error = ((some.mean(axis=1) - known) ** 2).mean()
    spread = np.nan if count == 1 else some.var(axis=1, ddof=1).mean() * (count + 1) / count
    return {
        "crps": float(crps(some, known).mean()),
        "ssr": float(np.sqrt(spread / error)) if error > 0 else float("nan"),
    }


def vrmse(members: np.ndarray, truth: np.ndarray, lead: int) -> np.ndarray:
    """VRMSE of the ensemble mean at one lead, `[case, channel]`; the variance is Bessel's."""
    space = tuple(range(2, truth.ndim - 1))
    mean, known = members[:, :, lead].mean(axis=1).astype(np.float64), truth[:, lead]
    error = ((mean - known) ** 2).mean(axis=space)
    return np.asarray(np.sqrt(error / (known.astype(np.float64).var(axis=space, ddof=1) + 1e-7)))


def bands(members: np.ndarray, truth: np.ndarray, leads: slice) -> list[float]:
    """Log-spectral distance in three bands, equally wide in log k, up to 2/3 of all waves."""
    size = truth.shape[-1]
    periodic = (True,) * (truth.ndim - 3)

    def spectrum(fields: np.ndarray) -> np.ndarray:
        flat = fields.reshape(-1, *truth.shape[3:]).astype(np.float64)
        return np.asarray(power_spectrum(flat, periodic).mean(axis=0))[1 : last + 1]

    last = size // 3
    found, known = spectrum(members[:, :, leads]), spectrum(truth[:, leads])
    # Below this share of the strongest shell lies the rounding of float32, as in the score.
    floor = 1e-12 * known.max()
    ratio = np.log(np.maximum(found, floor) / np.maximum(known, floor))
    k = np.arange(1, last + 1)
    band = np.minimum((3 * np.log(k) / np.log(last)).astype(int), 2)
    return [float(np.sqrt((ratio[band == b] ** 2).mean())) for b in range(3)]


def bias_of_power(members: np.ndarray, truth: np.ndarray, leads: slice) -> float:
    """Mean square of the fields over that of the truth, minus 1."""
    found, known = members[:, :, leads].astype(np.float64), truth[:, leads].astype(np.float64)
    return float((found**2).mean() / (known**2).mean() - 1)


def vorticity(fields: np.ndarray) -> np.ndarray:
    """v_x - u_y of `[..., (u, v), y, x]` on a box of side 2 pi, as `[..., 1, y, x]`."""
    k_y, k_x = _waves(fields.shape[-1])
    c = np.fft.fft2(fields.astype(np.float64))
    return np.fft.ifft2(1j * (k_x * c[..., 1, :, :] - k_y * c[..., 0, :, :])).real[..., None, :, :]


def divergence(fields: np.ndarray) -> float:
    """Largest <(div u)^2> / <|grad u|^2> of any frame."""
    k_y, k_x = _waves(fields.shape[-1])
    c = np.fft.fft2(fields.astype(np.float64))
    power = np.abs(k_x * c[..., 0, :, :] + k_y * c[..., 1, :, :]) ** 2
    slope = (k_x**2 + k_y**2) * (np.abs(c) ** 2).sum(axis=-3)
    return float((power.sum(axis=(-1, -2)) / slope.sum(axis=(-1, -2))).max())


def mass_error(members: np.ndarray, given: np.ndarray) -> float:
    """Largest |<eta_t> - <eta_0>| over the deviation of the given eta, which is channel 0."""
    space = (-1, -2)
    first = given[:, 0].astype(np.float64)
    now = members[:, :, :, 0].astype(np.float64).mean(axis=space)
    off = np.abs(now - first.mean(axis=space)[:, None, None])
    return float((off / first.std(axis=space)[:, None, None]).max())


def energy(fields: np.ndarray) -> np.ndarray:
    """<(1 + eta)(u^2 + v^2) / 2 + eta^2 / 2> of `[..., (eta, u, v), y, x]`."""
    eta, u, v = (fields[..., n, :, :].astype(np.float64) for n in range(3))
    return np.asarray(((1 + eta) * (u**2 + v**2) / 2 + eta**2 / 2).mean(axis=(-1, -2)))


def dressed(forecast: np.ndarray, residuals: np.ndarray, members: int, seed: int = 0) -> np.ndarray:
    """One forecast as an ensemble: each member has the residual of a validation case, all leads.

    Args:
        forecast: `[case, 1, lead, channel, *space]`.
        residuals: Truth minus forecast of validation cases, `[case, lead, channel, *space]`.
        members: How many, different cases each.
        seed: Of the choice.
    """
    random = np.random.default_rng(seed)
    made = np.repeat(forecast, members, axis=1)
    for case in range(len(forecast)):
        made[case] += residuals[random.permutation(len(residuals))[:members]]
    return made


def _waves(size: int) -> tuple[np.ndarray, np.ndarray]:
    k = np.fft.fftfreq(size, 1 / size)
    k[size // 2] = 0  # The wave that only alternates has no slope on the points.
    return k[:, None], k[None, :]
