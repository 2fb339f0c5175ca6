"""How every network is computed: derivatives, precision, compiled, counted, saved, copied."""

import copy
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.networks.members import EVERY, FULL, built, inputs, ports, spec

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(params=EVERY)
def word(request):
    return request.param


def test_checkpointing_changes_no_bit_and_keeps_less(word):
    """Dropout too: its random state is kept for the second pass."""
    asked = ports(13, 11, **FULL)
    has_dropout = "dropout" in {field.name for field in dataclasses.fields(spec(word))}
    net = built(word, asked, **({"dropout": 0.3} if has_dropout else {})).train()
    given = inputs(asked)
    found, kept = [], []
    for checkpointing in (False, True):
        net.checkpointing = checkpointing
        net.zero_grad()
        sizes = []
        torch.manual_seed(5)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
        ):
            out = net(*given)
            kept.append(sum(sizes))
        out.square().sum().backward()
        found.append([out.detach(), *(parameter.grad.clone() for parameter in net.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert kept[1] < kept[0]


def test_bf16_is_near_fp32(word):
    """bf16 rounds to 2^-9 of a value; a dozen layers in a row stay below 2^-5, root mean square."""
    asked = ports(17, 23, **FULL)
    net, given = built(word, asked), inputs(asked)
    exact = net(*given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = net(*given).float()
    assert 0 < (near - exact).square().mean() < 2**-10 * exact.square().mean()


def test_weights_survive_a_file_without_pickles(word, tmp_path):
    asked = ports(17, 23, **FULL)
    net, given = built(word, asked), inputs(asked)
    state = net.state_dict()
    # Weights alone: what the description and the grid tell is computed again.
    assert set(state) == {name for name, _ in net.named_parameters()}
    save_file(state, tmp_path / "weights.safetensors")
    torch.manual_seed(123)
    other = spec(word).build(asked).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    assert torch.equal(other(*given), net(*given))


# Forward derivatives of some operations are written in what torch itself calls deprecated.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_first_and_second_derivatives_in_float64(word):
    """Against central differences of step 1e-5: their error is its square times third derivatives.

    1e-6 allows for those to be 1e4 times the first; rounding adds 1e-16 / 1e-5.
    """
    asked = ports(7, boundary="periodic", **FULL)
    net = built(word, asked).double()
    x, *rest = inputs(asked, batch=1, dtype=torch.float64)

    def out(x):
        return net(x, *rest)

    def slope(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(out(x).square().sum(), x, create_graph=True)[0], x

    jacobian = torch.autograd.functional.jacobian(out, x).reshape(-1, 7)
    along = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    step = 1e-5 * along.reshape(1, 1, 7)
    central = (out(x + step) - out(x - step)).flatten() / 2e-5
    assert (jacobian @ along - central).abs().max() < 1e-6 * central.abs().max()
    forward = torch.func.jvp(out, (x,), (step * 1e5,))[1].flatten()
    assert (forward - jacobian @ along).abs().max() < 1e-12 * central.abs().max()
    first, at = slope(x)
    second = torch.autograd.grad((first.flatten() * along).sum(), at)[0]
    central = (slope(x + step)[0] - slope(x - step)[0]) / 2e-5
    assert (second - central).abs().max() < 1e-6 * central.abs().max()


def test_works_without_autograd(word):
    asked = ports(12, **FULL)
    net, given = built(word, asked), inputs(asked)
    with torch.inference_mode():
        assert torch.equal(net(*given), net(*given))
    with torch.no_grad():
        bare = net(*given)
    assert torch.equal(net(*given), bare)


def test_flops_are_counted_without_numbers(word):
    """On the meta device nothing is computed or held: `check` counts a network of any size so."""
    asked = ports(13, 11, **FULL)
    given = inputs(asked)
    counts = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            net = spec(word).build(asked)
        counter = FlopCounterMode(display=False)
        # The counter knows no formula of the CPU's fused attention.
        with counter, sdpa_kernel(SDPBackend.MATH):
            net(*[one.to(device) for one in given])
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 2 * 13 * 11


def test_a_copy_is_the_same_network(word):
    """The mean of weights is such a copy: nothing in a module may be shared or forgotten."""
    asked = ports(12, **FULL)
    net, given = built(word, asked), inputs(asked)
    twin = copy.deepcopy(net)
    assert torch.equal(twin(*given), net(*given))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert twin(*given).any() and not net(*given).any()


COMPILED = """
import sys, torch
from diffsci import families
from tests.networks.members import FULL, built, inputs, ports
asked = ports(13, 11, boundary="periodic", **FULL)
for word in families.names("networks"):
    net, given = built(word, asked), inputs(asked)
    with torch.inference_mode():
        fast, plain = torch.compile(net, backend=sys.argv[1], fullgraph=True)(*given), net(*given)
    assert (fast - plain).abs().max() <= float(sys.argv[2]) * plain.abs().max(), word
    print(word)
"""
"""Run apart: the shape checks of a test run are no part of the graph."""


@pytest.mark.parametrize(
    ("backend", "tolerance"),
    [
        # The tracer alone, in one graph with no break, runs the same kernels: the same bits.
        ("eager", 0.0),
        # Fused kernels add in another order: rounding of fp32 over a dozen layers.
        pytest.param("inductor", 1e-4, marks=pytest.mark.slow),
    ],
)
def test_compiled_code_equals_eager(backend, tolerance):
    command = [sys.executable, "-W", "ignore", "-c", COMPILED, backend, str(tolerance)]
    told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert told.stdout.split() == list(EVERY), told.stderr
