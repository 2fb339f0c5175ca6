import numpy as np
import pytest
import torch

from diffsci.diffusion.objective import losses
from diffsci.diffusion.objectives.likelihood import Likelihood
from diffsci.diffusion.objectives.uncertainty import Uncertainty
from diffsci.training.ema import assign
from diffsci.training.optimiser import LEARNED_SPEED, adamw, learning_rate, set_rate
from tests.training.tiny import TinyExamples, tiny_denoiser, tiny_section, tiny_train

OBJECTIVES = [Uncertainty(), *(Likelihood(per=per) for per in ("channel", "pixel", "wavenumber"))]


def test_a_learned_variance_goes_ten_times_as_fast_and_does_not_decay():
    """Adam's first step is the rate, whatever the gradient; a weight at 0 shows no decay."""
    objective = Likelihood(per="channel")
    denoiser = tiny_denoiser(objective=objective)
    section = tiny_section(steps=1, warmup=4, objective=objective, weight_decay=0.5)
    filters = denoiser.network.last.weight
    before = filters.detach().clone()
    (step,) = tiny_train(denoiser, TinyExamples(), section)
    weight = denoiser.learned.weight.detach()
    seen = weight.abs()[weight != 0]
    # The eps of 1e-8 shows where gradients are small.
    assert seen.max().item() == pytest.approx(LEARNED_SPEED * step.lr, rel=1e-4)
    assert (seen <= LEARNED_SPEED * step.lr * (1 + 1e-5)).all()
    moved = (filters.detach() - (1 - 0.5 * step.lr) * before).abs()
    assert moved.max().item() == pytest.approx(step.lr, rel=1e-4)
    groups = adamw(denoiser, section, torch.device("cpu")).param_groups
    told = [(group["weight_decay"], group["speed"]) for group in groups]
    assert told == [(0.5, 1.0), (0.0, 1.0), (0.0, LEARNED_SPEED)]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_the_optimiser_has_every_parameter_once(objective, decay):
    denoiser = tiny_denoiser(objective=objective)
    optimiser = adamw(denoiser, tiny_section(weight_decay=decay), torch.device("cpu"))
    listed = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in denoiser.parameters())


def test_only_filters_and_matrices_decay():
    """A gradient of 0 leaves decay alone: w (1 - rate decay) in the first step."""
    denoiser = tiny_denoiser()
    before = {name: p.detach().clone() for name, p in denoiser.named_parameters()}
    optimiser = adamw(denoiser, tiny_section(weight_decay=0.5), torch.device("cpu"))
    set_rate(optimiser, 0.1)
    for p in denoiser.parameters():
        p.grad = torch.zeros_like(p)
    optimiser.step()
    kept = {name: (p.detach() / before[name]).mean().item() for name, p in _named(denoiser)}
    for name, ratio in kept.items():
        expected = 1.0 if name.endswith("bias") else 1 - 0.1 * 0.5
        assert ratio == pytest.approx(expected, rel=1e-6), name
    (group,) = adamw(denoiser, tiny_section(weight_decay=0.0), torch.device("cpu")).param_groups
    assert group["params"] == list(denoiser.parameters())


def _named(module):
    return list(module.named_parameters())


def test_rates_by_their_closed_forms():
    def rates(**changes):
        section = tiny_section(steps=100, warmup=10, lr=2.0, **changes)
        return [learning_rate(step, section) for step in range(100)]

    for schedule in ("cosine", "constant", "cooldown"):
        rising = rates(schedule=schedule)[:10]
        assert rising == pytest.approx([2.0 * (k + 1) / 10 for k in range(10)], rel=1e-15)
    assert rates(schedule="constant")[10:] == [2.0] * 90
    cosine = rates(lr_end=0.1)
    assert cosine[10] == 2.0 and cosine[55] == pytest.approx(2.0 * 0.55, rel=1e-15)
    # Constant up to step 75; a quarter of the way down the root has fallen by half.
    cooldown = rates(schedule="cooldown", cooldown=0.25, lr_end=0.1)
    assert cooldown[10:76] == [2.0] * 66
    for step in range(76, 100):
        fallen = 1 - ((step - 75) / 25) ** 0.5
        assert cooldown[step] == pytest.approx(2.0 * (0.1 + 0.9 * fallen), rel=1e-14)
    assert rates(schedule="cooldown", cooldown=1.0)[25] == pytest.approx(2.0 * 0.5, rel=1e-15)
    # A cooldown that begins within the rise goes on from where it would have been.
    assert all(0 <= rate <= 2.0 for rate in rates(schedule="cooldown", cooldown=0.95))


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
