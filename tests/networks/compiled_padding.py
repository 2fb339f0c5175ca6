"""Padding before a convolution, compiled: run by `test_padding_in_torch` as a program."""

import sys

import torch

from diffsci.networks._padding import pad
from tests.networks.edges import EDGES


def main(backend: str) -> None:
    """Each boundary gives what it gives uncompiled, values and gradients."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name in ("ring", "mixed", "rounded up", "box"):
        edges = EDGES[name]
        torch._dynamo.reset()
        conv = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)[len(edges.sizes) - 1](3, 4, 3)
        x = torch.randn(2, 3, *edges.sizes)
        if len(edges.sizes) == 2:
            x, conv = (part.to(memory_format=torch.channels_last) for part in (x, conv))

        def run(x, edges=edges, conv=conv):
            return conv(pad(x.sin(), 1, edges, (1,)))

        quick = torch.compile(run, backend=backend, fullgraph=True)
        one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        out, same = run(one), quick(other)
        out.square().sum().backward()
        same.square().sum().backward()
        # Sums of at most 3 * 27 products of order 1 in fp32, in any order.
        torch.testing.assert_close(same, out, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(other.grad, one.grad, atol=1e-4, rtol=1e-4)
        with torch.no_grad():
            torch.testing.assert_close(quick(x), out, atol=1e-5, rtol=1e-5)


if __name__ == "__main__":
    main(sys.argv[1])
