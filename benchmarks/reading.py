"""How fast fields are read: our readers beside xarray, zarr and tensorstore, in one process.

One field of three variables at random, warm cache, 128 x 256 float32. Rounds are interleaved, so
that what else the machine does falls on all alike; a ratio is a median over rounds. Seconds are
those of the clock, and of the processor, which other work moves less. Then the pass of `prepare`
beside xarray's own write of the same data into the same layout.

    python benchmarks/reading.py [--fields N] [--rounds N]
"""

import argparse
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from diffsci.data.catalog import Entry, Source
from diffsci.data.domains.weather import Weather
from diffsci.data.prepared import states
from diffsci.data.prepared.blocks import Plan
from diffsci.data.prepared.preparing import prepare

NAMES = ("a", "b", "c")


def made(fields):
    random = np.random.default_rng(0)
    shape = (fields, 128, 256)
    data = {
        n: (
            ("time", "latitude", "longitude"),
            random.normal(size=shape).astype("f4"),
            {"units": "K"},
        )
        for n in NAMES
    }
    return xr.Dataset(
        data,
        {
            "time": np.datetime64("2001-01-01", "ns") + np.arange(fields) * np.timedelta64(6, "h"),
            "latitude": np.linspace(-89, 89, 128),
            "longitude": np.arange(256) * 360 / 256,
        },
    )


def candidates(store, folder):
    common = states.told(store, NAMES)
    shards = zarr.open_group(store, mode="r")["a"].shards
    plain = states.Chunks(**common)
    ours = states.Shards(**common, shards=shards)
    memory = states.loaded(ours)
    ds = xr.open_zarr(store, consolidated=False, chunks=None)

    def by_xarray(rows):
        return np.stack([[ds[n].isel(time=int(r[0])).values for n in NAMES] for r in rows])

    def copied(rows):
        return np.stack([memory.values[int(r[0])] for r in rows])

    found = {"xarray, chunks=None": by_xarray, "zarr": plain.read, "shards (ours)": ours.read}
    try:
        import tensorstore  # noqa: F401

        found["tensorstore"] = states.Concurrent(**common).read
    except ImportError:
        print("tensorstore is not there: pip install 'diffsci[fast-io]'")
    found |= {"memory": memory.read, "memmap": states.mapped(ours, folder / "a.npy").read}
    return found | {"plain copy": copied}


def rates(found, fields, rounds, batch=16):
    random, taken = np.random.default_rng(1), {name: [] for name in found}
    for number in range(rounds + 1):
        rows = random.integers(0, fields, (batch, 1))
        for name, read in found.items():
            start = time.perf_counter(), time.process_time()
            read(rows)
            if number:  # The first round warms caches.
                lasted = time.perf_counter() - start[0], time.process_time() - start[1]
                taken[name].append(lasted)
    medians = {
        n: [statistics.median(each) for each in zip(*t, strict=True)] for n, t in taken.items()
    }
    return {name: [batch / max(1e-9, each) for each in two] for name, two in medians.items()}


def passes(ds, folder, rounds):
    """Seconds of CPU of xarray's write and of ours with the same codecs, by turns."""
    source = folder / "source.nc"
    ds.to_netcdf(source)
    entry = Entry(name="a", source=Source(path=str(source)))
    layout = {"chunks": (1, 128, 256), "shards": (len(ds.time), 128, 256)}
    codecs = {"compressors": (zarr.codecs.Crc32cCodec(),), "filters": None}
    theirs, own = [], []
    for number in range(rounds):
        start = time.process_time()
        with xr.open_dataset(source, chunks=None) as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps = dict.fromkeys(NAMES, layout | codecs)
            opened.to_zarr(folder / f"x{number}.zarr", consolidated=False, encoding=steps)
        theirs.append(time.process_time() - start)
        start = time.process_time()
        prepare(Plan(entry=entry, domain=Weather(), target=folder / f"o{number}.zarr"))
        own.append(time.process_time() - start)
    return statistics.median(a / b for a, b in zip(own, theirs, strict=True))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fields", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=40)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, ds = Path(name), made(asked.fields)
        entry = Entry(name="a", source=Source(data=ds))
        store = prepare(Plan(entry=entry, domain=Weather(), target=folder / "a.zarr"))
        found = rates(candidates(store, folder), asked.fields, asked.rounds)
        base = found["xarray, chunks=None"]
        copy = found["plain copy"]
        print(f"{'':<22}{'by the clock':^30}{'by processor time':^30}")
        print(f"{'reader':<22}" + 2 * f"{'fields/s':>10}{'x xarray':>10}{'x copy':>10}")
        for reader, two in found.items():
            cells = [
                f"{rate:>10,.0f}{rate / base[i]:>10.2f}{rate / copy[i]:>10.2f}"
                for i, rate in enumerate(two)
            ]
            print(f"{reader:<22}{''.join(cells)}")
        ratio = passes(ds.isel(time=slice(min(200, asked.fields))), folder, 3)
        print(
            f"prepare takes {ratio:.2f} of the CPU time of xarray's own write (goal: at most 1.5)"
        )


if __name__ == "__main__":
    main()
