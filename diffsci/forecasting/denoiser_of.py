"""The denoiser that a pipeline describes, and the ports of its data."""

from __future__ import annotations

from diffsci.data.examples.around import Around
from diffsci.data.examples.inputs import condition_channels, scalar_count
from diffsci.data.fields import Channel
from diffsci.data.tasks.base import Task
from diffsci.diffusion.denoiser import Denoiser
from diffsci.grid import Grid
from diffsci.networks.base import Ports
from diffsci.sections import Pipeline


def ports_of(pipeline: Pipeline, channels: tuple[Channel, ...], scalars: int, grid: Grid) -> Ports:
    """What goes into a network and comes out.

    Args:
        pipeline: Its task says what is given, its objective what makes a member.
        channels: Of a state.
        scalars: Numbers that the data gives.
        grid: Where the fields sit.
    """
    task = pipeline.data.task
    around = Around(forcings=pipeline.data.domain.forcings, grid=grid)
    return Ports(
        target=len(channels) * task.emits,
        condition=condition_channels(task, around, len(channels)),
        scalars=scalar_count(task, around, scalars),
        grid=grid,
        noise=0 if pipeline.train is None else pipeline.train.objective.random,
        vectors=task.vectors(channels) + _mean_vectors(task, around, channels),
    )


def _mean_vectors(task: Task, around: Around, channels: tuple[Channel, ...]) -> tuple[int, ...]:
    """Numbers of the input channels that are the climate's mean of a vector's component."""
    if not task.climate:
        return ()
    count = len(channels)
    first = task.emits * count + condition_channels(task, around, count) - 2 * count
    return tuple(first + number for number, channel in enumerate(channels) if channel.vector)


def denoiser_of(pipeline: Pipeline, ports: Ports) -> Denoiser:
    """Freshly initialised (draws from torch's global generator), not yet on a device."""
    model, train = pipeline.model, pipeline.train
    assert model is not None
    # Made in Python, a section may leave out what a file's section is given by default.
    white = model.noise is None or model.noise.is_white
    return Denoiser(
        model.network.build(ports),
        model.schedule,
        model.predict,
        learned=None if train is None else train.objective.learned(ports.target, ports.grid),
        shaping=None if white else model.noise.shaping(ports.grid),
        random=ports.noise,
        networks=model.network.networks,
    )
