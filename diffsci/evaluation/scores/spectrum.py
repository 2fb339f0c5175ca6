"""Log-spectral distance: are the members as rough as the truth, at every scale.

The power of a field is summed over shells of equal total wavenumber, averaged over members and
cases, and only then compared: root mean square over shells of ln(member power / truth power). The
other order, logarithm first, would punish a single calm day.

A field that does not close on itself has a jump at its edge whose spectrum falls as k^-2 and hides
everything steeper. So the mean is removed and a Hann window (of mean square 1) applied along each
axis that is not periodic; along periodic axes the transform is exact and Parseval's identity holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from diffsci.errors import DataError
from diffsci.evaluation.scores import _arrays
from diffsci.evaluation.scores._arrays import Array
from diffsci.evaluation.scores.base import Pairs, Score

_ROUNDING = 1e-12


def _shells(sizes: tuple[int, ...]) -> np.ndarray:
    """Shell of each Fourier coefficient: waves across the longest side, rounded."""
    total = np.zeros(sizes)
    for axis, size in enumerate(sizes):
        shape = [1] * len(sizes)
        shape[axis] = size
        total = total + (np.fft.fftfreq(size) ** 2).reshape(shape)
    return np.asarray(np.rint(np.sqrt(total) * max(sizes)), dtype=np.int64)


def power_spectrum(
    fields: Float[Array, " field *space"], periodic: tuple[bool, ...] = ()
) -> Float[Array, "field shell"]:
    """Power of each field in each shell of waves across the longest side, from 0 to the corners.

    Args:
        fields: Any unit; any number of space axes.
        periodic: Which of them close on themselves and need no window; empty: none.

    Returns:
        Square of the fields' unit; the sum over shells is the variance of a periodic field.
    """
    sizes = fields.shape[1:]
    space = tuple(range(1, fields.ndim))
    fields = fields - fields.mean(axis=space, keepdims=True)
    for axis, size in enumerate(sizes):
        if size > 1 and not (periodic and periodic[axis]):
            window = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
            shape = [1] * fields.ndim
            shape[axis + 1] = size
            window = (window / np.sqrt((window**2).mean())).reshape(shape)
            fields = fields * _arrays.beside(window, fields)
    cells = int(np.prod(sizes))
    power = abs(_arrays.fourier(fields, space)) ** 2 / cells**2
    return _arrays.grouped(power.reshape(len(fields), -1), _shells(sizes).ravel())


def log_distance(means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
    """Root mean square of the log ratio of the first half, of members, to the second, of truth."""
    members, truth = np.split(means, 2, axis=-1)
    # Below this share of the strongest shell lies the rounding of float32 fields, not physics.
    floor = _ROUNDING * truth.max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(np.maximum(members, floor)) - np.log(np.maximum(truth, floor))
        ratio = np.where((members == 0) & (truth == 0), 0.0, ratio)
    return np.asarray(np.sqrt((ratio**2).mean(axis=-1)))


@dataclass(frozen=True, kw_only=True)
class Spectrum(Score):
    """Log-spectral distance of members and truth: 0.1 is about 10 % of power at a typical scale."""

    goal = "0"
    anywhere = True

    def statistics(self, pairs: Pairs) -> Float[Array, "case statistic"]:
        """Mean power of members, then power of the truth, in shells 1 to half the longest side."""
        last = max(pairs.truth.shape[1:]) // 2
        if last < 1:
            raise DataError("spectrum: a field of one cell has no scales; leave this score out")
        count = pairs.members.shape[1]
        members = _arrays.beside(np.zeros((len(pairs.truth), last)), pairs.truth)
        for member in range(count):  # one at a time keeps the complex copies small
            members += power_spectrum(pairs.members[:, member], pairs.periodic)[:, 1 : last + 1]
        truth = power_spectrum(pairs.truth, pairs.periodic)[:, 1 : last + 1]
        return _arrays.lib(truth).concatenate([members / count, truth], axis=1)

    def value(self, means: Float[np.ndarray, "*sets statistic"]) -> Float[np.ndarray, "*sets"]:
        """Root mean square of the log ratio; power below 1e-12 of the peak counts as that."""
        return log_distance(means)

    def unit(self, unit: str) -> str:
        """None."""
        return "1"
