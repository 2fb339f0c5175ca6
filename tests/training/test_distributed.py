import os
import socket
import subprocess
import sys

import pytest
import torch

from diffsci.errors import ConfigError, FieldError
from diffsci.training import distributed
from diffsci.training.distributed import Ranks, check_batch, from_environment
from tests.training._rank import trained

TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


def test_two_ranks_train_as_one(monkeypatch):
    """Averaged over halves of a batch, whole or in two parts each, in float64: only the order of
    summation differs.
    """
    alone = trained()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = TORCHRUN | {"MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training._rank"]
    other = subprocess.Popen(command, env=os.environ | shared)
    for name, value in (shared | {"RANK": "0", "LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, value)
    try:
        with distributed.process_group(torch.device("cpu"), timeout_seconds=60.0) as ranks:
            assert ranks == Ranks(rank=0, world=2, local=0) == distributed.current()
            together = [trained(accumulate) for accumulate in (1, 2)]
        assert other.wait(timeout=60) == 0
    finally:
        other.kill()
        other.wait()
    for found in together:
        require_close(found, alone)


def require_close(together, alone):
    """All numbers of two runs, but for how often a part was computed."""
    assert together.step == alone.step
    for group in ("weights", "ema", "optimiser"):
        for name, value in getattr(alone, group).items():
            if name.endswith("calls"):
                continue
            close = torch.allclose(getattr(together, group)[name], value, rtol=1e-6, atol=1e-9)
            assert close, (group, name)
    for row, expected in zip(together.losses, alone.losses, strict=True):
        assert row == pytest.approx(expected, rel=1e-6)
    assert together.by_level == pytest.approx(alone.by_level, rel=1e-6)
    # The validation sums are kept in float32.
    for row, expected in zip(together.validations, alone.validations, strict=True):
        assert row == pytest.approx(expected, rel=1e-6)


def test_ranks_share_every_row_once():
    for count, world in ((8, 2), (7, 3), (2, 4)):
        rows = [list(range(count))[Ranks(rank=r, world=world).rows(count)] for r in range(world)]
        assert sum(rows, []) == list(range(count))


def test_the_environment_of_torchrun():
    assert from_environment({}) == Ranks() and Ranks().is_first
    assert from_environment(TORCHRUN) == Ranks(rank=1, world=2, local=1)
    assert from_environment({"RANK": "0", "WORLD_SIZE": "1"}) == Ranks()
    with pytest.raises(ConfigError, match=r"\['LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'\] is not"):
        from_environment({"RANK": "0", "WORLD_SIZE": "2"})
    with pytest.raises(ConfigError, match="not a number.*unset these variables"):
        from_environment(TORCHRUN | {"RANK": "first"})


def test_one_process_needs_no_group():
    with distributed.process_group(torch.device("cpu")) as ranks:
        assert ranks == Ranks() == distributed.current()
        assert distributed.total(torch.ones(2), ranks).tolist() == [1, 1]


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(
        FieldError, match="batch_size: got 7, expected a multiple of the 2 processes"
    ):
        check_batch(7, Ranks(world=2))
