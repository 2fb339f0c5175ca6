"""How a training computes, decided before it begins."""

import os
import signal
from dataclasses import replace

import pytest

from diffsci import config
from diffsci.running import stopping
from diffsci.runtime import Device
from diffsci.stages.prepare import prepare
from diffsci.stages.training import deciding
from diffsci.training import cost
from tests import tiny_runs


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    loaded = config.load(tiny_runs.make(tmp_path_factory.mktemp("decided"), "downscale"))
    return loaded.pipeline, prepare(loaded.pipeline, loaded.roots).ports


def test_a_signal_waits_until_the_work_is_counted(given, monkeypatch):
    """Raised within torch's tracing it would abort the process, once in 25 times."""
    real, done = cost._call, []

    def call(network, inputs):
        os.kill(os.getpid(), signal.SIGTERM)
        found = real(network, inputs)
        done.append(found.shape)
        return found

    monkeypatch.setattr(cost, "_call", call)
    with stopping.listening(), pytest.raises(stopping.Stopped) as stopped:
        deciding.decided(Device(), *given, None)
    assert stopped.value.code == stopping.RESUME_ME
    assert len(done) == 1


def test_nothing_is_left_to_decide(given):
    open_ = Device(compile="auto", checkpointing="auto")
    assert deciding.decided(open_, *given, None) == Device()


def test_alone_everybody_agrees():
    for compiles in (True, False):
        device = replace(Device(), compile=compiles)
        assert deciding.agreed(device) == device
