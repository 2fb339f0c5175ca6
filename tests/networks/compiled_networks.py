"""Every network, compiled: run by `test_compiled` as a program."""

import sys

import torch

from diffsci import families
from diffsci.grid import Grid
from diffsci.networks.base import Ports
from diffsci.networks.mlp import MLP

SMALL = {
    "unet": {"channels": (8, 16), "attention": (1,)},
    "dit": {"width": 24, "depth": 2, "heads": 2},
    "mlp": {"width": 24, "depth": 2},
    "deep_ensemble": {"of": MLP(width=24, depth=2), "count": 2},
}
PORTS = Ports(
    target=2,
    condition=1,
    scalars=1,
    grid=Grid(
        dims=("y", "x"),
        coordinates=(tuple(map(float, range(9))), tuple(map(float, range(13)))),
        units=("1", "1"),
        boundary=(("open", "wall"), ("periodic", "periodic")),
    ),
)


def main(backend: str, *words: str) -> None:
    """Outputs and gradients are those of the network as written, in one graph without a break."""
    torch.set_num_threads(1)
    for word in words or families.names("networks"):
        torch.manual_seed(0)
        torch._dynamo.reset()
        network = families.load("networks", word)(**SMALL.get(word, {})).build(PORTS)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        fields = torch.randn(3, 2, 9, 13), torch.randn(3, 1, 9, 13)
        call = fields[0], torch.randn(3), fields[1], torch.randn(3, 1)
        found = []
        for compiled in (False, True, True):
            if compiled and not found[1:]:
                network.compile(backend=backend, dynamic=False, fullgraph=True)
            out = network(*call)
            out.square().mean().backward()
            found.append([out, *(p.grad for p in network.parameters())])
            network.zero_grad(set_to_none=True)
        written, compiled, again = found
        for one, other, third in zip(written, compiled, again, strict=True):
            # Sums of some hundred products in fp32, in any order.
            torch.testing.assert_close(other, one, atol=1e-4, rtol=1e-3)
            assert torch.equal(other, third), f"{word}: twice the same gives two results"


if __name__ == "__main__":
    main(*sys.argv[1:])
