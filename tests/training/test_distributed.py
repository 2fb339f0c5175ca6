import os
import socket
import subprocess
import sys

import pytest
import torch

from diffsci.errors import ConfigError, FieldError
from diffsci.running.stopping import Stopped
from diffsci.training import company, distributed
from diffsci.training.company import RankError, cause_of
from diffsci.training.distributed import Ranks, check_batch, from_environment
from tests.training._rank import all_ways, trained
from tests.training.tiny import digest

GROUPS = ("weights", "ema", "optimiser")
TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}


@pytest.fixture(scope="module")
def ways(tmp_path_factory):
    """States of two ranks, of which this process is the first; and of one alone."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = TORCHRUN | {"MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training._rank", str(folder)]
    found = {"alone": trained()}
    other = subprocess.Popen(command, env=os.environ | shared)
    patch = pytest.MonkeyPatch()
    for name, value in (shared | {"RANK": "0", "LOCAL_RANK": "0"}).items():
        patch.setenv(name, value)
    try:
        with distributed.process_group(torch.device("cpu"), timeout_seconds=60.0) as ranks:
            assert ranks == Ranks(rank=0, world=2, local=0) == distributed.current()
            found |= all_ways(folder)
        assert other.wait(timeout=60) == 0
    finally:
        patch.undo()
        other.kill()
        other.wait()
    return found


@pytest.mark.parametrize("way", ["wrapped", "wrapped in two parts", "sharded"])
def test_two_ranks_train_as_one(ways, way):
    """Averaged over halves of a batch, whole or in two parts each, in float64: only the order of
    summation differs.
    """
    require_close(ways[way], ways["alone"])


@pytest.mark.parametrize("parts", ["", " in two parts"])
def test_sharded_training_is_the_wrapped_one(ways, parts):
    """A sum of two addends has one order. That of the norm has several, and clipping hands it on:
    measured 2e-16.
    """
    sharded, wrapped = ways[f"sharded{parts}"], ways[f"wrapped{parts}"]
    require_close(sharded, wrapped, rel=1e-13)
    for group in ("weights", "ema", "optimiser"):
        assert getattr(sharded, group).keys() == getattr(wrapped, group).keys()


@pytest.mark.parametrize("way", ["wrapped", "sharded"])
def test_gone_on_with_from_its_checkpoint_it_is_the_same_to_the_bit(ways, way):
    assert digest(ways[f"{way}, then {way}"]) == digest(ways[way])


def test_a_checkpoint_knows_no_ranks(ways):
    """Begun sharded and gone on with wrapped, or the other way round."""
    for found in (ways["sharded, then wrapped"], ways["wrapped, then sharded"]):
        require_close(found, ways["wrapped"], rel=1e-13)


def require_close(together, alone, rel=1e-6):
    """All numbers of two runs, but for how often a part was computed."""
    assert together.step == alone.step
    groups = [(getattr(together, name), getattr(alone, name)) for name in GROUPS]
    groups += zip(together.ema_others, alone.ema_others, strict=True)
    groups += zip(together.powers, alone.powers, strict=True)
    for found, expected in groups:
        for name, value in expected.items():
            if name.endswith("calls"):
                continue
            close = torch.allclose(found[name], value, rtol=rel, atol=rel / 1000)
            assert close, (name, (found[name] - value).abs().max())
    for row, expected in zip(together.losses, alone.losses, strict=True):
        assert row == pytest.approx(expected, rel=rel)
    assert together.by_level == pytest.approx(alone.by_level, rel=rel)
    # The validation sums are kept in float32.
    for kind in ("validations", "scores"):
        rows = zip(getattr(together, kind), getattr(alone, kind), strict=True)
        assert all(row == pytest.approx(expected, rel=1e-6) for row, expected in rows)
        assert getattr(alone, kind)


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


@pytest.mark.parametrize("lost", [RuntimeError("Connection closed by peer"), RankError("r", 1)])
def test_a_stop_in_the_middle_of_missing_another_process_is_told_as_that(lost):
    with pytest.raises(Stopped) as stopped:
        try:
            raise lost
        finally:
            raise Stopped(75, "at once")
    assert cause_of(stopped.value) is lost


def test_a_stop_in_the_middle_of_anything_else_is_a_stop():
    with pytest.raises(Stopped) as stopped:
        try:
            raise KeyError("looked for")
        except KeyError:
            raise Stopped(75, "at once")  # noqa: B904  as a handler of signals does
    assert cause_of(stopped.value) is stopped.value
    assert cause_of(error := RuntimeError("Connection closed by peer")) is error


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(
        FieldError, match="batch_size: got 7, expected a multiple of the 2 processes"
    ):
        check_batch(7, Ranks(world=2))


def test_what_was_said_at_one_meeting_is_not_heard_at_the_next(monkeypatch):
    """The points of a sweep are met for one after another; torchrun's store outlives each."""
    store = torch.distributed.HashStore()
    monkeypatch.setattr(company, "rendezvous", lambda *_, **__: iter([(store, 0, 2)]))
    monkeypatch.setattr(company, "_met", {})

    def met(rank):
        monkeypatch.setenv("RANK", str(rank))
        return company.meet_others(1.0)

    for point in ("first", "second"):
        one, two = met(0), met(1)
        assert not two.check(["word/train"])
        one.set("word/train", point)
        assert two.get("word/train") == point.encode()
