"""Normalisation with FiLM, and its own way back, against torch's operators one after the other."""

import pytest
import torch
import torch.nn.functional as F

from diffsci.networks._norm import Normalise


def written_out(x, numbers, groups):
    """The same by torch's own operators, each with torch's own gradient."""
    scale, shift = numbers.to(x.dtype).reshape(len(x), -1, *[1] * (x.ndim - 2)).chunk(2, dim=1)
    return F.group_norm(x, groups) * (1 + scale) + shift


def given(cells, dtype=torch.float64, channels=12, seed=0):
    torch.manual_seed(seed)
    x = 3 + 2 * torch.randn(2, channels, *cells, dtype=torch.float64)
    numbers = torch.randn(2, 2 * channels, dtype=torch.float64)
    weight = torch.randn_like(x)
    if len(cells) == 2:
        x = x.contiguous(memory_format=torch.channels_last)
    return x.to(dtype).requires_grad_(), numbers.to(dtype).requires_grad_(), weight.to(dtype)


CASES = [((7,), 3), ((5, 7), 4), ((5, 7), 12), ((5, 7), 1), ((3, 4, 5), 6), ((1, 9), 3)]


@pytest.mark.parametrize(("cells", "groups"), CASES)
def test_output_and_gradients_are_those_of_the_operators(cells, groups):
    x, numbers, weight = given(cells)
    found, wanted = Normalise("group", groups)(x, numbers), written_out(x, numbers, groups)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-13)
    one = torch.autograd.grad(found, (x, numbers), weight)
    other = torch.autograd.grad(wanted, (x, numbers), weight)
    for a, b in zip(one, other, strict=True):
        # Sums of some hundred products in fp64.
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-11)
    with torch.no_grad():
        assert torch.equal(Normalise("group", groups)(x, numbers), found)


def test_gradients_are_finite_differences():
    x, numbers, _ = given((3, 5), channels=4)
    assert torch.autograd.gradcheck(Normalise("group", 2), (x, numbers))
    assert torch.autograd.gradgradcheck(Normalise("group", 2), (x, numbers))


@pytest.mark.parametrize("groups", [3, 12])
def test_in_bf16_it_is_as_near_to_the_truth_as_the_operators(groups):
    x, numbers, weight = given((24, 24), torch.bfloat16, channels=24)
    exact = [each.detach().double().requires_grad_() for each in (x, numbers)]
    truth = torch.autograd.grad(written_out(*exact, groups), exact, weight.double())
    found = torch.autograd.grad(Normalise("group", groups)(x, numbers), (x, numbers), weight)
    theirs = torch.autograd.grad(written_out(x, numbers, groups), (x, numbers), weight)
    for own, other, true in zip(found, theirs, truth, strict=True):
        error, their_error = ((one.double() - true).norm() / true.norm() for one in (own, other))
        # Both round to 8 bits; ours rounds less often on the way.
        assert error <= 1.1 * their_error


@pytest.mark.parametrize("kind", ["group", "cell"])
def test_without_numbers_it_is_the_normalised_field(kind):
    x, _, _ = given((5, 7))
    found = Normalise(kind, 3)(x)
    axes = (1,) if kind == "cell" else (2, 3, 4)
    parts = x.unflatten(1, (-1, 4)) if kind == "group" else x
    mean, variance = parts.mean(axes, keepdim=True), parts.var(axes, keepdim=True, unbiased=False)
    wanted = ((parts - mean) / (variance + 1e-5).sqrt()).reshape(x.shape)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-13)


def test_one_tensor_of_the_field_is_kept_for_the_way_back():
    x, numbers, _ = given((16, 16))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda _: None):
        Normalise("group", 4)(x, numbers)
    assert kept.count(x.numel()) == 1
    assert sum(kept) < 1.1 * x.numel()


def test_gradients_of_each_example_by_torch_func():
    x, numbers, weight = given((5, 7))

    def loss(x, numbers, weight):
        return (Normalise("group", 3)(x[None], numbers[None])[0] * weight).sum()

    found = torch.func.vmap(torch.func.grad(loss))(x.detach(), numbers.detach(), weight)
    (wanted,) = torch.autograd.grad((written_out(x, numbers, 3) * weight).sum(), x)
    assert torch.allclose(found, wanted, rtol=1e-11, atol=1e-11)
