"""What every objective of one call must do: a score of members, each a draw of one random vector.

Those by level have their own laws, in test_objectives.py.
"""

import pytest
import torch

from diffsci.batch import Batch
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.noise import seeded
from diffsci.diffusion.objective import losses
from diffsci.diffusion.objectives.base import Direct
from diffsci.diffusion.schedules.edm import EDM
from diffsci.families import load, names
from diffsci.grid import Grid
from diffsci.networks.base import Ports
from diffsci.networks.unet import UNet

WORDS = [name for name in names("objectives") if issubclass(load("objectives", name), Direct)]
OBJECTIVES = {name: load("objectives", name)() for name in WORDS} | {
    "deterministic, absolute": load("objectives", "deterministic")(error="absolute"),
    "crps of 4, fair": load("objectives", "crps")(members=4, noise=3, fair=1.0),
}
everyone = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
GRID = Grid(
    dims=("x",),
    coordinates=(tuple(map(float, range(6))),),
    units=("1",),
    boundary=(("periodic", "periodic"),),
)


def normal(*shape, seed=0, dtype=torch.float64):
    return seeded(seed)(torch.empty(*shape, dtype=dtype), 0)


def made(objective, dtype=torch.float64):
    """A U-Net with weights that let the random vector reach the output."""
    torch.manual_seed(0)
    ports = Ports(target=2, condition=1, scalars=1, grid=GRID, noise=objective.random)
    network = UNet(channels=(8,), blocks=1, groups=4, embedding=16).build(ports)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Denoiser(network, EDM(), "v", random=objective.random).to(dtype)


def batch(rows=3, mask=None, dtype=torch.float64):
    return Batch(
        target=normal(rows, 2, 6, seed=1, dtype=dtype),
        condition=normal(rows, 1, 6, seed=2, dtype=dtype),
        scalars=normal(rows, 1, seed=3, dtype=dtype),
        mask=mask,
    )


def noise_of(objective, target, seed=4):
    like = objective.noise_like(target)
    return like if not like.numel() else seeded(seed)(like, 0)


def test_those_that_are_known_are_all_of_the_two_kinds():
    kinds = {load("objectives", name)().direct for name in names("objectives")}
    assert kinds == {True, False} and {"crps", "deterministic"} <= set(WORDS)


@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_random_vector_for_each_member(objective, dtype):
    like = objective.noise_like(torch.empty(5, 2, 6, dtype=dtype))
    assert like.shape == (5, objective.count, objective.random) and like.dtype == dtype
    # Members that differ need something that tells them apart.
    assert objective.count == 1 or objective.random > 0
    assert objective.varied == (objective.random > 0)
    assert objective.learned(2, GRID) is None


@everyone
def test_the_score_is_0_where_all_members_are_right_and_more_elsewhere(objective):
    target = normal(4, 2, 6)
    right = target.expand(objective.count, *target.shape)
    assert torch.equal(objective.loss(right, target), torch.zeros_like(target))
    assert (objective.loss(right + 0.3, target) > 0).all()


@everyone
def test_the_score_knows_no_order_place_or_sign(objective):
    found, target = normal(objective.count, 4, 2, 6), normal(4, 2, 6, seed=1)
    score = objective.loss(found, target)
    for other in (
        objective.loss(found.flip(0), target),
        objective.loss(found + 0.7, target + 0.7),
        objective.loss(-found, -target),
    ):
        # Sums of five numbers of about unit size, in another order.
        assert torch.allclose(other, score, rtol=0, atol=1e-14)
    ratio = objective.loss(3 * found, 3 * target) / score
    assert torch.allclose(ratio, ratio[0, 0, 0].expand_as(ratio), rtol=1e-10)
    assert float(ratio[0, 0, 0]) == pytest.approx(9 if "squared" in repr(objective) else 3)


@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_also_where_members_are_equal(objective, dtype):
    """As they are in the first step: what the random vector is scaled by begins at 0."""
    found = torch.zeros(objective.count, 2, 1, 5, dtype=dtype, requires_grad=True)
    score = objective.loss(found, normal(2, 1, 5, dtype=dtype))
    assert score.dtype == dtype
    (gradient,) = torch.autograd.grad(score.sum(), found)
    assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


@everyone
def test_losses_are_the_scores_of_members_made_one_by_one(objective):
    """The network sees them side by side; here each member is a call of its own."""
    denoiser, given = made(objective), batch()
    noise = noise_of(objective, given.target)
    found = losses(denoiser, given, objective, torch.rand(3).double(), noise)
    alone = torch.stack(
        [
            denoiser.direct(
                given.target,
                given.condition,
                given.scalars,
                noise[:, member] if objective.random else None,
            )
            for member in range(objective.count)
        ]
    )
    expected = objective.loss(alone, given.target).flatten(1).mean(dim=1)
    assert torch.allclose(found.loss, expected, rtol=1e-12)
    assert torch.equal(found.error, found.loss.detach()) and not found.error.requires_grad
    assert torch.equal(found.log_sigma, torch.zeros_like(found.loss))


@everyone
def test_levels_and_schedule_do_not_matter(objective):
    denoiser, given = made(objective), batch()
    noise = noise_of(objective, given.target)
    first = losses(denoiser, given, objective, torch.full((3,), 0.1).double(), noise).loss
    denoiser.schedule = load("schedules", "cosine")()
    again = losses(denoiser, given, objective, torch.full((3,), 0.9).double(), noise).loss
    assert torch.equal(first, again)


@everyone
def test_the_target_is_not_seen(objective):
    """A sample may depend on nothing but what is given and the random vector."""
    denoiser, given = made(objective), batch()
    noise = noise_of(objective, given.target)[:, 0] if objective.random else None
    first = denoiser.direct(given.target, given.condition, given.scalars, noise)
    nan = torch.full_like(given.target, torch.nan)
    assert torch.equal(denoiser.direct(nan, given.condition, given.scalars, noise), first)


@everyone
def test_only_cells_that_count_enter(objective):
    mask = torch.zeros(3, 2, 6, dtype=torch.bool)
    mask[0, 0, :2] = True
    mask[1] = True
    denoiser, given, masked = made(objective), batch(), batch(mask=mask)
    noise = noise_of(objective, given.target)
    uniform = torch.rand(3).double()
    whole = losses(denoiser, given, objective, uniform, noise).loss
    found = losses(denoiser, masked, objective, uniform, noise).loss
    assert torch.allclose(found[1], whole[1], rtol=1e-12) and found[2] == 0
    # A change of the truth where it does not count changes nothing.
    masked.target[0, 1] += 5
    masked.target[0, 0, 2:] -= 5
    assert torch.equal(losses(denoiser, masked, objective, uniform, noise).loss, found)
    found[2].backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in denoiser.parameters())


@everyone
def test_a_member_is_a_function_of_its_own_random_vector(objective):
    if not objective.random:
        pytest.skip("has no members that differ")
    denoiser, given = made(objective), batch()
    one, other = normal(3, objective.random, seed=5), normal(3, objective.random, seed=6)

    def made_of(noise):
        return denoiser.direct(given.target, given.condition, given.scalars, noise)

    assert torch.equal(made_of(one), made_of(one.clone()))
    assert ((made_of(one) - made_of(other)).abs().amax(dim=(1, 2)) > 1e-2).all()
    mixed = made_of(torch.stack([one[0], other[1], one[2]]))
    assert torch.allclose(mixed[[0, 2]], made_of(one)[[0, 2]], rtol=1e-12)
    assert torch.allclose(mixed[1], made_of(other)[1], rtol=1e-12)


@everyone
def test_every_weight_that_is_used_learns(objective):
    """And the embedding of the random vector is one of them."""
    denoiser, given = made(objective), batch()
    noise = noise_of(objective, given.target)
    losses(denoiser, given, objective, torch.rand(3).double(), noise).loss.mean().backward()
    # The stem of the target sees zeros: its filters cannot learn, its bias does.
    still = [
        name
        for name, p in denoiser.named_parameters()
        if p.grad is None or not p.grad.abs().max() > 0
    ]
    assert still == ["network.stem.conv.weight"]


@everyone
def test_the_loss_waits_for_nothing_on_the_device(objective):
    """A meta tensor has no values: a host that waits for one raises."""

    class Constant(torch.nn.Module):
        def forward(self, x, told, condition, scalars, noise=None):
            return torch.full_like(x, 0.25)

    like = torch.empty(4, 2, 5, 5, device="meta")
    given = Batch(target=like, mask=torch.ones_like(like, dtype=torch.bool))
    denoiser = Denoiser(Constant(), EDM(), "v", random=objective.random)
    uniform = torch.empty(4, device="meta")
    loss = losses(denoiser, given, objective, uniform, objective.noise_like(like)).loss
    assert loss.shape == (4,)


@everyone
def test_validation_modes_change_nothing(objective):
    denoiser, given = made(objective), batch()
    noise, uniform = noise_of(objective, given.target), torch.rand(3).double()
    plain = losses(denoiser, given, objective, uniform, noise).loss
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            # Nothing is differentiated, so convolutions pad within what they write.
            found = losses(denoiser, given, objective, uniform, noise).loss
            assert torch.allclose(found, plain, rtol=1e-12)
