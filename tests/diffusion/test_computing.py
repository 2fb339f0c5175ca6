"""How a denoiser's network computes: low precision in it alone, one layout, casts that are kept."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffsci.diffusion.augmentation import level, level_of
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.schedules.edm import EDM
from diffsci.grid import Grid
from diffsci.networks.base import Module, Ports
from diffsci.networks.unet import UNet
from diffsci.runtime import Device

BF16 = Device(precision="bf16")
GRID = Grid(
    dims=("y", "x"),
    coordinates=(tuple(map(float, range(16))), tuple(map(float, range(18)))),
    units=("1", "1"),
    boundary=(("open", "open"), ("periodic", "periodic")),
)


def denoiser(device):
    """Of random weights of about unit gain; the same ones each time."""
    torch.manual_seed(0)
    network = UNet(channels=(16, 32)).build(Ports(target=1, condition=1, scalars=0, grid=GRID))
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return device.laid_out(Denoiser(network, EDM(), "v")).eval()


def given(count=4):
    random = torch.Generator().manual_seed(1)
    return tuple(torch.randn(count, 1, 16, 18, generator=random) for _ in range(2))


class Spy(Module):
    """Remembers how it was called."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.seen = []

    def forward(self, x, level, condition, scalars, noise=None):
        last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
        laid = last and [part.is_contiguous(memory_format=last) for part in (x, condition)]
        self.seen.append((torch.is_autocast_enabled("cpu"), laid))
        return (x * self.weight).to(torch.bfloat16)


@pytest.mark.parametrize("sizes", [(6,), (4, 5), (2, 3, 4)])
def test_fields_are_handed_over_in_the_layout_of_the_filters(sizes):
    spy = Spy()
    model = Device(memory_format="channels_last").laid_out(Denoiser(spy, EDM()))
    x, condition = torch.randn(2, 3, *sizes), torch.randn(2, 2, *sizes)
    one = model(x, torch.tensor(0.5), condition)
    assert spy.seen == [(False, None if len(sizes) == 1 else [True, True])]
    two = Device().laid_out(model)(x, torch.tensor(0.5), condition)
    assert torch.equal(one, two)
    assert spy.seen[1] == (False, None if len(sizes) == 1 else [False, False])


def test_low_precision_is_that_of_the_network_alone():
    """The noise's shape, and what is made of the output, stay in that of the fields."""
    spy, outside = Spy(), []

    def shaping(white):
        outside.append(torch.is_autocast_enabled("cpu"))
        return white

    model = BF16.laid_out(Denoiser(spy, EDM(), shaping=shaping))
    x = model.shaped(torch.randn(2, 1, 4, 4))
    assert model(x, torch.tensor(0.5), x).dtype == torch.float32
    assert (outside, [low for low, _ in spy.seen]) == ([False], [True])


@pytest.mark.parametrize("sigma", [0.002, 0.05, 0.5, 5.0, 80.0])
def test_bf16_costs_no_accuracy(sigma):
    """bfloat16 rounds to 2^-9; over the layers of a network, one per cent of its output v.

    Of the estimate that is 1 % of its part that is v, so next to nothing at low noise; and there is
    no drift: the mean moves by a few thousandths of v.
    """
    x_0, condition = given()
    at = level(EDM(), level_of(EDM(), torch.tensor(sigma)))
    x_t = at.signal_scale * x_0 + at.noise_std * torch.randn_like(x_0)
    with torch.inference_mode():
        full, low = (denoiser(device)(x_t, at.t, condition).double() for device in (Device(), BF16))
        v = denoiser(Device()).output(x_t, at, condition).double()
    part = at.noise_std / at.norm * v.std()
    error = low - full
    assert 0 < error.std() < 0.015 * part
    assert abs(error.mean()) < 0.005 * part
    if sigma == 0.002:
        assert error.std() < 1e-4 * full.std()


@pytest.mark.parametrize(
    "device", [Device(), BF16, Device(precision="bf16", memory_format="channels_last")]
)
def test_without_autograd_the_bits_are_the_same(device):
    model, (x, condition), t = denoiser(device), given(), torch.tensor(0.4)
    kept = model(x, t, condition).detach()
    with torch.no_grad():
        assert torch.equal(model(x, t, condition), kept)
    with torch.inference_mode():
        assert torch.equal(model(x, t, condition), kept)


class Casts(TorchDispatchMode):
    """Counts the casts of a model's weights to bfloat16."""

    def __init__(self, model):
        super().__init__()
        self.weights = {p.data_ptr() for p in model.parameters() if p.ndim > 1}
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype == torch.bfloat16:
            first = args[0] if isinstance(args[0], torch.Tensor) else None
            self.count += first is not None and first.data_ptr() in self.weights
        return out


def test_weights_that_do_not_change_are_cast_once_with_the_same_bits():
    model, (x, condition), t = denoiser(BF16), given(), torch.tensor(0.4)
    with torch.no_grad(), Casts(model) as each:
        apart = [model(x, t, condition) for _ in range(3)]
    with torch.no_grad(), model.unchanged(), Casts(model) as once:
        together = [model(x, t, condition) for _ in range(3)]
    assert all(map(torch.equal, apart, together))
    assert each.count == 3 * once.count > 0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
        with model.unchanged():
            assert not torch.equal(model(x, t, condition), apart[0])


def test_gradients_to_the_fields_are_those_without_kept_casts():
    """Guidance by observations goes back through calls whose casts are kept."""
    model, (x, condition), t = denoiser(BF16), given(), torch.tensor(0.4)

    def gradient():
        field = x.clone().requires_grad_()
        return torch.autograd.grad(model(field, t, condition).square().sum(), field)[0]

    apart = gradient()
    with torch.no_grad(), model.unchanged():
        model(x, t, condition)
        for _ in range(2):
            with torch.enable_grad():
                assert torch.equal(gradient(), apart)
