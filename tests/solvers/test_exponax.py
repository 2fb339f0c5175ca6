"""Our solvers against exponax, an independent implementation in JAX, where it is installed."""

import numpy as np
import pytest
import torch

from diffsci.solvers.burgers import Burgers
from diffsci.solvers.kuramoto_sivashinsky import KuramotoSivashinsky


@pytest.fixture
def exponax():
    """In double precision."""
    found = pytest.importorskip("exponax")
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_kuramoto_sivashinsky(exponax):
    """From a developed state over five time units.

    The two cut off at another wave: on 128 points that makes 4.4e-5, whatever the step.
    """
    solver = KuramotoSivashinsky(points=256, refine=1)
    u = solver.integrate(solver.initial(np.arange(1)), frames=2, interval=72.0)[:, 1]
    stepper = exponax.stepper.KuramotoSivashinskyConservative(1, 64.0, 256, 0.05, order=4)
    theirs = u[0].numpy()
    for _ in range(100):
        theirs = stepper(theirs)
    ours = solver.integrate(u, frames=2, interval=5.0)[0, 1].numpy()
    assert np.abs(np.asarray(theirs) - ours).max() < 1e-6
    assert np.abs(ours - u[0].numpy()).max() > 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_burgers(exponax):
    solver = Burgers(trajectories=1)
    viscosity = float(solver.parameters(np.arange(1))["viscosity"][0])
    u = solver.initial(np.arange(1))
    stepper = exponax.stepper.Burgers(
        1, solver.side, u.shape[-1], solver.dt, diffusivity=viscosity, order=4
    )
    theirs = u[0].numpy()
    for _ in range(round(0.5 / solver.dt)):
        theirs = stepper(theirs)
    own = {"viscosity": torch.tensor([viscosity], dtype=torch.float64)}
    ours = solver.integrate(u, 2, 0.5, own)[0, 1].numpy()
    assert np.abs(np.asarray(theirs) - ours).max() < 1e-6
