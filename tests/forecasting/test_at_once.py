"""Members by one call each: the same bits in any grouping, in tiles, and lead after lead."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.diffusion.guidance.classifier_free import ClassifierFree
from diffsci.diffusion.noise import MemberNoise
from diffsci.diffusion.objectives.crps import CRPS
from diffsci.diffusion.objectives.deterministic import Deterministic
from diffsci.diffusion.operators.points import Points
from diffsci.errors import ConfigError, NumericsError
from diffsci.forecasting.ensemble import Rows
from diffsci.forecasting.observations import Observations
from diffsci.forecasting.opening import read_surrogate
from diffsci.networks.unet import UNet
from diffsci.sections import Tiles
from tests.forecasting import makers
from tests.forecasting.test_ensemble import CPU, LAID, MODELS, rows_of


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_members_do_not_depend_on_grouping(kind, precision):
    """In one go, one by one, in threes, and backwards: the same bits."""
    model = MODELS[kind](objective=CRPS(noise=5))
    engine = model.engine(replace(CPU, precision=precision))
    assert engine.sampler is None and engine.calls == 1
    leads = 3 if kind == "forecast" else 1
    rows = rows_of(model, range(3), range(5))
    whole = engine.states(rows, leads, seed=7)
    for size in (1, 3, 8):
        parts = [
            engine.states(rows.take(list(range(i, min(i + size, len(rows))))), leads, seed=7)
            for i in range(0, len(rows), size)
        ]
        assert torch.equal(torch.cat(parts), whole), size
    backwards = list(reversed(range(len(rows))))
    assert torch.equal(engine.states(rows.take(backwards), leads, seed=7).flip(0), whole)


def test_members_do_not_depend_on_grouping_with_channels_last():
    model = makers.downscaling(objective=CRPS())
    engine, rows = model.engine(LAID), rows_of(model, range(2), range(3))
    whole = engine.states(rows, 1, seed=7)
    single = [engine.states(rows.take([i]), 1, seed=7) for i in range(len(rows))]
    assert torch.equal(torch.cat(single), whole)


def test_members_cases_leads_and_seeds_differ():
    model = makers.forecasting(objective=CRPS())
    engine = model.engine(CPU)
    states = engine.states(rows_of(model, [0, 1], [0, 1]), 2, seed=0)
    others = engine.states(rows_of(model, [0, 1], [0, 1]), 2, seed=1)
    flat = [*states.flatten(0, 1), *others.flatten(0, 1)]
    for i, one in enumerate(flat):
        assert all((one - other).abs().max() > 1e-3 for other in flat[:i])


@pytest.mark.parametrize("objective", [CRPS(noise=5), None])
def test_persistent_noise_is_the_same_in_any_grouping_and_changes_later_leads(objective):
    model = makers.forecasting(**({"objective": objective} if objective else {}))
    engine = replace(model.engine(CPU), persistent_noise=0.5)
    rows = rows_of(model, range(2), range(3))
    whole = engine.states(rows, 3, seed=7)
    single = [engine.states(rows.take([i]), 3, seed=7) for i in range(len(rows))]
    assert torch.equal(torch.cat(single), whole)
    assert (whole - model.engine(CPU).states(rows, 3, seed=7)).abs().max() > 1e-3


def test_noise_that_persists_whole_is_one_draw_at_all_leads():
    """Of a network that makes of a vector what it is given of it: see its second lead's call."""
    model = makers.forecasting(objective=CRPS(noise=5))
    seen = []
    direct = model.denoiser.direct
    model.denoiser.direct = lambda *given: (seen.append(given[3].clone()), direct(*given))[1]
    replace(model.engine(CPU), persistent_noise=1.0).states(rows_of(model, [0], [0, 1]), 3, seed=7)
    assert len(seen) == 3 and all(torch.equal(each, seen[0]) for each in seen)


def test_each_lead_is_one_call_on_the_state_before():
    """By hand: the vector of (seed, case, member, lead), the scaled condition, the task's step."""
    model = makers.forecasting(objective=CRPS(noise=5), compute_batch=2)
    task, statistics = model.pipeline.data.task, model.statistics
    rows = rows_of(model, [4], [0, 3])
    states = model.engine(CPU).states(rows, 3, seed=9)
    known = rows.given
    for lead in range(3):
        condition = task.condition(known, model.grid)
        noise = MemberNoise(seed=9, cases=rows.cases, members=(0, 3), leads=(lead, lead))
        with torch.inference_mode():
            random = noise(torch.empty(2, 5), 0)
            seen = statistics.scale_condition(condition)
            found = model.denoiser.direct(torch.empty(2, 1, 16), seen, None, random)
        state = task.restore(statistics.unscale_target(found), condition)
        assert torch.equal(states[:, lead], state)
        known = task.advance(known, state[:, None])


@pytest.mark.parametrize("objective", [CRPS(), Deterministic()], ids=["crps", "deterministic"])
def test_tiles_equal_the_whole(objective):
    """And see one random vector: the seams would show otherwise. 1e-5 is the docs' tolerance."""
    network = UNet(channels=(8,), blocks=1, norm="cell", embedding=16)
    size = 64
    data = makers.ring_fields(size=size)

    def states(tiles):
        model = makers.surrogate(
            data,
            "pde",
            makers.Forecast(),
            leads=2,
            step=0.2,
            objective=objective,
            network=network,
            tiles=tiles,
            members=1,
        )
        engine = model.engine(CPU)
        members = range(3 if objective.random else 1)
        return engine.states(rows_of(model, [0], members), 2, seed=0), engine

    whole, plain = states(None)
    parts, tiled = states(Tiles(cells=32))
    assert plain.tiles is None and tiled.tiles.count >= 2
    assert (parts - whole).abs().max() < 1e-5 * whole.abs().max()


def test_a_deterministic_model_has_one_member():
    model = makers.forecasting(objective=Deterministic(), members=1)
    made = model.sample(history(), leads=2)
    assert made.sizes["number"] == 1
    # The seed and the member's number are no part of it.
    assert np.array_equal(model.sample(history(), leads=2, seed=5).u, made.u)
    with pytest.raises(ConfigError, match="members: got 3, expected 1: this model's are equal"):
        model.sample(history(), members=3)


def history():
    values = np.sin(np.arange(16) * 2 * np.pi / 16)[None].astype("f4")
    return xr.Dataset(
        {"u": (("time", "x"), values)},
        {"time": ("time", [0.0], {"units": "1"}), "x": np.arange(16.0)},
    )


def test_what_changes_the_estimates_of_a_diffusion_model_is_refused():
    model = makers.generating(objective=CRPS())
    with pytest.raises(ConfigError, match="guidance ClassifierFree: .* by a single call"):
        replace(model.engine(CPU), guidance=ClassifierFree(scale=2.0))
    observed = Observations(
        operator=Points(every=2), values=torch.zeros(1, 1, 1, 4, 4), noise_std=0.1
    )
    with pytest.raises(ConfigError, match="guidance Posterior: .* by a single call"):
        model.sample([0], observed=observed)


def test_an_explosion_is_named():
    model = makers.forecasting(objective=CRPS())
    with torch.no_grad():
        model.denoiser.network.head.conv.bias.fill_(float("inf"))
    with pytest.raises(
        NumericsError, match="case case=0 member 0 at forecast step 1.*train longer"
    ):
        model.engine(CPU).states(rows_of(model, [0], [0]), 2, seed=0)


def test_rollout_of_linear_dynamics_has_the_exact_law():
    """x' = F x + e z with one number z a field: N(F^n x, e^2 (1 + F^2 + ...)), as far as draws."""
    factor, noise_std, leads, count = 0.7, 0.5, 3, 4000
    model = makers.forecasting(objective=CRPS(noise=1), compute_batch=500)
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
        def forward(self, x, level, condition, scalars, noise=None):
            return (factor - 1) * condition + noise_std * noise[:, :, None] + x

    model.denoiser.network = Exact()
    engine = replace(model.engine(CPU), statistics=statistics)
    rows = Rows(
        given=torch.full((count, 1, 1, 16), 1.5),
        scalars=None,
        cases=("case",) * count,
        members=tuple(range(count)),
    )
    states = engine.states(rows, leads, seed=0).double().flatten(2)
    # One number for the whole field.
    assert float((states - states[:, :, :1]).abs().max()) < 1e-5
    variance = 0.0
    for lead in range(leads):
        variance = noise_std**2 + factor**2 * variance
        values = states[:, lead, 0]
        # Four standard errors of as many draws as members.
        assert abs(values.mean() - factor ** (lead + 1) * 1.5) < 4 * (variance / count) ** 0.5
        assert abs(values.var() / variance - 1) < 4 * (2 / count) ** 0.5


def test_a_model_read_from_its_folder_makes_the_same_members(tmp_path):
    model = makers.forecasting(objective=CRPS(noise=7))
    model.save(tmp_path / "model", "name: made\n")
    read = read_surrogate(tmp_path / "model", model.pipeline)
    assert read.denoiser.random == 7
    assert np.array_equal(read.sample(history(), leads=2).u, model.sample(history(), leads=2).u)
