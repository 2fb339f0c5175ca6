"""Member k is member k: bitwise, whatever the grouping."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch._dynamo

from diffsci import runtime
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.samplers.heun import Heun
from diffsci.errors import NumericsError
from diffsci.forecasting.ensemble import Rows
from diffsci.networks.base import Module
from diffsci.runtime import Device
from diffsci.sections import Runtime
from tests.forecasting import makers
from tests.training.test_computing import Hidden, Reads

CPU = Device.of(Runtime(device="cpu", precision="fp32", threads=1))


def rows_of(model, cases, members):
    """All pairs of these cases and members, with conditions that depend on the case alone."""
    pairs = [(case, member) for case in cases for member in members]
    task = model.pipeline.data.task
    known, scalars = None, None
    if task.condition_channels(1):
        frames = task.frames if not task.has_leads else task.given_frames
        fields = torch.stack(
            [
                torch.randn(
                    frames, 1, *model.grid.sizes, generator=torch.Generator().manual_seed(case)
                )
                for case, _ in pairs
            ]
        )
        known = task.observe(fields, model.grid)
    if model.scalar_names:
        scalars = torch.eye(len(model.scalar_names))[
            [c % len(model.scalar_names) for c, _ in pairs]
        ]
    return Rows(
        given=known,
        scalars=scalars,
        cases=tuple(f"case={case}" for case, _ in pairs),
        members=tuple(member for _, member in pairs),
    )


MODELS = {
    "downscale": makers.downscaling,
    "forecast": makers.forecasting,
    "generate": makers.generating,
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("members", "sizes"), [(3, (1, 4)), pytest.param(7, (1, 2, 3, 8), marks=pytest.mark.slow)]
)
def test_members_do_not_depend_on_grouping(kind, precision, members, sizes):
    """In one go, one by one, in groups with a smaller last one, and backwards: the same bits."""
    model = MODELS[kind]()
    engine = model.engine(replace(CPU, precision=precision))
    leads = 3 if kind == "forecast" else 1
    rows = rows_of(model, range(2), range(members))
    whole = engine.states(rows, leads, seed=7)
    for size in sizes:
        parts = [
            engine.states(rows.take(list(range(i, min(i + size, len(rows))))), leads, seed=7)
            for i in range(0, len(rows), size)
        ]
        assert torch.equal(torch.cat(parts), whole), size
    backwards = list(reversed(range(len(rows))))
    assert torch.equal(engine.states(rows.take(backwards), leads, seed=7).flip(0), whole)


LAID = Device(precision="bf16", memory_format="channels_last")


def test_engines_of_one_model_do_not_disturb_each_other():
    """Each lays the shared network out as it needs it."""
    model = makers.downscaling()
    rows = rows_of(model, range(2), range(2))
    plain, other = model.engine(CPU), model.engine(LAID)
    first = plain.states(rows, 1, seed=0)
    assert not torch.equal(other.states(rows, 1, seed=0), first)
    assert torch.equal(plain.states(rows, 1, seed=0), first)


@pytest.mark.parametrize("kind", MODELS)
def test_members_do_not_depend_on_grouping_with_channels_last(kind):
    model = MODELS[kind]()
    engine, rows = model.engine(LAID), rows_of(model, range(2), range(3))
    whole = engine.states(rows, 1, seed=7)
    single = [engine.states(rows.take([i]), 1, seed=7) for i in range(len(rows))]
    assert torch.equal(torch.cat(single), whole)
    # bfloat16 keeps 8 bits; of states of about unit size, some per cent.
    assert (whole - model.engine(CPU).states(rows, 1, seed=7)).abs().max() < 0.2


def test_a_compiled_engine_gives_the_members_of_one_that_is_not(monkeypatch):
    """By the back end that runs what it was given; one shape, so one compilation for all."""

    class Network(Module):
        # Shape checks of tests are part of the package's own modules, and no code to compile.
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, x, level, condition, scalars, noise=None):
            return self.conv(torch.cat([x, condition], dim=1)) + level[:, None, None, None]

    monkeypatch.setattr(runtime, "BACKEND", "eager")
    torch._dynamo.reset()
    model = makers.downscaling()
    model.denoiser.network = Network()
    rows = rows_of(model, range(2), range(5))
    plain = model.engine(CPU).states(rows, 1, seed=0)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    compiled = model.engine(replace(CPU, compile=True)).states(rows, 1, seed=0)
    assert torch.equal(compiled, plain)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before + 1
    assert not [name for name in model.denoiser.state_dict() if "_orig_mod" in name]
    torch._dynamo.reset()


def test_a_network_call_reads_nothing_from_the_device():
    """As many reads, whatever the number of calls: only samples are looked at, not steps."""
    found = []
    for steps in (3, 6):
        model = makers.downscaling(steps=steps)
        engine, rows = model.engine(CPU), rows_of(model, [0], range(4))
        with Reads() as reads, Hidden() as hidden:
            engine.states(rows, 1, seed=0)
        found.append((reads.found, hidden.found))
    assert found[0] == found[1]


def test_ensembles_grow_without_changing():
    model = makers.downscaling()
    engine = model.engine(CPU)
    small = engine.states(rows_of(model, range(2), range(4)), 1, seed=0)
    large = engine.states(rows_of(model, range(2), range(9)), 1, seed=0)
    assert torch.equal(
        large.reshape(2, 9, *large.shape[1:])[:, :4], small.reshape(2, 4, *small.shape[1:])
    )


def test_members_cases_leads_and_seeds_differ():
    model = makers.forecasting()
    engine = model.engine(CPU)
    states = engine.states(rows_of(model, [0, 1], [0, 1]), 2, seed=0)
    others = engine.states(rows_of(model, [0, 1], [0, 1]), 2, seed=1)
    flat = [*states.flatten(0, 1), *others.flatten(0, 1)]
    for i, one in enumerate(flat):
        assert all((one - other).abs().max() > 1e-3 for other in flat[:i])


def test_an_explosion_is_named():
    model = makers.forecasting()
    with torch.no_grad():
        model.denoiser.network.head.conv.bias.fill_(float("inf"))
    with pytest.raises(
        NumericsError, match="case case=0 member 0 at forecast step 1.*train longer"
    ):
        model.engine(CPU).states(rows_of(model, [0], [0]), 2, seed=0)


def test_rollout_of_linear_dynamics_has_the_exact_law():
    """x' = F x + noise, with the exact denoiser in place of a network.

    The whole chain (task, scaling, sampler, advance) must give N(F^n x, q (1 + F^2 + ...)).
    """
    factor, noise_var, leads, count = 0.7, 0.3, 3, 4000
    model = makers.forecasting(steps=16, compute_batch=500)
    statistics = replace(
        model.statistics,
        state_mean=np.zeros(1),
        state_std=np.ones(1),
        target_mean=np.zeros((1, 1)),
        target_std=np.ones((1, 1)),
        condition_mean=np.zeros((1, 1)),
        condition_std=np.ones((1, 1)),
    )

    class Exact(torch.nn.Module):
        def forward(self, x, level, condition, scalars):
            noise = torch.exp(4 * level)[:, None, None]  # the EDM schedule keeps the signal at 1
            mean = (factor - 1) * condition
            return mean + noise_var / (noise_var + noise**2) * (x * (1 + noise**2).sqrt() - mean)

    engine = replace(
        model.engine(CPU),
        denoiser=Denoiser(Exact(), model.denoiser.schedule, "x0"),
        statistics=statistics,
        sampler=Heun(steps=40),
    )
    start = 1.5
    rows = Rows(
        given=torch.full((count, 1, 1, 16), start),
        scalars=None,
        cases=("case",) * count,
        members=tuple(range(count)),
    )
    states = engine.states(rows, leads, seed=0).double().flatten(2)
    variance = 0.0
    for lead in range(leads):
        variance = noise_var + factor**2 * variance
        values = states[:, lead].flatten()
        # Four standard errors of independent cells, and 2 % for Heun's spread at 40 steps.
        assert (
            abs(values.mean() - factor ** (lead + 1) * start) < 4 * (variance / len(values)) ** 0.5
        )
        assert abs(values.var() / variance - 1) < 4 * (2 / len(values)) ** 0.5 + 0.02
