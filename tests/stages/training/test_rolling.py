"""Examples that are moved off the truth, against the same states through task and statistics."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from diffsci import config
from diffsci.data.domains.pde import Pde
from diffsci.data.examples.cases import cases_given
from diffsci.data.examples.windows import Examples
from diffsci.data.fitting import fit_statistics
from diffsci.data.tasks.forecast import Forecast
from diffsci.diffusion.denoiser import Denoiser
from diffsci.diffusion.objectives.deterministic import Deterministic
from diffsci.diffusion.schedules.edm import EDM
from diffsci.errors import ConfigError, DataError, FieldError
from diffsci.forecasting.ensemble import Engine, Rows
from diffsci.networks.base import Module
from diffsci.runtime import Device
from diffsci.sections import Rollout
from diffsci.stages.costs import of_the_training
from diffsci.stages.prepare import prepare
from diffsci.stages.training.rolling import TaskStepper
from diffsci.training.rollout import rolled
from tests import tiny_runs
from tests.data import makers

TASKS = [
    Forecast(),
    Forecast(history=3, learn="state"),
    Forecast(history=2, stride=2),
    Forecast(history=2, learn="residual"),
    Forecast(history=2, ahead=2),
    Forecast(ahead=2, recall=(3,), learn="residual", climate=True),
    Forecast(history=2, ahead=2, recall=(3,), learn="innovation", climate=True),
]


@pytest.mark.parametrize("task", TASKS)
def test_what_is_moved_is_what_those_frames_would_have_given(task):
    """Known frames off by what was made before, with the true frames to come: in float64."""
    fields = makers.fields(times=16)
    statistics = fit_statistics(fields, task)
    examples = Examples(fields, task, statistics, leads=3)
    inputs, steps = examples.inputs, torch.arange(task.frames)
    stepper, random = TaskStepper.of(examples), torch.Generator().manual_seed(0)
    errors, ahead = [], task.step * task.block
    windows = examples.windows[[0, 5]]
    for lead, true in enumerate((first := examples.batch(np.array([0, 5])), *first.later)):
        window = examples.states[
            windows[:, :1], torch.from_numpy(windows[:, 1:] + lead * ahead) + steps
        ].double()
        known = window[:, : task.given_frames : task.step]
        for back, error in enumerate(reversed(errors[-known.shape[1] :])):
            window[:, task.given_frames - 1 - back * task.step] += error
        pair = inputs.pair(window, None, 0)
        double = replace(true, target=true.target.double(), condition=true.condition.double())
        found = stepper.moved(double, errors) if errors else double
        wanted = statistics.scale_target(pair.target, pair.condition, pair.forced)
        seen = statistics.scale_condition(pair.condition)
        # The examples themselves are float32.
        assert torch.allclose(found.target, wanted, rtol=0, atol=2e-5)
        assert torch.allclose(found.condition, seen, rtol=0, atol=2e-6)
        off = torch.randn(found.target.shape, generator=random, dtype=torch.float64)
        made = task.restore(
            statistics.unscale_target(wanted + off, pair.condition, pair.forced), pair.condition
        )
        truth = task.restore(
            statistics.unscale_target(wanted, pair.condition, pair.forced), pair.condition
        )
        frames = (made - truth).reshape(2, task.emits, -1, *made.shape[2:]).unbind(dim=1)
        for one, two in zip(stepper.errors(off), frames, strict=True):
            assert torch.allclose(one, two, atol=1e-10)
        errors += stepper.errors(off)


class Mixed(Module):
    """Neighbours of the condition, mixed: a forecast that is wrong in every step."""

    def forward(self, x, level, condition, scalars, noise=None):
        mixed = 0.5 * condition - 0.2 * condition.roll(1, dims=-1) ** 2
        return mixed[:, : x.shape[1]] + 0.1 * mixed[:, -x.shape[1] :]


@pytest.mark.parametrize("task", TASKS[:4])
def test_the_errors_of_a_rollout_are_those_of_the_engine(task):
    """The loss over three leads is that of the forecasts that sampling makes."""
    fields = makers.fields(times=16)
    statistics, leads = fit_statistics(fields, task), 3
    examples = Examples(fields, task, statistics, leads=leads)
    denoiser = Denoiser(Mixed(), EDM())
    channels = examples.channels
    engine = Engine(
        denoiser=denoiser,
        sampler=None,
        guidance=None,
        variance=None,
        task=task,
        statistics=statistics,
        grid=fields.grid,
        channels=channels,
        compute_batch=1,
        device=Device(),
    )
    given = cases_given(fields, task, Pde(), statistics, leads=leads)
    rows = Rows(given=given.given[:1], scalars=None, cases=("a",), members=(0,))
    states = engine.states(rows, leads, seed=0)[0]
    truth = torch.from_numpy(statistics.encode(given.truth.read()[0]))
    std = torch.as_tensor(statistics.target_std)
    errors = (states - truth).reshape(leads, channels, -1) / std.reshape(1, channels, -1)
    batch = examples.batch(np.array([0]))
    stepper = TaskStepper.of(examples)
    with torch.no_grad():
        found = rolled(denoiser, batch, Deterministic(), stepper, torch.zeros(1, leads, 1, 0), None)
    assert found.loss.item() == pytest.approx((errors**2).mean().item(), rel=1e-4)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return config.load(tiny_runs.make(tmp_path_factory.mktemp("pde"), "pde"))


def rolling(loaded, objective=None, **rollout):
    train = replace(loaded.pipeline.train, rollout=Rollout(**rollout))
    return replace(loaded.pipeline, train=replace(train, objective=objective or Deterministic()))


def test_prepared_examples_hold_the_later_steps_and_costs_count_them(loaded):
    one, three = (
        prepare(pipeline, loaded.roots)
        for pipeline in (loaded.pipeline, rolling(loaded, leads=(2, 3), from_step=(0, 4)))
    )
    assert len(three.examples.batch(np.array([0, 1])).later) == 2
    assert len(one.examples) - len(three.examples) == 2 * 6  # two at the end of each trajectory
    pair = [
        of_the_training(pipeline, one.ports, Device())[0].cost
        for pipeline in (loaded.pipeline, rolling(loaded, leads=3))
    ]
    assert pair[1].flop == 3 * pair[0].flop and pair[1].each == 3 * pair[0].each


def test_what_makes_no_rollout_is_refused(loaded, tmp_path):
    with pytest.raises(DataError, match=r"widen the part, lower train\.rollout\.leads, or look"):
        prepare(rolling(loaded, leads=500), loaded.roots)
    each = rolling(loaded, leads=2)
    each = replace(each, data=replace(each.data, task=Forecast(ahead=2, draw="each")))
    with pytest.raises(FieldError, match=r"train\.rollout: .*each step is drawn by itself"):
        prepare(each, loaded.roots)
    with pytest.raises(FieldError, match=r"train\.rollout: .*edm trains a diffusion model"):
        prepare(rolling(loaded, loaded.pipeline.train.objective, leads=2), loaded.roots)
    file = tiny_runs.make(tmp_path, "pde")
    with pytest.raises(ConfigError, match=r"^command line: train\.rollout: got .*edm trains"):
        config.load(file, ["train.rollout.leads=4"])  # without a look at the data
    images = config.load(tiny_runs.make(tmp_path, "image"))
    with pytest.raises(FieldError, match=r"train\.rollout: .*the task generate makes no forecast"):
        prepare(rolling(images, leads=2), images.roots)
