"""Small surrogates with random weights: what an engine must hold, it must hold for any weights."""

import numpy as np
import torch

from diffsci.data.domains.image import Image
from diffsci.data.domains.pde import Pde
from diffsci.data.domains.weather import Weather
from diffsci.data.fields import Channel, Fields
from diffsci.data.fitting import fit_statistics
from diffsci.data.tasks.downscale import Downscale
from diffsci.data.tasks.forecast import Forecast
from diffsci.data.tasks.generate import Generate
from diffsci.diffusion.objectives.edm import EDM as EdmObjective
from diffsci.diffusion.samplers.ancestral import Ancestral
from diffsci.diffusion.schedules.edm import EDM as Edm
from diffsci.forecasting.denoiser_of import denoiser_of, ports_of
from diffsci.forecasting.surrogate import Surrogate
from diffsci.grid import Grid
from diffsci.networks.unet import UNet
from diffsci.sections import Data, Model, Part, Pipeline, Runtime, Sample, Split, Train

DOMAINS = {"weather": Weather, "pde": Pde, "image": Image}


def weather_fields(times=6, sizes=(9, 13), seed=0):
    random = np.random.default_rng(seed)
    latitude = np.linspace(15, 55, sizes[0])
    longitude = np.linspace(225, 285, sizes[1])
    stamps = np.datetime64("2020-01-01T00", "ns") + np.arange(times) * np.timedelta64(6, "h")
    return Fields(
        values=(280 + 5 * random.standard_normal((1, times, 1, *sizes))).astype(np.float32),
        channels=(Channel(variable="2m_temperature", unit="K"),),
        grid=Grid(
            dims=("latitude", "longitude"),
            coordinates=(tuple(latitude), tuple(longitude)),
            units=("degrees_north", "degrees_east"),
            boundary=(("open", "open"), ("open", "open")),
            geometry="sphere",
        ),
        trajectories=np.zeros(1, dtype=np.int64),
        times=stamps,
        breaks=np.zeros(times, dtype=bool),
        source="made",
    )


def polar_fields(vector, times=6, sizes=(6, 8), seed=0):
    """One channel on the globe, perhaps a wind component."""
    random = np.random.default_rng(seed)
    name = "eastward_wind" if vector else "wind_speed"
    return Fields(
        values=random.standard_normal((1, times, 1, *sizes)).astype(np.float32),
        channels=(Channel(variable="u", unit="m s-1", attributes=(("standard_name", name),)),),
        grid=Grid(
            dims=("latitude", "longitude"),
            coordinates=(
                tuple((-90 + 180 / sizes[0] * (np.arange(sizes[0]) + 0.5)).tolist()),
                tuple((360 / sizes[1] * np.arange(sizes[1])).tolist()),
            ),
            units=("degrees_north", "degrees_east"),
            boundary=(("pole", "pole"), ("periodic", "periodic")),
            geometry="sphere",
        ),
        trajectories=np.zeros(1, dtype=np.int64),
        times=np.datetime64("2020-01-01T00", "ns") + np.arange(times) * np.timedelta64(6, "h"),
        breaks=np.zeros(times, dtype=bool),
        source="made",
    )


def ring_fields(trajectories=3, times=8, size=16, seed=0):
    random = np.random.default_rng(seed)
    return Fields(
        values=random.standard_normal((trajectories, times, 1, size)).astype(np.float32),
        channels=(Channel(variable="u", unit="1"),),
        grid=Grid(
            dims=("x",),
            coordinates=(tuple(float(i) for i in range(size)),),
            units=("1",),
            boundary=(("periodic", "periodic"),),
        ),
        trajectories=np.arange(trajectories),
        times=0.2 * np.arange(times),
        breaks=np.zeros(times, dtype=bool),
        time_unit="1",
        source="made",
    )


def digit_fields(samples=12, size=8, classes=3, seed=0):
    random = np.random.default_rng(seed)
    return Fields(
        values=random.random((samples, 1, 1, size, size)).astype(np.float32),
        channels=(Channel(variable="intensity", unit="1"),),
        grid=Grid(
            dims=("y", "x"),
            coordinates=(tuple(float(i) for i in range(size)),) * 2,
            units=("1", "1"),
            boundary=(("open", "open"), ("open", "open")),
        ),
        trajectories=np.arange(samples),
        times=np.zeros(1),
        breaks=np.zeros(1, dtype=bool),
        scalars=np.eye(classes)[np.arange(samples) % classes],
        scalar_names=tuple(f"label={k}" for k in range(classes)),
        source="made",
    )


def surrogate(
    fields,
    domain,
    task,
    *,
    leads=1,
    members=4,
    compute_batch=4,
    steps=3,
    step=None,
    objective=None,
    network=None,
    tiles=None,
    domain_made=None,
):
    """A model of random weights for these fields; with a direct objective, one without sampler."""
    network = network or UNet(channels=(8, 16), blocks=1, groups=4, embedding=16)
    objective = objective or EdmObjective()
    pipeline = Pipeline(
        name="made",
        data=Data(
            entry="made",
            domain=domain_made or DOMAINS[domain](),
            task=task,
            split=Split(train=Part(), test=Part()),
        ),
        model=Model(network=network, schedule=Edm(), predict="v"),
        train=Train(steps=1, objective=objective),
        sample=Sample(
            members=members,
            leads=leads,
            compute_batch=compute_batch,
            sampler=None if objective.direct else Ancestral(steps=steps),
            tiles=tiles,
        ),
        runtime=Runtime(device="cpu", precision="fp32"),
    )
    statistics = fit_statistics(fields, task, pipeline.data.domain.forcings)
    ports = ports_of(pipeline, fields.channels, len(fields.scalar_names), fields.grid)
    torch.manual_seed(3)
    denoiser = denoiser_of(pipeline, ports)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return Surrogate(
        pipeline=pipeline,
        denoiser=denoiser.eval(),
        statistics=statistics,
        grid=fields.grid,
        channels=fields.channels,
        scalar_names=fields.scalar_names,
        time_unit=fields.time_unit,
        step=step,
        provenance={"diffsci_run": "made"},
    )


def downscaling(**fields):
    return surrogate(weather_fields(), "weather", Downscale(factor=4), **fields)


def forecasting(**fields):
    data = ring_fields()
    return surrogate(data, "pde", Forecast(), leads=fields.pop("leads", 3), step=0.2, **fields)


def generating(**fields):
    return surrogate(digit_fields(), "image", Generate(), **fields)
