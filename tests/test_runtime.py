import pytest
import torch
from torch import nn

from diffsci.errors import FieldError
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
    assert Device.of(Runtime(device="cpu")).threads == 2  # 0 leaves them


def test_older_torch_that_cannot_tell_takes_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert Device.of(Runtime(device="cpu")).precision == "fp32"


@pytest.mark.parametrize("conv", [nn.Conv1d, nn.Conv2d])
def test_filters_stay_contiguous_on_the_cpu(conv):
    """Where bits of a resumed run depend on the layout, it must not change behind our back."""
    device = Device(name="cpu", precision="fp32", threads=1)
    assert device.laid_out(nn.Sequential(conv(4, 4, 3)))[0].weight.is_contiguous()


@pytest.mark.gpu
def test_two_dim_filters_lie_channels_last_on_a_card():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device = Device(name="cuda", precision="fp32", threads=1)
    flat = device.laid_out(nn.Sequential(nn.Conv2d(4, 4, 3)))
    assert flat[0].weight.is_contiguous(memory_format=torch.channels_last)
