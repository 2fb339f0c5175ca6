"""The denoiser that a pipeline describes, for the ports of its data."""

from __future__ import annotations

from diffsci.diffusion.denoiser import Denoiser
from diffsci.networks.base import Ports
from diffsci.sections import Pipeline


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
