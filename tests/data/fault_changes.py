"""Changes of a clean data set, at random places: `(data set, random)` gives the changed one."""

import cftime
import numpy as np
import xarray as xr

HOUR = np.timedelta64(1, "h")


def spot(value, count=1):
    def change(ds, random):
        values = ds["t2m"].values
        places = random.choice(values.size, count, replace=False)
        values.flat[places] = value
        return ds

    return change


def times(order):
    return lambda ds, random: ds.isel(time=order(random))


def levels(values, **told):
    def change(ds, random):
        stack = xr.concat([ds["t2m"] * 1, ds["t2m"] + 10], "plev")
        return stack.assign_coords(plev=("plev", values, told)).to_dataset(name="ta")

    return change


def land(ds, random):
    ds["t2m"][:, :, :3] = np.nan
    return ds


def ranged(ds, random):
    """Its own extremes, in float64, are what is valid: half of them round into the range."""
    ends = [float(f"{end:.7g}") for end in (ds["t2m"].values.min(), ds["t2m"].values.max())]
    ds["t2m"].attrs["valid_range"] = np.array(ends)
    return ds


def beyond(ds, random):
    ranged(ds, random)
    return spot(1000.0)(ds, random)


def wandering(ds, random):
    for time in range(8):
        ds["t2m"][time, time % 7, 2:5] = np.nan
    return ds


def swept(ds, random):
    ds = wandering(ds, random)
    ds["t2m"][int(random.integers(8))] = np.nan
    return ds


def irregular(ds, random):
    return ds.assign_coords(x=np.cumsum(random.uniform(1, 2, 16)))


def without_parameter(ds, random):
    ds["viscosity"][int(random.integers(5))] = np.nan
    return ds


def curved(ds, random):
    lat, lon = np.meshgrid(ds["latitude"].values, ds["longitude"].values, indexing="ij")
    ds = ds.rename(latitude="j", longitude="i").drop_vars(["j", "i"])
    return ds.assign_coords(lat=(("j", "i"), lat + 0.1 * lon), lon=(("j", "i"), lon))


def placeless(ds, random):
    ds = curved(ds, random)
    ds["lat"][int(random.integers(7)), int(random.integers(9))] = np.nan
    return ds


def summed(ds):
    """The temperatures as a sum over the hours of two days."""
    sums = (ds["t2m"] - ds["t2m"].min()).cumsum("time").assign_attrs(units="K")
    return ds.assign(t2m=sums).assign_coords(time=ds["time"].values[0] + np.arange(8) * HOUR)


def fallen(ds, random):
    ds = summed(ds)
    ds["t2m"][int(random.integers(2, 8))] *= 0.3
    return ds


def noisy(ds, random):
    ds = summed(ds)
    place = (int(random.integers(7)), int(random.integers(9)))
    ds["t2m"][(5, *place)] = ds["t2m"][(4, *place)] * (1 - 1e-3)
    return ds


def repeated_meridian(ds, random):
    again = (ds.isel(longitude=[0]) + 1).assign_coords(longitude=ds.longitude[:1] + 360)
    return xr.concat([ds, again.assign(t2m=again.t2m.assign_attrs(units="K"))], "longitude")


def negative_class(ds, random):
    ds["label"][int(random.integers(6))] = -1
    return ds


def unnamed(ds, random):
    return xr.Dataset({"u": (("dim_0", "dim_1", "dim_2"), ds["u"].values)})


def wind(ds, random):
    return ds.rename(t2m="u10").assign(u10=lambda d: d.u10.assign_attrs(units="m s-1"))


def wandering_places(ds, random):
    north, east = np.meshgrid(ds["latitude"].values, ds["longitude"].values, indexing="ij")
    step = np.zeros(ds.sizes["time"])
    step[random.integers(1, len(step)) :] = 0.1
    flat = ds.drop_vars(["latitude", "longitude"]).rename(latitude="j", longitude="i")
    where = {"lat": north + step[:, None, None], "lon": east + 0 * step[:, None, None]}
    return flat.assign({name: (("time", "j", "i"), values) for name, values in where.items()})


def as_matrices(ds, dims):
    """One trajectory with its axes as MATLAB has them: a row of times, a column of places."""
    column = {
        "x": (("a", "b"), ds["x"].values[:, None]),
        "t": (("b", "c"), ds["time"].values[None]),
    }
    return xr.Dataset({**column, "u": (dims, ds["u"].values[0])})


def square(ds, random):
    return as_matrices(ds, ("c", "n1")).assign(
        u=(("c", "n1", "n2"), random.normal(size=(6, 16, 16)))
    )


def swath(ds, random):
    seconds = ("j", np.sort(random.uniform(0, 90, 7)), {"units": "seconds since 2010-01-01"})
    return curved(ds.isel(time=0, drop=True), random).assign(time=seconds)


def digits(random):
    return 19_900_101.0 + np.arange(8) + random.integers(20)


def as_cftime(calendar, year=2001):
    def change(ds, random):
        start = cftime.datetime(year, 2, 25, calendar=calendar)
        step = cftime.datetime(year, 2, 26, calendar=calendar) - start
        return ds.assign_coords(time=[start + n * step for n in range(8)])

    return change


def months(ds, random):
    stamps = np.arange("2001-01", "2001-09", dtype="datetime64[M]").astype("datetime64[ns]")
    return ds.assign_coords(time=stamps)


def scaled(factor):
    return lambda ds, random: ds.assign(t2m=(ds["t2m"] * factor).assign_attrs(units="K"))


def two_by_two(ds, random):
    values = random.normal(size=(5, 6, 8, 12)).astype("f4")
    return ds.drop_vars(["u", "x"]).assign(u=(("sample", "time", "y", "x"), values))


def converted(ds, random):
    """The dims of a file that was made by hand from arrays, with coordinates among its fields."""
    u, t, x = ds["u"].values[0], ds["time"].values, ds["x"].values
    return xr.Dataset({"u": (("dim_0", "dim_1"), u), "t": ("dim_0", t), "x": ("dim_1", x)})


def standing(ds, random):
    """A category of land, or ground, that is written at all times alike."""
    kinds = ds["t2m"] * 0 + random.integers(1, 20, ds["t2m"].shape[1:])
    return ds.assign(LU_INDEX=kinds.assign_attrs(units="1"))


def permeable(ds, random):
    """A field of each trajectory that does not move."""
    kinds = random.normal(size=(5, 1, 16)) + 0 * ds["u"]
    return ds.assign(k=kinds)
