"""The denoiser that a pipeline describes, and the ports of its data."""

from __future__ import annotations

from diffsci.data.fields import Channel
from diffsci.diffusion.denoiser import Denoiser
from diffsci.grid import Grid
from diffsci.networks.base import Ports
from diffsci.sections import Pipeline


def ports_of(pipeline: Pipeline, channels: tuple[Channel, ...], scalars: int, grid: Grid) -> Ports:
    """What goes into a network and comes out.

    Args:
        pipeline: Its task says what is given, its objective what makes a member.
        channels: Of a state.
        scalars: Numbers that are given.
        grid: Where the fields sit.
    """
    task = pipeline.data.task
    return Ports(
        target=len(channels),
        condition=task.condition_channels(len(channels)),
        scalars=scalars,
        grid=grid,
        noise=0 if pipeline.train is None else pipeline.train.objective.random,
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
        random=ports.noise,
    )
