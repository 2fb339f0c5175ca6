"""How training computes: compiled as not, one read of the device a step, and layouts."""

import sys

import pytest
import torch
import torch._dynamo
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from diffsci import runtime
from diffsci.runtime import CompileError, Device
from diffsci.training import checkpoint
from tests.training.tiny import TinyExamples, digest, tiny_denoiser, tiny_section, tiny_train

READS = {"tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "item"}


class Reads(TorchFunctionMode):
    """Names of what makes the host wait for a device, but for levels, read on the CPU alone."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        if name in READS and not _checks_levels():
            self.found.append(name)
        return func(*args, **(kwargs or {}))


class Hidden(TorchDispatchMode):
    """The same as they arrive below Python, in torch's own functions."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        packet = getattr(func, "overloadpacket", func)
        waits = (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal)
        if packet in waits and not _checks_levels():
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


def _checks_levels():
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "check_levels":
            return True
        frame = frame.f_back
    return False


@pytest.mark.parametrize("device", [Device(), Device(precision="bf16")])
def test_a_step_reads_the_device_once(device):
    """The loss, the gradient norm and the loss by level come in one piece."""
    steps = tiny_train(
        tiny_denoiser(),
        TinyExamples(),
        tiny_section(log_every=99, validate_every=99),
        device=device,
    )
    next(steps)
    for _ in range(2):
        with Reads() as reads, Hidden() as hidden:
            next(steps)
        assert reads.found == ["tolist"]
        assert hidden.found == []


def run(device, resume=None, steps=12):
    """Digest of each state, and the states."""
    section = tiny_section(steps=steps)
    found = []
    denoiser = tiny_denoiser()
    for step in tiny_train(
        denoiser, TinyExamples(), section, valid=TinyExamples(7, 1), device=device, resume=resume
    ):
        found.append((digest(step.state()), step))
    return found, denoiser


@pytest.fixture
def backend(monkeypatch):
    """Choose the compiler's back end; graphs of other tests are forgotten."""
    torch._dynamo.reset()
    yield lambda name: monkeypatch.setattr(runtime, "BACKEND", name)
    torch._dynamo.reset()


def resumed_is_uninterrupted(folder, device):
    whole, _ = run(device)
    stopped = []
    for step in tiny_train(
        tiny_denoiser(), TinyExamples(), tiny_section(), valid=TinyExamples(7, 1), device=device
    ):
        stopped.append(step)
        if step.step == 5:
            checkpoint.save(folder, step.state(), keep=1)
            break
    torch._dynamo.reset()  # as in another process
    state = checkpoint.newest(folder, pytest.fail)
    rest, denoiser = run(device, resume=state)
    assert [one for one, _ in rest] == [one for one, _ in whole[5:]]
    assert not [name for name in denoiser.state_dict() if "_orig_mod" in name]
    assert state.settings["runtime.compile"] is device.compiles
    return whole


def test_a_compiled_run_that_goes_on_gives_the_bits_of_one_that_was_not_stopped(tmp_path, backend):
    """With dropout, a buffer and a weight that layers share; the back end that compiles nothing."""
    backend("aot_eager")
    compiled = resumed_is_uninterrupted(tmp_path, Device(compile=True))
    plain, _ = run(Device())
    # Of the same operations: rounding apart, the same losses.
    for (_, one), (_, other) in zip(compiled, plain, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's compiler about torch
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_with_machine_code(tmp_path, backend, precision):
    """Its own dropout draws other numbers, from the same seed: so only the run itself compares."""
    backend("inductor")
    if (why := runtime.cannot_compile("cpu")) is not None:
        pytest.skip(why)
    resumed_is_uninterrupted(tmp_path, Device(compile=True, precision=precision))


def test_what_the_compiler_throws_in_a_step_is_told(backend):
    def broken(graph, inputs):
        raise AssertionError("no code for this")

    backend(broken)
    with pytest.raises(CompileError, match=r"runtime\.compile.*no code for this"):
        run(Device(compile=True))


def test_the_checkpoint_says_how_it_was_made():
    found, _ = run(Device(precision="bf16", memory_format="channels_last"), steps=1)
    settings = found[0][1].state().settings
    kept = {name: value for name, value in settings.items() if name.startswith("runtime.")}
    assert kept == {
        "runtime.device": "cpu",
        "runtime.precision": "bf16",
        "runtime.threads": 1,
        "runtime.compile": False,
        "runtime.memory_format": "channels_last",
    }
