import copy
import os
from dataclasses import replace

import pytest
import torch
import torch._dynamo
from torch import nn

from diffsci import runtime
from diffsci.errors import ConfigError, FieldError, shown
from diffsci.networks.base import Module
from diffsci.runtime import Device
from diffsci.sections import Runtime


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def machine(monkeypatch):
    """Stand-ins for what this machine has."""

    def has(*, cuda=0, mps=False, bf16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(
            torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16}, raising=False
        )

    return has


def test_auto_takes_the_best_there_is(machine):
    machine()
    assert (Device.of(Runtime()).name, Device.of(Runtime()).precision) == ("cpu", "fp32")
    machine(bf16=True)
    assert Device.of(Runtime()).precision == "bf16"
    assert Device.of(Runtime(precision="fp32")).precision == "fp32"
    machine(mps=True)
    assert Device.of(Runtime()).name == "mps"
    machine(cuda=1, mps=True)
    assert (Device.of(Runtime()).name, Device.of(Runtime()).precision) == ("cuda", "bf16")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_what_is_not_there_is_refused(machine, name):
    machine()
    with pytest.raises(FieldError, match=r"runtime\.device.*expected cpu or auto"):
        Device.of(Runtime(device=name))


def test_a_card_too_many_is_refused(machine):
    machine(cuda=2)
    assert Device.of(Runtime(device="cuda:1")).name == "cuda:1"
    with pytest.raises(FieldError, match="cuda:0 to cuda:1"):
        Device.of(Runtime(device="cuda:2"))


def test_threads_are_set_and_recorded():
    assert Device.of(Runtime(device="cpu", threads=2)).threads == 2
    assert torch.get_num_threads() == 2
    assert Device.of(Runtime(device="cpu")).threads == 2  # auto leaves them
    assert Device.of(Runtime(device="cpu", threads=0)).threads == 2


def test_older_torch_that_cannot_tell_takes_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert Device.of(Runtime(device="cpu")).precision == "fp32"


def test_deterministic_is_usual_on_the_cpu_and_asked_for_on_cuda(machine, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    assert Device.of(Runtime(device="cpu")).deterministic
    assert not Device.of(Runtime(device="cpu", deterministic=False)).deterministic
    machine(cuda=1)
    assert not Device.of(Runtime(device="cuda")).deterministic
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    assert Device.of(Runtime(device="cuda", deterministic=True)).deterministic
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


def test_what_has_no_deterministic_algorithm_is_told():
    said = "scatter does not have a deterministic implementation, but you set"
    expected = r"runtime\.deterministic: expected false: .* on cpu \(RuntimeError: scatter does not"
    with pytest.raises(ConfigError, match=expected), Device().explaining():
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match="scatter"), Device(deterministic=False).explaining():
        raise RuntimeError(said)


def test_sharding_leaves_what_it_cannot_do(machine):
    machine()
    device = Device.of(Runtime(device="cpu", sharding="full", precision="fp32"))
    assert device.sharded and not device.compiles and device.memory_format == "contiguous"
    begun = {"device": "cpu", "compile": True, "memory_format": "channels_last"}
    assert device.as_begun(Runtime(sharding="full"), begun) == device
    for key, value in {"compile": True, "memory_format": "channels_last", "device": "mps"}.items():
        with pytest.raises(FieldError, match=f"{key}: got {shown(value)}.*sharding: full"):
            Runtime(sharding="full", **{key: value})


class Stack(Module):
    """Convolutions in one, two and three dims and a table that is no filter."""

    def __init__(self):
        super().__init__()
        self.line, self.plane = nn.Conv1d(4, 4, 3), nn.Conv2d(4, 4, 3)
        self.box = nn.Conv3d(4, 4, 3)
        self.table = nn.Parameter(torch.zeros(2, 3, 4, 5))

    def forward(self, x, level, condition, scalars, noise=None):
        return 2 * x + level[:, None, None, None]


CPU = Device()
SIDE_BY_SIDE = Device(memory_format="channels_last")


def formats(stack):
    """Whether each filter, and the table, is contiguous and has its channels last."""
    return {
        "line": (stack.line.weight.is_contiguous(), None),
        "plane": tuple(
            stack.plane.weight.is_contiguous(memory_format=f)
            for f in (torch.contiguous_format, torch.channels_last)
        ),
        "box": tuple(
            stack.box.weight.is_contiguous(memory_format=f)
            for f in (torch.contiguous_format, torch.channels_last_3d)
        ),
        "table": (stack.table.is_contiguous(), None),
    }


def test_filters_lie_as_asked_and_lie_back():
    """Filters alone: in one dim, and in tables, there is nothing to gain."""
    stack = Stack()
    names, values = list(stack.state_dict()), [v.clone() for v in stack.state_dict().values()]
    rest = {"line": (True, None), "table": (True, None)}
    assert formats(CPU.laid_out(stack)) == rest | {"plane": (True, False), "box": (True, False)}
    found = formats(SIDE_BY_SIDE.laid_out(stack))
    assert found == rest | {"plane": (False, True), "box": (False, True)}
    assert formats(CPU.laid_out(stack)) == rest | {"plane": (True, False), "box": (True, False)}
    assert list(stack.state_dict()) == names
    assert all(map(torch.equal, stack.state_dict().values(), values))


def test_auto_lays_channels_last_where_it_was_measured_to_be_faster(machine):
    for there, wanted in (({"cuda": 1}, "channels_last"), ({}, "channels_last")):
        machine(**there)
        assert Device.of(Runtime()).memory_format == wanted
        assert Device.of(Runtime(memory_format="contiguous")).memory_format == "contiguous"
    machine(mps=True)
    assert Device.of(Runtime()).memory_format == "contiguous"


def test_it_says_how_it_computes():
    device = Device(precision="bf16", memory_format="channels_last", compile=True, threads=3)
    assert str(device) == "cpu (bf16, channels last, compiled)"
    assert (
        str(Device(compile="auto", checkpointing=True)) == "cpu (fp32, contiguous, checkpointing)"
    )
    assert device.record() == {
        "device": "cpu",
        "precision": "bf16",
        "threads": 3,
        "compile": True,
        "memory_format": "channels_last",
    }
    assert Device(compile="auto").record()["compile"] is False


@pytest.fixture
def compiler(monkeypatch):
    """Torch's compiler without its slow back end, there or not."""
    monkeypatch.setattr(runtime, "BACKEND", "eager")
    torch._dynamo.reset()

    def says(why):
        monkeypatch.setattr(runtime, "cannot_compile", lambda name: why)

    says(None)
    yield says
    torch._dynamo.reset()


def test_compiling_leaves_names_values_and_results(compiler):
    stack = Stack()
    names, x = list(stack.state_dict()), torch.randn(2, 4, 5, 5)
    call = x, torch.zeros(2), None, None
    plain = stack(*call)
    Device(compile=True).laid_out(stack)
    assert torch.equal(stack(*call), plain)
    assert torch._dynamo.utils.counters["frames"]["ok"] >= 1
    assert list(stack.state_dict()) == names == list(copy.deepcopy(stack).state_dict())
    seen = torch._dynamo.utils.counters["frames"]["total"]
    with runtime.as_written(stack):
        stack(x[:1], torch.zeros(1), None, None)
    assert torch._dynamo.utils.counters["frames"]["total"] == seen
    stack(x[:1], torch.zeros(1), None, None)
    assert torch._dynamo.utils.counters["frames"]["total"] == seen + 1
    CPU.laid_out(stack)
    stack(x[:1, :, :4], torch.zeros(1), None, None)
    assert torch._dynamo.utils.counters["frames"]["total"] == seen + 1


def test_where_torch_cannot_compile_true_is_refused_and_auto_does_without(compiler):
    compiler("InvalidCxxCompiler: no compiler")
    fix = r"runtime\.compile: got true.*auto or false.*no compiler.*g\+\+"
    with pytest.raises(FieldError, match=fix):
        Device.of(Runtime(device="cpu", compile=True))
    assert Device.of(Runtime(device="cpu")).compiled_for(1e30).compile is False


def test_a_compiler_that_is_not_there_is_found_out(monkeypatch):
    def missing(*args, **kwargs):
        raise RuntimeError("No working C++ compiler found\nand more")

    monkeypatch.setattr(torch, "compile", missing)
    asked = runtime.cannot_compile.__wrapped__
    assert asked("cpu") == "RuntimeError: No working C++ compiler found"
    assert "MPS" in asked("mps")


def test_auto_compiles_long_runs_alone(compiler):
    card = Device(name="cuda", compile="auto")
    assert card.compiled_for(1e15).compile is False
    assert card.compiled_for(1e20).compile is True
    assert replace(card, compile=False).compiled_for(1e20).compile is False
    assert replace(card, compile=True).compiled_for(0.0).compile is True
    assert Device(name="mps", compile="auto").compiled_for(1e20).compile is False


def test_auto_goes_on_as_begun_on_the_same_kind_of_device(compiler):
    begun = Device(precision="bf16", memory_format="channels_last", compile=True).record()
    now = Device(compile="auto")
    found = now.as_begun(Runtime(), begun)
    assert (found.precision, found.memory_format, found.compile) == ("bf16", "channels_last", True)
    elsewhere = now.as_begun(Runtime(), begun | {"device": "cuda:1"})
    assert (elsewhere.precision, elsewhere.memory_format) == ("bf16", "contiguous")
    assert elsewhere.compile == "auto"
    asked = Runtime(precision="fp32", memory_format="contiguous", compile=False)
    kept = now.as_begun(asked, begun)
    assert (kept.precision, kept.memory_format, kept.compile) == ("fp32", "contiguous", "auto")
    assert now.as_begun(Runtime(), {}) == now
    compiler("no compiler any more")
    assert now.as_begun(Runtime(), begun).compile is False


def test_checkpointing_is_turned_on_where_the_rest_would_not_fit(monkeypatch):
    monkeypatch.setattr(runtime.memory, "free", lambda name: 1000)
    auto = Device(checkpointing="auto")
    assert auto.checkpointing_for(700).checkpointing is False
    tight = auto.checkpointing_for(900)
    assert tight.checkpointing is True
    assert tight.laid_out(Stack()).checkpointing is True
    assert CPU.laid_out(tight.laid_out(Stack())).checkpointing is False
    assert replace(auto, checkpointing=False).checkpointing_for(900).checkpointing is False


def test_what_a_compiled_network_throws_is_told_as_such():
    compiled = Device(compile=True)
    told = pytest.raises(runtime.CompileError, match=r"runtime\.compile.*false.*theirs")
    with told, compiled.explaining():
        raise AssertionError("theirs\nmore")
    with pytest.raises(AssertionError), CPU.explaining():
        raise AssertionError("ours")
    with pytest.raises(FieldError), compiled.explaining():
        raise FieldError("field", 1, "2")


@pytest.mark.gpu
def test_two_dim_filters_lie_channels_last_on_a_card():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device = Device.of(Runtime(device="cuda"))
    flat = device.laid_out(nn.Sequential(nn.Conv2d(4, 4, 3)))
    assert flat[0].weight.is_contiguous(memory_format=torch.channels_last)
