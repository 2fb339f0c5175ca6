"""Run in a process of its own: stores that are killed while they grow, in forks of it.

Prints JSON: for each trial how often it was killed, which committed units were computed again, and
whether the store is that of one that was left alone.
"""

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from diffsci.errors import StorageError
from diffsci.forecasting import work
from tests import tiny_runs
from tests.stages import test_sampling as stores

PLACES = (
    "store.begun",
    "store.chunks:1",
    "store.block:2",
    "store.chunks:2",
    "compact.template",
    "compact.block:1",
    "compact.block:1",
    "compact.ledger",
    "compact.ready",
    "store.named",
)
"""Where to kill, one after the other; the last is passed when the store has its name."""

GROWING = (*PLACES[:3], *PLACES[4:-1], "folder.retired", PLACES[-1])
"""The same where a store is there; less is left to compute, and the old store makes way."""


def write(store, members, log):
    """Make a store grow; the names of units are told before they are computed."""
    real = work.Writing.write

    def told(self, first, values):
        if first == 0:
            with log.open("a") as file:
                file.write(f"{self.name}\n")
        real(self, first, values)

    work.Writing.write = told
    # Units of few rows, chunks of two cases: some of everything.
    stores.forecast(store, cases=range(5), members=members, leads=3, batch=1, seed=0)


def begin(store, members, log, failpoint=""):
    child = os.fork()
    if not child:
        os.environ["DIFFSCI_FAILPOINT"] = failpoint
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        write(store, members, log)
        os._exit(0)
    return child


def committed(store):
    return {path.stem for path in work.work_place(work.Place.of(store)).path.glob("unit-*.json")}


def gone_on(store, members, log, failpoint="", seconds=None):
    """One call, killed at a place or after some time; its code, and what it did in vain."""
    before = committed(store)
    log.write_text("")
    child = begin(store, members, log, failpoint)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, sorted(before & set(log.read_text().split()))


def at_places(root, whole, steps):
    """Killed at each place in turn, for each size that it is to have."""
    store, log, found = root / "places.zarr", root / "places.log", []
    for members in steps:
        places = PLACES if members == steps[0] else GROWING
        for place in places:
            code, again = gone_on(store, members, log, place)
            found.append({"place": place, "code": code, "again": again})
        gone_on(store, members, log)
    return {"kills": found, "same": tiny_runs.tree(store) == whole, "left": left(store)}


def full(root, whole, members, limit):
    """No file may grow beyond a size, as on a full disk; then there is room again."""
    store, log = root / f"full-{limit}.zarr", root / f"full-{limit}.log"
    write(store, 4, log)  # what is there already
    before = tiny_runs.tree(store)
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            write(store, members, log)
        except StorageError as error:
            (root / "told").write_text(str(error)[:limit])
            os._exit(error.exit_code)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    untouched = tiny_runs.tree(store) == before
    again, _ = gone_on(store, members, log)
    told = (root / "told").read_text()
    same = tiny_runs.tree(store) == whole
    return {"codes": [code, again], "told": told, "untouched": untouched, "same": same}


def left(store):
    return sorted(path.name for path in store.parent.iterdir() if path.name.startswith("."))


def at_random(root, whole, members, lasted, turn):
    """Killed at four moments of the clock, early enough that something is left to do."""
    random = np.random.default_rng(turn)
    store, log, found = root / f"random-{turn}.zarr", root / f"random-{turn}.log", []
    for share in random.uniform(0.02, 0.22, 4):
        code, again = gone_on(store, members, log, seconds=share * lasted)
        found.append({"code": code, "again": again})
    found.append(dict(zip(("code", "again"), gone_on(store, members, log), strict=True)))
    return {"calls": found, "same": tiny_runs.tree(store) == whole, "left": left(store)}


def in_compaction(root, whole, members, turn):
    """Killed while all units are there, at a moment of the clock that differs by the turn."""
    store, log = root / f"compact-{turn}.zarr", root / f"compact-{turn}.log"
    code, _ = gone_on(store, members, log, "compact.template")
    units = committed(store)
    killed, again = gone_on(store, members, log, seconds=0.01 + 0.03 * turn)
    last, more = gone_on(store, members, log)
    return {
        "codes": [code, killed, last],
        "again": [*again, *more],
        "units": len(units),
        "same": tiny_runs.tree(store) == whole,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    from diffsci.forecasting import store as layout

    layout.CHUNK_BYTES = 3000  # a chunk of two cases
    base = Path(sys.argv[1])
    write(base / "four.zarr", 4, base / "log")  # imports, once instead of in every fork
    members = 30 if sys.argv[2:] == ["slow"] else 7
    begun = time.monotonic()
    os.waitpid(begin(base / "whole.zarr", members, base / "log"), 0)
    seconds = time.monotonic() - begun
    expected = tiny_runs.tree(base / "whole.zarr")
    if sys.argv[2:] == ["slow"]:
        result = {
            "random": [at_random(base, expected, members, seconds, turn) for turn in range(5)],
            "compaction": [in_compaction(base, expected, members, turn) for turn in range(10)],
        }
    else:
        result = {
            "places": at_places(base, expected, (4, 7)),
            "full": [full(base, expected, 7, limit) for limit in (500, 2500)],
        }
    print(json.dumps(result))
