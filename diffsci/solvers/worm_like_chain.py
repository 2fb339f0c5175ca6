"""Worm-like chains: bonds of length 1, each of which likes to go on as the one before.

A polymer such as DNA or an unfolded protein, held at one end by a wall: the energy of a bend is
-stiffness cos(angle), in units of the temperature, between the wall's normal and the first bond and
between each bond and the next. In equilibrium each bond is drawn given the one before, from the von
Mises-Fisher law on the sphere. With L = coth(stiffness) - 1 / stiffness, the mean cosine of a bend,

    E[bond i . bond j] = L^|i - j|,    E[bond i . normal] = L^i  for i = 1, 2, ...

A state is the bonds' components; sums along the chain are positions. No dynamics is solved: frames
of a trajectory are equilibrium states that are far apart in time.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr
from jaxtyping import Float

from diffsci import __version__
from diffsci.errors import require
from diffsci.solvers.base import Solver

_COMPONENTS = ("along", "across", "aside")


@dataclass(frozen=True, kw_only=True)
class WormLikeChain(Solver):
    """Worm-like chains in 3-D, a stiffness for each: bonds with a law in closed form.

    Args:
        bonds: Of a chain.
        stiffest: Largest stiffness; that of a trajectory is drawn between `softest` and it, its
            logarithm uniformly.
        softest: Smallest stiffness.
        trajectories: How many chains; chain i is the same for any number of them.
        frames: Independent states of each.
        seed: Of the chains.

    Source:
        Kratky, Porod (1949), doi:10.1002/recl.19490681203; Fisher (1953),
        doi:10.1098/rspa.1953.0064.
    """

    bonds: int = 12
    softest: float = 1.0
    stiffest: float = 30.0
    trajectories: int = 8192
    frames: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        # One bond would make a dim of one cell, which data takes for none.
        require(self.bonds >= 2, "bonds", self.bonds, "2 or more")
        for name in ("trajectories", "frames"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(0 < self.softest < math.inf, "softest", self.softest, "a finite number above 0")
        expected = f"a finite number, softest={self.softest:g} or more"
        fits = self.softest <= self.stiffest < math.inf
        require(fits, "stiffest", self.stiffest, expected)
        require(self.seed >= 0, "seed", self.seed, "0 or more")

    def __call__(self) -> xr.Dataset:
        """Bonds' parts `along` the wall's normal, `across` and `aside`; each chain's stiffness."""
        numbers = range(self.trajectories)
        randoms = [np.random.Generator(np.random.Philox([self.seed, n])) for n in numbers]
        ratio = math.log(self.stiffest / self.softest)
        stiffness = self.softest * np.exp(ratio * np.array([one.random() for one in randoms]))
        uniform = np.stack([one.random((self.frames, self.bonds, 2)) for one in randoms])
        bonds = chain(np.repeat(stiffness[:, None], self.frames, axis=1), uniform)
        dims = ("sample", "time", "bond")
        return xr.Dataset(
            {
                **{
                    name: (dims, bonds[..., axis].astype(np.float32), {"units": "1"})
                    for axis, name in enumerate(_COMPONENTS)
                },
                "stiffness": (
                    "sample",
                    stiffness.astype(np.float32),
                    {"units": "1", "long_name": "energy of a bend over temperature"},
                ),
            },
            coords={
                "sample": ("sample", np.arange(self.trajectories), {"long_name": "chain"}),
                "time": ("time", np.arange(float(self.frames)), {"units": "1"}),
                "bond": ("bond", np.arange(1.0, self.bonds + 1), {"units": "1"}),
            },
            attrs={
                "title": "Worm-like chains",
                "boundary": "open",
                "source": f"diffsci {__version__}",
                **asdict(self),
            },
        )


def chain(
    stiffness: Float[np.ndarray, "*chain"], uniform: Float[np.ndarray, "*chain bond 2"]
) -> Float[np.ndarray, "*chain bond 3"]:
    """Unit vectors of the bonds, drawn one given the other.

    Args:
        stiffness: Of each chain.
        uniform: Numbers from 0 to 1 that become the bends and their directions.
    """
    share, turn = uniform[..., 0], 2 * np.pi * uniform[..., 1]
    inverse = 1 / stiffness[..., None]
    # The law of the cosine is exponential, cut off at -1 and 1: its distribution, inverted.
    cosine = 1 + inverse * np.log(share + (1 - share) * np.exp(-2 / inverse))
    sine = np.sqrt(np.maximum(0.0, 1 - cosine**2))
    bond = np.broadcast_to([1.0, 0.0, 0.0], (*cosine.shape[:-1], 3))
    found = []
    for number in range(uniform.shape[-2]):
        first, second = _upright(bond)
        bend = [cosine, sine * np.cos(turn), sine * np.sin(turn)]
        parts = zip(bend, (bond, first, second), strict=True)
        bond = np.sum([part[..., number, None] * axis for part, axis in parts], axis=0)
        # Rounding must not add up along the chain.
        bond = bond / np.linalg.norm(bond, axis=-1, keepdims=True)
        found.append(bond)
    return np.stack(found, axis=-2)


def _upright(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors at right angles to unit vectors, and to each other."""
    # Crossed with the coordinate axis that it is farthest from, so that the length is not near 0.
    helper = np.eye(3)[np.abs(axis).argmin(axis=-1)]
    first = np.cross(axis, helper)
    first = first / np.linalg.norm(first, axis=-1, keepdims=True)
    return first, np.cross(axis, first)
