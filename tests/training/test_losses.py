"""What fields count in the loss."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives.crps import CRPS
from diffsci.diffusion.objectives.deterministic import Deterministic
from diffsci.diffusion.objectives.edm import EDM as Objective
from diffsci.diffusion.schedules.edm import EDM as Schedule
from diffsci.training.losses import Loss

WEIGHTS = (0.5, 0.25, 2.25)


class Field(nn.Module):
    """The same field of three channels, whatever is asked."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.zeros(3, 1))

    def forward(self, x, level, condition, scalars, noise=None):
        return self.value.expand_as(x) + 0 * x


def batch(count=400, mask=None):
    target = torch.randn(count, 3, 8, generator=torch.Generator().manual_seed(0))
    return Batch(target=target, mask=mask)


def loss_of(objective, given, weights=None):
    module = Loss(Denoiser(Field(), Schedule(), "v"), objective, weights=weights)
    uniform = torch.linspace(0.01, 0.99, len(given))
    noise = torch.randn(
        objective.noise_like(given.target).shape, generator=torch.Generator().manual_seed(1)
    )
    return module, module(given, uniform, noise).loss


@pytest.mark.parametrize("objective", [Objective(), Deterministic(), CRPS(members=2)])
def test_the_loss_is_the_weighted_mean_of_that_of_each_field(objective):
    given = batch()
    only = torch.eye(3, dtype=torch.bool)[:, None, :, None].expand(3, 400, 3, 8)
    alone = torch.stack([loss_of(objective, replace(given, mask=k))[1] for k in only])
    _, plain = loss_of(objective, given)
    _, found = loss_of(objective, given, WEIGHTS)
    assert torch.allclose(plain, alone.mean(dim=0), rtol=1e-5)
    assert torch.allclose(found, torch.tensor(WEIGHTS) @ alone / 3, rtol=1e-5)


def test_what_counts_more_pulls_more():
    module, loss = loss_of(Deterministic(), batch(), (0.5, 1.0, 1.5))
    loss.mean().backward()
    pulled = module.denoiser.network.value.grad[:, 0]
    module, loss = loss_of(Deterministic(), batch())
    loss.mean().backward()
    assert torch.allclose(
        pulled, module.denoiser.network.value.grad[:, 0] * torch.tensor([0.5, 1.0, 1.5])
    )


def test_missing_cells_go_on_to_count_nothing():
    mask = torch.rand(400, 3, 8, generator=torch.Generator().manual_seed(2)) < 0.7
    given = batch(mask=mask)
    _, before = loss_of(Deterministic(), given, WEIGHTS)
    _, after = loss_of(Deterministic(), replace(given, target=given.target.where(mask, 9)), WEIGHTS)
    assert torch.equal(before, after)
    # The mean over cells that count, of w e^2: a field counts as much where another one is missing.
    squared = torch.tensor(WEIGHTS)[:, None] * given.target**2 * mask
    assert torch.allclose(before, squared.sum(dim=(1, 2)) / mask.sum(dim=(1, 2)), rtol=1e-5)


def test_weights_are_no_part_of_the_model():
    module, _ = loss_of(Deterministic(), batch(), WEIGHTS)
    assert set(module.state_dict()) == {f"denoiser.{n}" for n in module.denoiser.state_dict()}
