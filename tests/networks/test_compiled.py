"""Networks are compiled whole: a break in the graph costs most of what compiling gains."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_networks_compile_without_a_break_to_the_same_numbers(backend):
    """In a process of its own, since checks of shapes cannot be compiled."""
    run = [sys.executable, "-m", "tests.networks.compiled_networks", backend]
    done = subprocess.run(run, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
