"""The denoiser that a pipeline describes, and the ports of its data."""

from __future__ import annotations

from diffsci.data.fields import Channel
from diffsci.data.tasks.base import Task
from diffsci.diffusion.denoiser import Denoiser
from diffsci.grid import Grid
from diffsci.networks.base import Ports
from diffsci.sections import Pipeline


def ports_of(task: Task, channels: tuple[Channel, ...], scalars: int, grid: Grid) -> Ports:
    """What goes into a network and comes out.

    Args:
        task: Says what is given.
        channels: Of a state.
        scalars: Numbers that are given.
        grid: Where the fields sit.
    """
    return Ports(
        target=len(channels),
        condition=task.condition_channels(len(channels)),
        scalars=scalars,
        grid=grid,
        vectors=task.vectors(channels),
    )


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
    )
