"""Rollouts whose draws make several steps, or differ by the lead, with forcings: by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci.data.domains.weather import Weather
from diffsci.data.examples.around import Around
from diffsci.data.tasks.forecast import Forecast
from diffsci.diffusion.guidance.posterior import Posterior
from diffsci.diffusion.noise import MemberNoise
from diffsci.diffusion.objectives.crps import CRPS
from diffsci.errors import ConfigError
from diffsci.forecasting.ensemble import Rows
from diffsci.runtime import Device
from diffsci.sections import Runtime
from tests.forecasting import makers

CPU = Device.of(Runtime(device="cpu", precision="fp32", threads=1))
TASKS = {
    "together": Forecast(history=2, ahead=2, recall=(3,), learn="residual", climate=True),
    "each": Forecast(ahead=2, draw="each", recall=(2,)),
}
FORCINGS = ("hour_of_day", "solar_zenith")


def model_of(kind):
    fields = makers.weather_fields()
    rng = np.random.default_rng(0)
    values = fields.values + rng.normal(size=fields.values.shape).astype("f4")
    fields = replace(fields, values=values)
    domain = Weather(forcings=FORCINGS)
    return makers.surrogate(
        fields, "weather", TASKS[kind], leads=5, compute_batch=2, objective=CRPS(noise=3),
        domain_made=domain, step=6 * 3600e9,
    )  # fmt: skip


def rows_of(model, members=(0, 3)):
    known = 3 if model.pipeline.data.task.history == 2 else 2
    given = torch.randn(1, known, 1, *model.grid.sizes, generator=torch.Generator().manual_seed(1))
    times = np.datetime64("2021-03-01T06", "ns") + np.arange(1, 7) * np.timedelta64(6, "h")
    return Rows(
        given=given.expand(len(members), *given.shape[1:]).contiguous(),
        scalars=None,
        cases=("a",) * len(members),
        members=members,
        times=np.stack([times] * len(members)),
    )


@pytest.mark.parametrize("kind", TASKS)
def test_a_rollout_in_blocks_by_hand(kind):
    model, rows = model_of(kind), rows_of(model_of(kind))
    task, statistics, grid = model.pipeline.data.task, model.statistics, model.grid
    around = Around(forcings=FORCINGS, grid=grid)
    found = model.engine(CPU).states(rows, 5, seed=9)
    frames, wanted = [*rows.given.unbind(dim=1)], []
    for origin in (0, 2, 4):
        made = []
        for part, steps in enumerate(task.parts):
            lead = origin + steps[0] - 1
            noise = MemberNoise(seed=9, cases=rows.cases, members=(0, 3), leads=(lead, lead))
            at = [rows.times[:, lead + k] for k in range(len(steps))]
            condition = torch.cat(
                [
                    *frames[-task.history :],
                    *(frames[len(frames) - 1 + k - task.recall[0]] for k in steps),
                    *(torch.from_numpy(around.fields(times)) for times in at),
                    *([torch.from_numpy(statistics.climate).float().expand(2, -1, -1, -1)]
                      if task.climate else []),
                ],
                dim=1,
            )  # fmt: skip
            forced = torch.from_numpy(around.scalars(at[0]))
            lead_told = [] if len(task.parts) == 1 else [torch.full((2, 1), 2.0 * part - 1)]
            with torch.inference_mode():
                sample = model.denoiser.direct(
                    torch.empty(2, len(steps), *grid.sizes),
                    statistics.scale_condition(condition),
                    torch.cat([forced, *lead_told], dim=1),
                    noise(torch.empty(2, 3), 0),
                )
            target = statistics.unscale_target(sample, condition, forced, part)
            last = 0 if task.learn == "residual" else frames[-1]
            made += [(target[:, k : k + 1] + last) for k in range(len(steps))]
        frames += made
        wanted += made
    assert torch.equal(found, torch.stack(wanted[:5], dim=1))


@pytest.mark.parametrize("kind", TASKS)
def test_leads_and_members_do_not_depend_on_how_many_are_asked_for(kind):
    model = model_of(kind)
    engine = model.engine(CPU)
    whole = engine.states(rows_of(model, (0, 1, 2)), 5, seed=0)
    assert torch.equal(engine.states(rows_of(model, (2,)), 3, seed=0)[0], whole[2, :3])


@pytest.mark.parametrize("kind", TASKS)
def test_a_users_frames_are_continued(kind):
    """The store's valid times are those whose forcings were given."""
    model = model_of(kind)
    frames = makers.weather_fields()
    rows = np.array([[0, i] for i in range(len(frames.times))])
    cases = model.pipeline.data.domain.cases(frames, rows, ())
    made = model.sample(model.label(frames.values[0][:, None, None], cases, None), members=2)
    (name,) = made.data_vars
    assert made[name].shape == (1, 2, 5, *model.grid.sizes)
    known = model.pipeline.data.task.given_frames
    given = torch.from_numpy(model.statistics.encode(frames.values[:, -known:]))
    times = made.valid_time.values
    times = np.concatenate([times, times[:, -1:] + np.timedelta64(6, "h")], axis=1)
    rows = Rows(
        given=given.repeat(2, 1, 1, 1, 1),
        scalars=None,
        cases=(str(frames.times[-1].astype("datetime64[s]")),) * 2,
        members=(0, 1),
        times=times.repeat(2, axis=0),
    )
    states = model.engine().states(rows, 5, seed=0)
    assert np.array_equal(made[name].values[0], model.statistics.decode(states.numpy())[:, :, 0])


def test_observations_guide_one_state_alone():
    model = makers.surrogate(makers.ring_fields(), "pde", Forecast(ahead=2), step=0.2)
    with pytest.raises(ConfigError, match="guides draws of one state"):
        replace(model.engine(CPU), guidance=Posterior())
