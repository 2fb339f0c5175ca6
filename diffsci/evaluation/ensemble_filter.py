"""The ensemble transform Kalman filter: a reference for assimilation, with a model that is known.

It weighs members anew by what is observed, in the space that they span:

    P_w = ((m - 1) / inflation I + Y^T R^-1 Y)^-1,  w = P_w Y^T R^-1 (y - mean of H x),
    x_k <- mean + X (w + column k of ((m - 1) P_w)^(1/2)),

with X the members and Y = H X their observations, both less their means. For a linear H and normal
errors mean and covariance of the result are those of the Kalman filter for the covariance that the
members have.

Source: Hunt, Kostelich and Szunyogh (2007), Efficient data assimilation for spatiotemporal chaos,
doi:10.1016/j.physd.2006.11.008, without localisation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

from diffsci.errors import require


def analysed(
    members: Float[np.ndarray, "member state"],
    seen: Float[np.ndarray, "member observation"],
    values: Float[np.ndarray, " observation"],
    errors: Float[np.ndarray, " observation"],
    inflation: float = 1.0,
) -> Float[np.ndarray, "member state"]:
    """Members after the observations.

    Args:
        members: Before them.
        seen: H of each member.
        values: What is observed.
        errors: Standard deviations of its errors, which are independent.
        inflation: Factor of the members' covariance before.
    """
    count = len(members)
    require(count >= 2, "members", count, "2 or more")
    require(inflation > 0, "inflation", inflation, "more than 0")
    if not len(values):
        return members
    mean, own = members.mean(axis=0), seen.mean(axis=0)
    x, y = members - mean, (seen - own) / errors
    precision = (count - 1) / inflation * np.eye(count) + y @ y.T
    eigenvalues, vectors = np.linalg.eigh(precision)
    weight = vectors @ ((vectors.T @ (y @ ((values - own) / errors))) / eigenvalues)
    root = (vectors * np.sqrt((count - 1) / eigenvalues)) @ vectors.T
    made: np.ndarray = mean + (weight + root) @ x
    return made


def filtered(
    members: Float[np.ndarray, "member state"],
    forecast: Callable[[np.ndarray], np.ndarray],
    observe: Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]],
    frames: int,
    inflation: float = 1.0,
) -> Iterator[Float[np.ndarray, "member state"]]:
    """The members of each frame, given what is observed up to it.

    Args:
        members: Of the first frame, before anything is observed.
        forecast: From members of one frame to those of the next.
        observe: `(frame, members) -> (H of each member, values, errors)`.
        frames: How many.
        inflation: Factor of the members' covariance before each analysis.
    """
    for frame in range(frames):
        if frame:
            members = forecast(members)
        members = analysed(members, *observe(frame, members), inflation)
        yield members
