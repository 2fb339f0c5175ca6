"""What every operator must do: be linear, have the right transpose, and leave examples apart."""

from dataclasses import dataclass

import pytest
import torch

from diffsci.diffusion.operators.base import Operator, check_adjoint
from diffsci.errors import ConfigError, FieldError
from diffsci.families import load, names

SPACES = [(13,), (7, 10), (5, 4, 7)]
"""Odd and even sizes, none of which is a multiple of 3; cells of a field: 13 to 140."""


def variants(dims):
    """Settings of each member, for fields with so many space dims and two channels."""
    first, last = (0,) * dims, tuple(range(1, dims + 1))
    return {
        "points": [
            {"every": 3},
            {"every": tuple(range(2, dims + 2)), "channels": (1,)},
            {"at": (first, last)},
            {"at": (last,), "channels": (1, 0)},
        ],
        "block_mean": [{}, {"factor": 3}, {"factor": tuple(range(2, dims + 2))}, {"factor": 50}],
        "line_mean": [{"axis": axis} for axis in range(dims)],
        "mask": [
            {"start": (1,) * dims, "stop": (4,) * dims},
            {"start": (1,) * dims, "stop": (3,) * dims, "inside": False, "channels": (1,)},
        ],
        "low_pass": [{}, {"cutoff": 0.3, "periodic": False}],
    }


def make(name, fields):
    return load("operators", name)(**fields)


ALL = [
    (name, fields, space)
    for space in SPACES
    for name in names("operators")
    for fields in variants(len(space))[name]
]


def label(value):
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value)


everyone = pytest.mark.parametrize(("name", "fields", "space"), ALL, ids=label)


def field(space, rows=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 2, *space, generator=generator, dtype=torch.float64)


@everyone
def test_it_is_linear_and_its_adjoint_is_the_transpose(name, fields, space):
    """To rounding: sums of at most 280 products of numbers of order 1."""
    operator, x, z = make(name, fields), field(space), field(space, seed=1)
    seen = operator.apply(x)
    assert torch.allclose(
        operator.apply(2 * x - 3 * z), 2 * seen - 3 * operator.apply(z), rtol=0, atol=1e-12
    )
    y = torch.randn_like(seen)
    back = operator.adjoint(y, x)
    assert back.shape == x.shape
    for row in range(3):
        assert float((seen[row] * y[row]).sum()) == pytest.approx(
            float((x[row] * back[row]).sum()), abs=1e-12
        )
    check_adjoint(operator, x)


@everyone
def test_it_sees_something_and_not_all(name, fields, space):
    """Else nothing here could fail."""
    operator = make(name, fields)
    rank = torch.linalg.matrix_rank(dense(operator, space))
    assert 0 < rank < field(space)[0].numel()


def dense(operator, space):
    """H as a matrix, column by column."""
    count = field(space)[0].numel()
    unit = torch.eye(count, dtype=torch.float64).reshape(count, 2, *space)
    return operator.apply(unit).flatten(1).T


@everyone
def test_examples_are_seen_alone(name, fields, space):
    operator, x = make(name, fields), field(space)
    seen = operator.apply(x)
    assert torch.allclose(operator.apply(x[[2]]), seen[[2]], rtol=0, atol=1e-14)
    back = operator.adjoint(seen, x)
    assert torch.allclose(operator.adjoint(seen[[1]], x[:1]), back[[1]], rtol=0, atol=1e-14)


@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_stays(name, fields, space, dtype):
    operator, x = make(name, fields), field(space).to(dtype)
    seen = operator.apply(x)
    assert seen.dtype == operator.adjoint(seen, x).dtype == dtype


@everyone
def test_a_device_is_never_waited_for(name, fields, space):
    """A meta tensor has no values: reading one raises. So are shapes known without a field."""
    operator, x = make(name, fields), field(space)
    ghost = x.to("meta")
    seen = operator.apply(ghost)
    assert seen.device.type == operator.adjoint(seen, ghost).device.type == "meta"
    assert seen.shape == operator.apply(x).shape
    check_adjoint(operator, ghost)


@everyone
def test_inference_mode_leaves_nothing_behind_that_autograd_refuses(name, fields, space):
    operator = make(name, fields)
    x = field(tuple(size + 4 for size in space), rows=1)  # sizes that no other test has cached
    with torch.inference_mode():
        seen = operator.apply(x)
    x.requires_grad_()
    (found,) = torch.autograd.grad(operator.apply(x), x, torch.ones_like(seen).clone())
    assert torch.allclose(found, operator.adjoint(torch.ones_like(seen), x), rtol=0, atol=1e-13)


def test_points_are_the_cells_asked_for():
    x = field((7, 10))
    every = make("points", {"every": (3, 4), "channels": (1,)}).apply(x)
    assert torch.equal(every, x[:, 1:, [0, 3, 6]][..., [0, 4, 8]])
    at = make("points", {"at": ((2, 9), (0, 1))}).apply(x)
    assert torch.equal(at, torch.stack([x[:, :, 2, 9], x[:, :, 0, 1]], dim=2))


def test_block_means_by_hand():
    """The last block of 7 cells in threes has one cell."""
    x = torch.arange(7.0)[None, None]
    assert make("block_mean", {"factor": 3}).apply(x).tolist() == [[[1.0, 4.0, 6.0]]]
    square = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert make("block_mean", {"factor": 2}).apply(square).tolist() == [
        [[[2.5, 4.5], [10.5, 12.5]]]
    ]


def test_line_means_by_hand():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert make("line_mean", {"axis": 0}).apply(x).tolist() == [[[1.5, 2.5, 3.5]]]
    assert make("line_mean", {"axis": 1}).apply(x).tolist() == [[[1.0, 4.0]]]


def test_a_mask_is_a_box_its_rest_or_cells_one_by_one():
    x = field((7, 10))
    box = make("mask", {"start": (1, 2), "stop": (4, 10)})
    rest = make("mask", {"start": (1, 2), "stop": (4, 10), "inside": False})
    seen = torch.zeros(7, 10, dtype=torch.bool)
    seen[1:4, 2:10] = True
    assert torch.equal(box.apply(x), torch.where(seen, x, 0.0))
    assert torch.equal(rest.apply(x), torch.where(seen, 0.0, x))
    assert torch.equal(make("mask", {"seen": seen}).apply(x), box.apply(x))
    by_channel = torch.stack([seen, ~seen])
    found = make("mask", {"seen": by_channel}).apply(x)
    assert torch.equal(found, torch.where(by_channel, x, 0.0))
    gap = torch.where(seen, x, torch.nan)
    assert torch.equal(box.apply(gap), box.apply(x))


@pytest.mark.parametrize("periodic", [True, False])
def test_a_low_pass_keeps_long_waves_and_takes_short_ones(periodic):
    """Waves of the basis: one of 3 in 24 cells (periodic) or of 6 half waves, |k| = 1/8 each."""
    cell = torch.arange(24, dtype=torch.float64)
    if periodic:
        wave = torch.cos(2 * torch.pi * 3 * cell / 24)
    else:
        wave = torch.cos(torch.pi * 6 * (cell + 0.5) / 24)
    below = make("low_pass", {"cutoff": 0.124, "periodic": periodic})
    above = make("low_pass", {"cutoff": 0.126, "periodic": periodic})
    x = wave[None, None]
    assert below.apply(x).abs().max() < 1e-13
    assert torch.allclose(above.apply(x), x, rtol=0, atol=1e-13)
    # A projection: doing it twice changes nothing.
    y = field((24,))
    assert torch.allclose(below.apply(below.apply(y)), below.apply(y), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("points", {}, "every: got null, expected either this or `at`, which is None"),
        ("points", {"every": 2, "at": ((1,),)}, "every: got 2, expected either this or `at`"),
        ("points", {"every": 0}, "every: got 0, expected 1 or more, one number for all dims or"),
        ("points", {"every": ()}, r"every: got \[\], expected 1 or more"),
        ("points", {"at": ((1,), (1,))}, "at: got .* expected one or more points, each once"),
        ("points", {"every": 2, "channels": (0, 0)}, "channels: got .* expected different numbers"),
        ("points", {"every": 2, "channels": ()}, "channels: got .* expected different numbers"),
        ("points", {"every": 2, "channels": (-1,)}, "channels: got .* expected different numbers"),
        ("block_mean", {"factor": (2, 0)}, r"factor: got \[2, 0\], expected 1 or more"),
        ("line_mean", {"axis": -1}, "axis: got -1, expected the number of a space dim, from 0"),
        ("mask", {}, "start: got null, expected the first cell of a box along each dim"),
        ("mask", {"start": (1,)}, "stop: got null, expected 1 numbers, as in start"),
        ("mask", {"start": (3,), "stop": (3,)}, r"stop: got \[3\], expected more than start = "),
        ("mask", {"start": (-1,), "stop": (3,)}, r"stop: got \[3\], expected more than start = "),
        ("mask", {"seen": torch.ones(4).bool(), "stop": (3,)}, "stop: .* nothing beside `seen`"),
        ("low_pass", {"cutoff": 0.0}, "cutoff: got 0.0, expected cycles per cell, more than 0"),
    ],
)
def test_fields_out_of_range_are_named(name, fields, message):
    with pytest.raises(FieldError, match=message):
        make(name, fields)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("points", {"every": (2, 2, 2)}, r"every: got \[2, 2, 2\], expected 2 numbers, one for"),
        ("points", {"at": ((1,),)}, r"at: got \[1\], expected 2 numbers from 0, below the sizes"),
        ("points", {"at": ((7, 0),)}, r"at: got \[7, 0\], expected 2 numbers from 0, below the"),
        ("points", {"every": 2, "channels": (2,)}, "channels: .* expected numbers below 2, as"),
        ("block_mean", {"factor": (2,)}, r"factor: got \[2\], expected 2 numbers"),
        ("line_mean", {"axis": 2}, "axis: got 2, expected below 2, the number of space dims"),
        ("mask", {"start": (0,), "stop": (3,)}, r"stop: got \[3\], expected at most \(7, 10\)"),
        ("mask", {"start": (0, 0), "stop": (3, 11)}, r"stop: got \[3, 11\], expected at most"),
        ("mask", {"seen": torch.ones(7, 9).bool()}, r"seen: got \[7, 9\], expected the sizes of"),
        ("low_pass", {"periodic": (True,)}, r"periodic: got \[true\], expected 2 answers"),
    ],
)
def test_fields_that_do_not_fit_are_named(name, fields, message):
    with pytest.raises(FieldError, match=message):
        make(name, fields).apply(field((7, 10)))


@dataclass(frozen=True, kw_only=True)
class Own(Operator):
    """A user's operator: two neighbours' sum, with some fault."""

    fault: str = ""

    def apply(self, field):
        seen = field[..., 1:] + field[..., :-1]
        return {
            "affine": seen + 1e-2,
            "bend": seen.abs(),
            "float": seen.double(),
        }.get(self.fault, seen)

    def adjoint(self, values, like):
        field = torch.zeros(len(values), *like.shape[1:], dtype=values.dtype)
        field[..., 1:] += values
        if self.fault != "half":
            field[..., :-1] += values
        return field[..., 1:] if self.fault == "short" else field * (2 - (self.fault != "twice"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_right_operator_of_ones_own_passes(dtype):
    check_adjoint(Own(), torch.zeros(1, 2, 1000, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fault", ["half", "twice", "affine", "bend"])
def test_a_wrong_adjoint_is_named(fault, dtype):
    with pytest.raises(ConfigError, match="operator Own: it is not linear, or its adjoint is not"):
        check_adjoint(Own(fault=fault), torch.zeros(1, 1, 9, dtype=dtype))


def test_an_operator_that_changes_shape_or_dtype_is_named():
    with pytest.raises(ConfigError, match=r"operator Own: adjoint gives \[2, 1, 8\] torch.float32"):
        check_adjoint(Own(fault="short"), torch.zeros(2, 1, 9))
    with pytest.raises(ConfigError, match="operator Own: apply gives .* torch.float64 on cpu, exp"):
        check_adjoint(Own(fault="float"), torch.zeros(2, 1, 9))
