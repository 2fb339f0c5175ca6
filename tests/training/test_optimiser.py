import numpy as np
import pytest
import torch

from diffsci.diffusion.objective import losses
from diffsci.diffusion.objectives.likelihood import Likelihood
from diffsci.diffusion.objectives.uncertainty import Uncertainty
from diffsci.training.ema import assign
from diffsci.training.optimiser import LEARNED_SPEED, adamw
from tests.training.tiny import TinyExamples, tiny_denoiser, tiny_section, tiny_train

OBJECTIVES = [Uncertainty(), *(Likelihood(per=per) for per in ("channel", "pixel", "wavenumber"))]


def test_a_learned_variance_goes_ten_times_as_fast_and_does_not_decay():
    """Adam's first step is the rate, whatever the gradient; a weight at 0 shows no decay."""
    objective = Likelihood(per="channel")
    denoiser = tiny_denoiser(objective=objective)
    section = tiny_section(steps=1, warmup=4, objective=objective, weight_decay=0.5)
    bias = denoiser.network.last.bias
    before = bias.detach().clone()
    (step,) = tiny_train(denoiser, TinyExamples(), section)
    weight = denoiser.learned.weight.detach()
    seen = weight.abs()[weight != 0]
    # The eps of 1e-8 shows where gradients are small.
    assert seen.max().item() == pytest.approx(LEARNED_SPEED * step.lr, rel=1e-4)
    assert (seen <= LEARNED_SPEED * step.lr * (1 + 1e-5)).all()
    moved = (bias.detach() - (1 - 0.5 * step.lr) * before).abs()
    assert moved.item() == pytest.approx(step.lr, rel=1e-4)
    groups = adamw(denoiser, section, torch.device("cpu")).param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_the_optimiser_has_every_parameter_once_in_the_order_of_names(objective):
    """Checkpoints name its moments by that order."""
    denoiser = tiny_denoiser(objective=objective)
    optimiser = adamw(denoiser, tiny_section(), torch.device("cpu"))
    listed = [p for group in optimiser.param_groups for p in group["params"]]
    names = [id(p) for _, p in denoiser.named_parameters()]
    assert [id(p) for p in listed] == names


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_variance_is_learned_averaged_and_told_apart_from_the_error(objective):
    """With u = 0 the likelihood is the plain error; what was learned makes it lower.

    Small data, whose v is known well at much noise: there is something to learn.
    """
    section = tiny_section(
        steps=50, lr=2e-2, objective=objective, drop_scalars=0.0, condition_noise=0.0
    )
    denoiser = tiny_denoiser(objective=objective)
    small, others = TinyExamples(64), TinyExamples(200, seed=1)
    small.target *= 0.2
    others.target *= 0.2
    *_, last = tiny_train(denoiser, small, section)
    assign(denoiser.eval(), last.state().ema)
    batch = others.batch(np.arange(200))
    noise = torch.randn(batch.target.shape)
    with torch.no_grad():
        found = losses(denoiser, batch, objective, (torch.arange(200) + 0.5) / 200, noise)
    assert found.loss.mean() < 0.5 * found.error.mean()
    assert all(error > 0 for error in last.by_level.values())
