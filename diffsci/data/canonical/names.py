"""Names and units by which common files call their axes; names are compared without case."""

from __future__ import annotations

NAMES = {
    "latitude": ("latitude", "lat", "nav_lat", "lats", "ylat", "xlat"),
    "longitude": ("longitude", "lon", "long", "nav_lon", "lons", "xlon", "xlong"),
    "time": ("time", "valid_time", "t", "date", "datetime", "times", "time_counter", "xtime",
             "tt", "tspan"),
    "level": (
        "level", "pressure_level", "plev", "isobaricinhpa", "lev", "levels", "pressure",
        "isobaric", "depth", "height_level",
    ),
    "sample": ("sample", "trajectory", "trajectories", "traj", "index", "image", "batch", "n"),
    "frame": ("time", "frame", "frames", "t"),
    "z": ("z", "depth", "slice"),
    "y": ("y", "height", "row", "rows", "h"),
    "x": ("x", "width", "col", "cols", "column", "w"),
    "channel": ("channel", "channels", "band", "bands", "rgb", "c", "field"),
}  # fmt: skip

PLACE_UNITS = {"latitude": ("degrees_north", "degree_north", "degrees_n", "degreen"),
          "longitude": ("degrees_east", "degree_east", "degrees_e", "degreee")}  # fmt: skip
