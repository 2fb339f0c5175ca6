"""Small networks of each member, with inputs, for the tests that hold all of them to one law."""

import torch

from diffsci import families
from diffsci.grid import Grid
from diffsci.networks.base import Ports
from diffsci.networks.mlp import MLP

SMALL = {
    "unet": {"channels": (8, 16)},
    "dit": {"patch": 3, "width": 24, "depth": 2, "heads": 2},
    "mlp": {"width": 24, "depth": 2},
    "deep_ensemble": {"of": MLP(width=24, depth=2), "count": 2},
}
"""Fields that make a member small; one that is not named here is taken as it comes."""

SIZES = [(37,), (17, 23), (5, 7, 11)]
FULL = {"condition": 3, "scalars": 2, "noise": 5, "variance": True}
EVERY = families.names("networks")


def space(*sizes, boundary="open"):
    names = ("w", "z", "y", "x")[4 - len(sizes) :]
    return Grid(
        dims=names,
        coordinates=tuple(tuple(float(i) for i in range(size)) for size in sizes),
        units=("1",) * len(sizes),
        boundary=((boundary, boundary),) * len(sizes),
    )


def ports(*sizes, target=1, boundary="open", **rest):
    given = {"condition": 0, "scalars": 0, **rest}
    return Ports(target=target, grid=space(*sizes, boundary=boundary), **given)


def spec(word, **fields):
    return families.load("networks", word)(**{**SMALL.get(word, {}), **fields})


def inputs(asked, batch=2, dtype=torch.float32, seed=1):
    """x, level, condition, scalars, noise: what the ports ask for, and none of the rest."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random, dtype=torch.float64).to(dtype)

    sizes = asked.grid.sizes
    return (
        draw(batch, asked.target, *sizes),
        draw(batch) / 2,
        draw(batch, asked.condition, *sizes) if asked.condition else None,
        draw(batch, asked.scalars) if asked.scalars else None,
        draw(batch, asked.noise) if asked.noise else None,
    )


def randomised(net, but=()):
    """Zero-initialised ends hide what lies behind them: small random numbers in their place."""
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not parameter.any() and not any(word in name.split(".") for word in but):
                parameter += 0.2 * torch.randn(parameter.shape, generator=random)
    return net


def built(word, asked, ends="random", **fields):
    torch.manual_seed(0)
    net = spec(word, **fields).build(asked).eval()
    return randomised(net) if ends == "random" else net
