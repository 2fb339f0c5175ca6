"""Cells that never count hold the fill value at every lead, whatever the network makes of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.generate import Generate
from diffsci.diffusion.noises.coloured import Coloured
from diffsci.diffusion.objectives.crps import CRPS
from diffsci.errors import DataError
from diffsci.forecasting.bounds import Bounds
from diffsci.networks.unet import UNet
from diffsci.runtime import Device
from diffsci.sections.sampling import Perturbing
from diffsci.stages.alike import Known, require_alike
from tests.forecasting import makers
from tests.forecasting.test_ensemble import rows_of

CPU = Device(name="cpu", precision="fp32", threads=1)
SMALL = UNet(channels=(8,), blocks=1, groups=4, embedding=8)
TASKS = {
    "forecast": Forecast(history=2),
    "block": Forecast(ahead=2, learn="residual", climate=True),
    "downscale": Downscale(factor=4),
    "generate": Generate(),
}


def gappy(fields, kind="static"):
    """The same fields without values in the first three cells of the last dim."""
    values = fields.values.copy()
    values[..., :3] = np.nan
    marked = replace(fields.channels[0], attributes=(("missing", kind),))
    return replace(fields, values=values, channels=(marked,))


def model_of(kind, **more):
    fields = gappy(makers.weather_fields(times=8) if kind == "downscale" else makers.ring_fields())
    domain = "weather" if kind == "downscale" else "pde"
    leads = 4 if TASKS[kind].has_leads else 1
    step = 0.2 if TASKS[kind].has_leads else None
    return makers.surrogate(
        fields, domain, TASKS[kind], leads=leads, step=step, network=SMALL, steps=4, **more
    )


def held(engine, rows, leads):
    """The same gaps are filled, as an engine has them from `Task.observe`."""
    if rows.given is not None and engine.task.has_leads:
        rows = replace(
            rows, given=rows.given.masked_fill(torch.as_tensor(~engine.statistics.seen), 0)
        )
    return engine.states(rows, leads, seed=5)


def nonsense(model, size):
    """Let the network make something large of every cell that never counts."""
    gaps = torch.as_tensor(~model.statistics.seen)

    def change(_, __, estimate):
        wide = gaps.repeat(estimate.shape[1] // len(gaps), *[1] * (gaps.ndim - 1))
        return torch.where(wide, estimate + size, estimate)

    return change


@pytest.mark.parametrize("kind", TASKS)
def test_what_the_network_makes_of_gaps_changes_no_bit(kind):
    """Neither of the states, nor of what the network sees in the next call or at the next lead."""
    model = model_of(kind)
    engine, rows = model.engine(CPU), rows_of(model, range(2), range(3))
    leads = 4 if TASKS[kind].has_leads else 1
    plain = held(engine, rows, leads)
    gaps = torch.as_tensor(~model.statistics.seen)
    assert (plain[..., gaps] == 0).all() and (plain[..., ~gaps] != 0).all()
    hook = engine.denoiser.register_forward_hook(nonsense(model, 1e6))
    try:
        assert torch.equal(held(engine, rows, leads), plain)
    finally:
        hook.remove()


def test_a_network_of_one_call_and_perturbed_starts_hold_them_too():
    model = model_of("forecast", objective=CRPS(noise=2))
    perturb = Perturbing(amplitude=0.3, noise=Coloured(slope=2.0))
    sample = replace(model.pipeline.sample, perturb=perturb)
    model = replace(model, pipeline=replace(model.pipeline, sample=sample))
    engine, rows = model.engine(CPU), rows_of(model, range(2), range(3))
    found = []

    hook = engine.denoiser.network.register_forward_pre_hook(
        lambda _, given: found.append([each for each in given if each is not None])
    )
    try:
        states = held(engine, rows, 3)
    finally:
        hook.remove()
    gaps = torch.as_tensor(~model.statistics.seen)[0]
    assert (states[..., gaps] == 0).all()
    # Two frames of one channel, of which a 0 is seen as the same number in every call.
    seen = [next(e for e in call if e.ndim == 3 and e.shape[1] == 2) for call in found]
    assert len(seen) >= 3
    for condition in seen:
        assert torch.equal(condition[..., gaps], seen[0][:1, :, gaps].expand(4, -1, -1))


def test_an_ensemble_has_nan_at_gaps_and_nowhere_else():
    model = model_of("forecast")
    fields = gappy(makers.ring_fields())
    made = model.sample(_frames(fields), members=3)["u"].values
    assert np.isnan(made[..., :3]).all() and np.isfinite(made[..., 3:]).all()
    # A file that has values there is read as one that has none.
    whole = _frames(makers.ring_fields())
    np.testing.assert_array_equal(model.sample(whole, members=3)["u"].values, made)
    # A gap where training had values would be filled in silence.
    more = _frames(fields)
    more["u"][..., 7] = np.nan
    with pytest.raises(DataError, match=r"variable u is missing at x=7, where the training part"):
        model.sample(more, members=3)


def _frames(fields):
    return xr.Dataset(
        {"u": (("sample", "time", "x"), fields.values[:1, :3, 0].copy())},
        {"sample": [0], "time": fields.times[:3], "x": np.arange(16.0)},
    )


def test_bounds_do_not_move_what_is_held():
    """A least value above the mean is kept where cells count, and there alone."""
    model = model_of("forecast")
    mean, std = model.statistics.state_mean[0], model.statistics.state_std[0]
    engine = replace(model.engine(CPU), bounds=Bounds(pairs=((mean + std, None),)))
    states = held(engine, rows_of(model, range(2), range(3)), 2)
    assert (states[..., :3] == 0).all() and (states[..., 3:] >= 1 - 1e-6).all()


def test_parts_of_a_run_have_the_same_static_gaps():
    one, other = gappy(makers.ring_fields()), gappy(makers.ring_fields())
    require_alike(Known.of(one), other, "test", steps=True)
    other.values[..., 9] = np.nan
    other = replace(other)
    with pytest.raises(DataError, match="u has other gaps in the test part.*at 1 cells.*static"):
        require_alike(Known.of(one), other, "test", steps=True)
    require_alike(Known.of(gappy(one, "moving")), gappy(other, "moving"), "test", steps=True)
