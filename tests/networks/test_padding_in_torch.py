"""Padding within torch: its derivatives, layouts, transforms and compilation."""

import subprocess
import sys

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from diffsci.networks._padding import pad
from tests.networks.edges import EDGES, field


@pytest.mark.parametrize("name", EDGES)
def test_the_derivative_is_the_adjoint_to_any_order(name):
    """<pad x, y> = <x, pad' y>; the second derivative of what is linear is 0, of its square not."""
    edges, odd = EDGES[name], (1,)
    x = field(edges).requires_grad_()
    out = pad(x, 1, edges, odd)
    y = torch.randn_like(out, requires_grad=True)
    (back,) = torch.autograd.grad(out, x, y, create_graph=True)
    assert torch.allclose((out * y).sum(), (x * back).sum(), rtol=1e-12)
    (again,) = torch.autograd.grad((back * x.detach()).sum(), y)
    assert torch.equal(again, out)
    small = x.detach()[:1].requires_grad_()
    assert torch.autograd.gradcheck(lambda z: pad(z, 1, edges, odd), small, fast_mode=True)
    assert torch.autograd.gradgradcheck(
        lambda z: pad(z, 1, edges, odd).square(), small, fast_mode=True
    )


@pytest.mark.parametrize("name", ["mixed", "half off", "between", "box", "levels"])
def test_layout_and_dtype_are_kept(name):
    edges = EDGES[name]
    last = torch.channels_last if len(edges.sizes) == 2 else torch.channels_last_3d
    for layout in (torch.contiguous_format, last):
        x = field(edges, channels=3, dtype=torch.float32).to(torch.bfloat16)
        x = x.contiguous(memory_format=layout).requires_grad_()
        out = pad(x, 1, edges)
        assert out.is_contiguous(memory_format=layout) and out.dtype == torch.bfloat16
        out.backward(torch.ones_like(out))
        assert x.grad.is_contiguous(memory_format=layout) and x.grad.dtype == torch.bfloat16
        # Means are taken in fp32 and rounded once.
        assert torch.equal(out, pad(x.float(), 1, edges).bfloat16())


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, within jvp
@pytest.mark.parametrize("name", ["ring", "mixed", "between", "levels"])
def test_torch_can_transform_it(name):
    """Maps, forward derivatives, checkpoints, inference, autocast, and shapes alone."""
    edges = EDGES[name]
    x = torch.stack([field(edges), field(edges)])

    def padded(z):
        return pad(z, 1, edges, (0,))

    both = torch.stack([padded(one) for one in x])
    assert torch.equal(torch.func.vmap(padded)(x), both)
    (_, along) = torch.func.jvp(padded, (x[0],), (x[1],))
    assert torch.allclose(along, padded(x[1]), rtol=0, atol=1e-15)
    one = x[0, :1]
    rows, columns = torch.func.jacrev(padded)(one), torch.func.jacfwd(padded)(one)
    assert torch.allclose(rows, columns, atol=1e-15)
    squares = torch.func.vmap(torch.func.grad(lambda z: padded(z).square().sum()))(x)
    leaf = x.clone().requires_grad_()
    checkpoint(lambda z: torch.stack([padded(one) for one in z]).square(), leaf,
               use_reentrant=False).sum().backward()  # fmt: skip
    assert torch.allclose(leaf.grad, squares, rtol=1e-12)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(padded(x[0]), both[0])
    assert padded(x[0].to("meta")).shape == both[0].shape


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_it_is_compiled_without_a_break(backend):
    """In a process of its own, since checks of shapes cannot be compiled."""
    run = [sys.executable, "-m", "tests.networks.compiled_padding", backend]
    done = subprocess.run(run, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
