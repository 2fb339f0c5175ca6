"""Run in a process of its own: stores that are killed while they grow, in forks of it.

Prints JSON: for each trial how often it was killed, which committed units were computed again, and
whether the store is that of one that was left alone.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from diffsci.errors import StorageError
from diffsci.forecasting.store import work
from tests import tiny_runs
from tests.stages.ensembles import test_sampling as stores

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


EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.rmdir"}
"""What a store is made of: each changes the disk, or reads it."""


class Counting:
    """Counts events from its making on, in all threads; kills this process at one of them."""

    def __init__(self, last):
        self.last, self.found = last, 0
        sys.addaudithook(self)

    def __call__(self, event, _):
        if event in EVENTS:
            self.found += 1
            if self.found == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


def begin(store, members, log, failpoint="", last=0):
    child = os.fork()
    if not child:
        os.environ["DIFFSCI_FAILPOINT"] = failpoint
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 2)
        counting = Counting(last)
        write(store, members, log)
        log.with_suffix(".events").write_text(str(counting.found))
        os._exit(0)
    return child


def events(log):
    """Of the last call that went to its end."""
    return int(log.with_suffix(".events").read_text())


def committed(store):
    return {path.stem for path in work.work_place(work.Place.of(store)).path.glob("unit-*.json")}


def gone_on(store, members, log, failpoint="", last=0):
    """One call, killed at a place or an event; its code, and what it did in vain."""
    before = committed(store)
    log.write_text("")
    child = begin(store, members, log, failpoint, last)
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


def at_random(root, whole, members, count, turn):
    """Killed at four events of the clockwork, early enough that something is left to do."""
    random = np.random.default_rng(turn)
    store, log, found = root / f"random-{turn}.zarr", root / f"random-{turn}.log", []
    for share in random.uniform(0.02, 0.22, 4):
        code, again = gone_on(store, members, log, last=1 + int(share * count))
        found.append({"code": code, "again": again})
    found.append(dict(zip(("code", "again"), gone_on(store, members, log), strict=True)))
    return {"calls": found, "same": tiny_runs.tree(store) == whole, "left": left(store)}


def compacted(root, whole, members, name, last=0):
    """Killed while all units are there, and at an event of putting them together."""
    store, log = root / f"compact-{name}.zarr", root / f"compact-{name}.log"
    code, _ = gone_on(store, members, log, "compact.template")
    units = committed(store)
    killed, again = gone_on(store, members, log, last=last)
    if not last:
        return events(log)
    ended, more = gone_on(store, members, log)
    return {
        "codes": [code, killed, ended],
        "again": [*again, *more],
        "units": len(units),
        "same": tiny_runs.tree(store) == whole,
    }


def in_compaction(root, whole, members, turns):
    """At as many events, spread over all that it takes."""
    count = compacted(root, whole, members, "whole")
    lasts = [1 + int((turn + 0.5) / turns * count) for turn in range(turns)]
    return [compacted(root, whole, members, turn, last) for turn, last in enumerate(lasts)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    from diffsci.forecasting.store import disk as layout

    layout.CHUNK_BYTES = 3000  # a chunk of two cases
    base = Path(sys.argv[1])
    write(base / "four.zarr", 4, base / "log")  # imports, once instead of in every fork
    members = 30 if sys.argv[2:] == ["slow"] else 7
    os.waitpid(begin(base / "whole.zarr", members, base / "log"), 0)
    count = events(base / "log")
    expected = tiny_runs.tree(base / "whole.zarr")
    if sys.argv[2:] == ["slow"]:
        result = {
            "random": [at_random(base, expected, members, count, turn) for turn in range(5)],
            "compaction": in_compaction(base, expected, members, 10),
        }
    else:
        result = {
            "places": at_places(base, expected, (4, 7)),
            "full": [full(base, expected, 7, limit) for limit in (500, 2500)],
        }
    print(json.dumps(result))
