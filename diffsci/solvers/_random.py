"""Random smooth fields as initial states: functions of seed and number, whatever the grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from diffsci.solvers._spectral import Waves, resized

_POINTS = 64
"""Of the grid on which the random numbers are drawn: 31 waves along each dim."""


def smooth(
    seed: int,
    numbers: np.ndarray,
    amplitude: Callable[[Tensor], Tensor],
    std: float,
    waves: Waves,
) -> Complex[Tensor, "trajectory *waves"]:
    """Coefficients of Gaussian fields of mean 0 and one standard deviation over space each.

    Args:
        seed: Of the set.
        numbers: Of the trajectories.
        amplitude: Of a wave, by the length of its wave vector.
        std: Of each field over space, all its waves counted.
        waves: Of the grid; waves of the fields that it does not resolve are left out.
    """
    dims = len(waves.axes)
    side = 2 * torch.pi / float(waves.axes[-1].flatten()[1])
    drawn = Waves.build(_POINTS, dims, side)
    shape = (_POINTS,) * dims
    white = np.stack(
        [
            np.random.Generator(np.random.Philox([seed, int(number)])).standard_normal(shape)
            for number in numbers
        ]
    )
    v = drawn.to_waves(torch.from_numpy(white)) * amplitude(drawn.squared.sqrt())
    v = v * (drawn.shells > 0)
    space = tuple(range(1, dims + 1))
    v = v * (std / drawn.to_space(v).square().mean(dim=space, keepdim=True).sqrt())
    here = Waves.build(waves.points, dims, side)
    return resized(v, drawn, here) * here.resolved
