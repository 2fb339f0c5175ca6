"""Initial states of members: perturbed by noise of a spectrum, or given as an ensemble."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci import config
from diffsci.diffusion.noises.coloured import Coloured
from diffsci.diffusion.noises.white import White
from diffsci.errors import ConfigError, StorageError
from diffsci.forecasting.perturbing import Perturbation
from diffsci.forecasting.rows import Rows
from diffsci.sections import Perturbing
from tests import tiny_runs
from tests.forecasting import makers
from tests.forecasting.test_ensemble import CPU, rows_of
from tests.stages.ensembles import test_sampling as stores


def rows(count, frames=2, case="c"):
    return Rows(
        given=torch.zeros(count, frames, 1, 64),
        scalars=None,
        cases=(case,) * count,
        members=tuple(range(count)),
    )


def test_the_noise_has_the_amplitude_and_the_spectrum_that_were_asked_for():
    """Over 2000 members: variances of the waves by the law, (k + 1)^-slope."""
    grid = makers.ring_fields(size=64).grid
    found = Perturbation.of(Perturbing(amplitude=0.1, noise=Coloured(slope=2.0)), grid)
    made = found(rows(2000).given, rows(2000), 0)
    assert torch.equal(made[:, 0], made[:, 1])  # the tendency is as it was
    field = made[:, 0, 0].double()
    # Each cell: the variance of 2000 normals is known to 3 %, and 64 cells of few waves less well.
    assert abs(field.var() / 0.01 - 1) < 0.1
    power = (torch.fft.rfft(field, dim=-1).abs() ** 2).mean(dim=0)[1:-1]
    law = (torch.arange(1, 32).double() + 1) ** -2
    ratio = power / law
    # 2000 exponential variables: 2.2 %; four of them.
    assert (ratio / ratio.mean() - 1).abs().max() < 0.09


def test_it_depends_on_case_and_member_alone():
    grid = makers.ring_fields(size=64).grid
    found = Perturbation.of(Perturbing(amplitude=0.1, noise=White()), grid)
    many, one = rows(5), rows(5).take([3])
    assert torch.equal(found(many.given, many, 0)[3:4], found(one.given, one, 0))
    other = rows(5, case="d")
    assert not torch.equal(found(many.given, many, 0), found(other.given, other, 0))
    assert not torch.equal(found(many.given, many, 0), found(many.given, many, 1))


def perturbed(model, amplitude):
    sample = replace(model.pipeline.sample, perturb=Perturbing(amplitude=amplitude, noise=White()))
    return replace(model, pipeline=replace(model.pipeline, sample=sample))


def test_members_of_perturbed_starts_do_not_depend_on_grouping():
    model = perturbed(makers.forecasting(steps=1), 0.2)
    engine, each = model.engine(CPU), rows_of(model, range(2), range(5))
    whole = engine.states(each, 2, seed=7)
    for size in (1, 3):
        parts = [
            engine.states(each.take(list(range(i, min(i + size, len(each))))), 2, seed=7)
            for i in range(0, len(each), size)
        ]
        assert torch.equal(torch.cat(parts), whole), size
    plain = makers.forecasting(steps=1).engine(CPU).states(each, 2, seed=7)
    assert (plain - whole).abs().flatten(1).amax(dim=1).min() > 1e-3


def test_the_store_knows_how_its_members_began(tmp_path):
    model = makers.forecasting(members=3, leads=2, steps=1, network=stores.SMALL)
    given = stores.cases_of(model, makers.ring_fields(), range(2), 2)
    stores.written(model, given, tmp_path / "f.zarr", 3, 64, 0)
    with pytest.raises(StorageError, match="perturb: None -> 'Perturbing"):
        stores.written(perturbed(model, 0.2), given, tmp_path / "f.zarr", 3, 64, 0)


def test_an_ensemble_of_initial_states_is_dealt_out_to_the_members():
    """Member k begins from state k; with 2 states, member 2 begins from the first again."""
    model = makers.forecasting(steps=1, leads=2)
    fields = makers.ring_fields(times=2)
    frames = fields.values[:2, :, 0]

    def condition(values, *dims):
        return xr.Dataset(
            {"u": ((*dims, "time", "x"), values, {"units": "1"})},
            {"time": ("time", fields.times, {"units": "1"}), "x": np.arange(16.0)},
            {"boundary": "periodic"},
        )

    together = model.sample(condition(frames, "number"), members=3, leads=2)
    for state in range(2):
        alone = model.sample(condition(frames[state]), members=3, leads=2)
        for member in (member for member in range(3) if member % 2 == state):
            np.testing.assert_array_equal(together.u.sel(number=member), alone.u.sel(number=member))


def test_a_task_without_initial_state(tmp_path):
    file = tiny_runs.make(tmp_path, "downscale")
    with pytest.raises(ConfigError, match=r"sample\.perturb: expected null: the task downscale"):
        config.load(file, ["sample.perturb.amplitude=0.1"])
    file = tiny_runs.make(tmp_path, "pde")
    loaded = config.load(file, ["sample.perturb={amplitude: 0.1, noise: white}"])
    assert loaded.pipeline.sample.perturb == Perturbing(amplitude=0.1, noise=White())
    with pytest.raises(ConfigError, match=r"sample\.perturb\.amplitude: got -1"):
        config.load(file, ["sample.perturb.amplitude=-1"])
