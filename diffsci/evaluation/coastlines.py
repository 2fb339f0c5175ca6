"""Coastlines: those of Natural Earth, where cartopy has put them on the disk; none are fetched.

The files are read here, and cartopy is not imported: it loads PROJ and GEOS, which have crashed
processes that have other copies of the same C libraries, as netCDF4 and eccodes bring them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float

log = logging.getLogger(__name__)

_SCALES = ("50m", "110m", "10m")
_HEADER, _POLYLINE = 100, (3, 13, 23)
"""Bytes before the first record; types of shapes that are lines, the latter with more than x, y."""


@cache
def coastlines() -> tuple[Float[np.ndarray, "point 2"], ...]:
    """Longitudes and latitudes of each line; none where the disk has none, which the log says."""
    for folder in folders():
        for scale in _SCALES:
            name = f"ne_{scale}_coastline.shp"
            path = folder / "shapefiles" / "natural_earth" / "physical" / name
            if not path.is_file():
                continue
            try:
                return tuple(_lines(path.read_bytes()))
            except (OSError, ValueError) as error:
                log.warning("%s: cannot be read (%s); maps have no coastlines", path, error)
                return ()
    wanted = folders()[0] / "shapefiles" / "natural_earth" / "physical"
    log.info("maps have no coastlines: put Natural Earth's files ne_110m_coastline in %s", wanted)
    return ()


def folders() -> list[Path]:
    """Where cartopy looks for data, in its order."""
    found = [Path(told)] if (told := os.environ.get("CARTOPY_DATA_DIR")) else []
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    found.append(Path(home) / "cartopy")
    package = find_spec("cartopy")
    if package is not None and package.origin is not None:
        found.append(Path(package.origin).parent / "data")
    return found


def _lines(data: bytes) -> Iterator[np.ndarray]:
    """The lines of a shapefile.

    Raises:
        ValueError: For a file that is none, or is cut.

    Source:
        ESRI (1998), Shapefile technical description.
    """
    if len(data) < _HEADER or data[:4] != (9994).to_bytes(4, "big"):
        raise ValueError("not a shapefile")
    at = _HEADER
    while at < len(data):
        size = 2 * int.from_bytes(data[at + 4 : at + 8], "big")
        record = data[at + 8 : at + 8 + size]
        at += 8 + size
        if len(record) < max(size, 4):
            raise ValueError("it ends in the middle of a line")
        if int.from_bytes(record[:4], "little") not in _POLYLINE:
            continue
        parts, points = np.frombuffer(record, "<i4", 2, 36).tolist()
        starts = np.frombuffer(record, "<i4", parts, 44)
        places = np.frombuffer(record, "<f8", 2 * points, 44 + 4 * parts).reshape(-1, 2)
        yield from np.split(places, starts[1:])
