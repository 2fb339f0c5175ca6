"""What a second worker of `diffsci prepare` is worth: the whole command with one and with two.

A NetCDF file of three variables on 128 x 256 cells, one field to a chunk, is prepared by turns, the
caches warm. Starting the command and its workers takes 3 to 5 s of each turn, which small data does
not repay: so the size is a part of the answer.

    python -m benchmarks.preparing [--fields N] [--rounds N]
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask.array as da
import numpy as np
import xarray as xr

CELLS = (128, 256)


def written(path, fields):
    """A file of `fields` times, made block by block, since it is larger than one may hold."""
    shape = (fields, *CELLS)
    random = da.random.default_rng(0)
    data = {
        name: (
            ("time", "latitude", "longitude"),
            random.standard_normal(shape, chunks=(100, *CELLS), dtype="f4"),
            {"units": "K"},
        )
        for name in "abc"
    }
    coords = {
        "time": np.datetime64("2001-01-01", "ns") + np.arange(fields) * np.timedelta64(6, "h"),
        "latitude": np.linspace(-89, 89, CELLS[0]),
        "longitude": np.arange(CELLS[1]) * 360 / CELLS[1],
    }
    chunks = dict.fromkeys("abc", {"chunksizes": (1, *CELLS)})
    xr.Dataset(data, coords).to_netcdf(path, encoding=chunks)


def seconds(source, target, workers):
    """Of the clock, of the whole command."""
    shutil.rmtree(target, ignore_errors=True)
    # What the turn before left to be written would be on this one's account.
    os.sync()
    command = [sys.executable, "-m", "diffsci", "prepare", source, "--out", target]
    asked = ["--domain", "weather", "--workers", str(workers)]
    start = time.perf_counter()
    subprocess.run([*command, *asked], check=True, capture_output=True)
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fields", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "source.nc"), Path(name, "out.zarr")
        written(source, asked.fields)
        print(f"{source.stat().st_size / 2**30:.1f} GiB")
        turns = [[seconds(source, target, n) for n in (1, 2)] for _ in range(asked.rounds)]
        for one, two in turns:
            print(f"1 worker {one:6.1f} s   2 workers {two:6.1f} s   {one / two:.2f}x")
        print(f"two workers are {statistics.median(a / b for a, b in turns):.2f}x as fast as one")


if __name__ == "__main__":
    main()
