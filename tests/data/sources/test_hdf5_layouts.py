"""The Well's and PDEBench's layouts, and plain arrays: files as their descriptions have them."""

import h5py
import numpy as np
import pytest
import scipy.io

from diffsci.data import reader
from diffsci.data.catalog import Entry, Source
from diffsci.data.checks import preflight
from diffsci.data.domains.pde import Pde
from diffsci.errors import DataError
from diffsci.sections import Part

B, T, W, H = 3, 4, 5, 6
RNG = np.random.default_rng(0)
SCALAR = RNG.normal(size=(B, T, W, H)).astype("f4")
VECTOR = RNG.normal(size=(B, T, W, H, 2)).astype("f4")
TENSOR = RNG.normal(size=(B, T, W, H, 2, 2)).astype("f4")
FIXED = RNG.normal(size=(B, W)).astype("f4")


def the_well(path, seed=0, times=None, per_sample=False):
    with h5py.File(path, "w") as file:
        file.attrs.update(
            dataset_name="made", grid_type="cartesian", n_spatial_dims=2, n_trajectories=B
        )
        dims = file.create_group("dimensions")
        dims.attrs["spatial_dims"] = ["x", "y"]
        times = np.arange(T) * 0.25 if times is None else times
        dims["time"] = np.tile(times, (B, 1)).astype("f4") if per_sample else times.astype("f4")
        dims["x"], dims["y"] = np.linspace(0, 1, W, dtype="f4"), np.linspace(0, 2, H, dtype="f4")
        sides = file.create_group("boundary_conditions")
        for name, dim, kind, mask in (
            ("x_periodic", "x", "periodic", [1, 0, 0, 0, 1]),
            ("y_low", "y", "WALL", [1, 0, 0, 0, 0, 0]),
            ("y_high", "y", "open", [0, 0, 0, 0, 0, 1]),
        ):
            one = sides.create_group(name)
            one.attrs.update(bc_type=kind, associated_dims=[dim])
            one["mask"] = np.array(mask, dtype=bool)
        scalars = file.create_group("scalars")
        scalars.attrs["field_names"] = ["alpha", "zeta", "forcing"]
        scalars["alpha"], scalars["zeta"] = np.float32(seed + 1.5), np.arange(B, dtype="f4")
        scalars["forcing"] = np.arange(T, dtype="f4")
        for name, varies in (("alpha", False), ("zeta", False), ("forcing", True)):
            scalars[name].attrs["time_varying"] = varies
        for order, name, values in ((0, "rho", SCALAR), (1, "v", VECTOR), (2, "D", TENSOR)):
            group = file.create_group(f"t{order}_fields")
            group.attrs["field_names"] = [name]
            group[name] = values + np.float32(seed)
            group[name].attrs.update(sample_varying=True, time_varying=True)
            group[name].attrs["dim_varying"] = [True, True]
        file["t0_fields"]["source"] = FIXED
        file["t0_fields"]["source"].attrs.update(
            sample_varying=True, time_varying=False, dim_varying=[True, False]
        )
    return str(path)


def test_the_well(tmp_path):
    path = the_well(tmp_path / "a.hdf5")
    found = reader.read(path, Pde(), Part(), variables=("rho", "v_x", "v_y", "D_xx", "D_yx"))
    assert found.grid.dims == ("y", "x") and found.grid.sizes == (H, W)
    assert found.grid.boundary == (("wall", "open"), ("periodic", "periodic"))
    turned = [SCALAR, VECTOR[..., 0], VECTOR[..., 1], TENSOR[..., 0, 0], TENSOR[..., 1, 0]]
    for number, values in enumerate(turned):
        assert np.array_equal(found.values[:, :, number], values.swapaxes(-1, -2))
    assert [c.vector for c in found.channels] == [False, True, True, False, False]
    assert found.scalar_names == ("alpha", "zeta")
    assert found.scalars.tolist() == [[1.5, 0], [1.5, 1], [1.5, 2]]
    assert np.allclose(found.times, [0, 0.25, 0.5, 0.75])
    raw = reader.open_raw(Entry(name="a", source=Source(path=path)))
    assert not raw["rho"].variable._in_memory and raw["source"].dims == ("sample", "x")
    assert np.array_equal(raw["v_y"].values[1:, ::2], VECTOR[1:, ::2, ..., 1])
    assert preflight.infer_domain(raw, Entry(name="a", source=Source(path=path))) == Pde()


def test_trajectories_of_several_files_follow_one_another(tmp_path):
    for seed in range(3):
        the_well(tmp_path / f"{seed}.hdf5", seed)
    found = reader.read(str(tmp_path), Pde(), Part(), variables=("rho",))
    wanted = np.concatenate([SCALAR + np.float32(seed) for seed in range(3)])
    assert np.array_equal(found.values[:, :, 0], wanted.swapaxes(-1, -2))
    assert found.trajectories.tolist() == list(range(9))
    assert found.scalars[:, 0].tolist() == [1.5] * 3 + [2.5] * 3 + [3.5] * 3
    part = reader.read(str(tmp_path), Pde(), Part(samples=(4, 8)), variables=("rho",))
    assert np.array_equal(part.values, found.values[4:8])
    the_well(tmp_path / "3.hdf5", 3, times=np.arange(T) * 0.5)
    with pytest.raises(DataError, match="4 files do not fit together"):
        reader.read(str(tmp_path), Pde(), Part())


def test_times_of_the_well(tmp_path):
    irregular = the_well(tmp_path / "a.hdf5", times=np.array([0, 1, 2, 4.0]))
    found = reader.read(irregular, Pde(), Part(), variables=("rho",))
    assert np.flatnonzero(found.breaks).tolist() == [3]
    same = the_well(tmp_path / "b.hdf5", per_sample=True)
    assert np.allclose(reader.read(same, Pde(), Part(), variables=("rho",)).times, np.arange(4) / 4)
    with h5py.File(same, "a") as file:
        file["dimensions"]["time"][1] += 1
    with pytest.raises(DataError, match="time differs between trajectories"):
        reader.read(same, Pde(), Part())


def plain(path, arrays, sizes):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
        for name, size in sizes.items():
            file[f"{name}-coordinate"] = (np.arange(size) + 0.5) / size
    return str(path)


def test_pdebench_in_one_dimension_has_an_edge_more_of_time(tmp_path):
    u = RNG.normal(size=(4, 7, 16)).astype("f4")
    found = reader.read(plain(tmp_path / "a.hdf5", {"tensor": u}, {"x": 16, "t": 8}), Pde(), Part())
    assert np.array_equal(found.values[:, :, 0], u) and found.channels[0].name == "tensor"
    assert np.allclose(found.times, (np.arange(7) + 0.5) / 8)


def test_pdebench_fields_of_one_flow(tmp_path):
    """Vx[sample, time, x, y] beside its coordinates, in a square, where lengths say nothing."""
    arrays = {name: RNG.normal(size=(2, 3, 8, 8)).astype("f4") for name in ("Vx", "density")}
    path = plain(tmp_path / "a.h5", arrays, {"x": 8, "y": 8, "t": 4})
    found = reader.read(path, Pde(), Part())
    for channel, values in zip(
        found.channels, found.values.swapaxes(0, 2).swapaxes(1, 2), strict=True
    ):
        assert np.array_equal(values, arrays[channel.name].swapaxes(-1, -2))


def test_pdebench_darcy_has_a_field_without_a_time(tmp_path):
    nu, u = RNG.normal(size=(5, 8, 8)), RNG.normal(size=(5, 1, 8, 8))
    path = plain(tmp_path / "a.h5", {"nu": nu, "tensor": u}, {"x": 8, "y": 8})
    found = reader.read(path, Pde(), Part())
    both = {c.name: found.values[:, 0, i] for i, c in enumerate(found.channels)}
    assert np.array_equal(both["nu"], nu.swapaxes(-1, -2).astype("f4"))
    assert np.array_equal(both["tensor"], u[:, 0].swapaxes(-1, -2).astype("f4"))


def test_pdebench_a_group_for_each_trajectory(tmp_path):
    data = RNG.normal(size=(3, 4, 5, 6, 2)).astype("f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number, values in enumerate(data):
            group = file.create_group(f"{number:04d}")
            group["data"] = values
            group["grid/x"], group["grid/y"] = np.arange(5.0), np.arange(6.0)
            group["grid/t"] = np.arange(4) * 0.1
    found = reader.read(str(tmp_path / "a.h5"), Pde(), Part())
    for item in range(2):
        assert np.array_equal(found.values[:, :, item], data[..., item].swapaxes(-1, -2))
    raw = reader.open_raw(Entry(name="a", source=Source(path=str(tmp_path / "a.h5"))))
    some = raw["data_1"].isel(sample=[2, 0], time=slice(3, 0, -1), x=2)
    assert np.array_equal(some.values, data[[2, 0], 3:0:-1, 2, :, 1])
    with h5py.File(tmp_path / "a.h5", "a") as file:
        del file["0001/data"]
        file["0001/data"] = data[1, :2]
    with pytest.raises(DataError, match="trajectory 0001 has shape"):
        reader.read(str(tmp_path / "a.h5"), Pde(), Part())


def test_pdebench_incompressible_flow(tmp_path):
    velocity, force = RNG.normal(size=(2, 3, 4, 4, 2)), RNG.normal(size=(2, 4, 4, 2))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["velocity"], file["force"] = velocity.astype("f4"), force.astype("f4")
        file["particles"] = RNG.normal(size=(2, 3, 4, 4, 1)).astype("f4")
        file["t"] = np.tile(np.arange(3.0), (2, 1))
    found = reader.read(str(tmp_path / "a.h5"), Pde(), Part())
    named = {c.name: found.values[:, :, i] for i, c in enumerate(found.channels)}
    assert set(named) == {"velocity_x", "velocity_y", "particles", "force_x", "force_y"}
    turned = velocity[..., 1].swapaxes(-1, -2).astype("f4")
    assert np.array_equal(named["velocity_y"], turned)
    assert np.array_equal(named["force_x"][:, 2], force[..., 0].swapaxes(-1, -2).astype("f4"))


def test_arrays_are_known_by_length_where_that_leaves_no_choice(tmp_path):
    u = RNG.normal(size=(4, 7, 16)).astype("f4")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["U"], file["x"], file["t"] = u, np.arange(16) * 0.5, np.arange(7) * 2.0
        file["viscosity"] = np.arange(4.0)
    found = reader.read(str(tmp_path / "a.h5"), Pde(), Part())
    assert np.array_equal(found.values[:, :, 0], u) and found.scalar_names == ("viscosity",)
    assert found.times.tolist() == [0, 2, 4, 6, 8, 10, 12]


@pytest.mark.parametrize("kind", ["mat", "npz", "h5"])
def test_square_arrays_need_their_dims_said(kind, tmp_path):
    u = RNG.normal(size=(5, 8, 8))
    path = tmp_path / f"sim.{kind}"
    if kind == "mat":
        scipy.io.savemat(path, {"sol": u, "T": np.arange(5.0), "note": "text"})
    elif kind == "npz":
        np.savez(path, sol=u, T=np.arange(5.0))
    else:
        with h5py.File(path, "w") as file:
            file["sol"], file["T"] = u, np.arange(5.0)
    with pytest.raises(DataError, match=r"which dims sol\[5, 8, 8\] has is not said.*open_kwargs"):
        reader.read(str(path), Pde(), Part())
    told = {"sol": ["time", "y", "x"], "T": ["time"]}
    entry = Entry(
        name="sim",
        source=Source(path=str(path)),
        engine="arrays",
        open_kwargs={"dims": told},
        rename={"T": "time"},
    )
    found = reader.read(entry, Pde(), Part())
    assert np.array_equal(found.values[0, :, 0], u.astype("f4"))
    for wrong, message in (
        ({"sol": ["time", "y"]}, "told wrongly"),
        ({"s": ["x"]}, "no array 's'"),
    ):
        odd = Entry(name="sim", source=entry.source, engine="arrays", open_kwargs={"dims": wrong})
        with pytest.raises(DataError, match=message):
            reader.read(odd, Pde(), Part())


def test_objects_in_arrays_never_run(tmp_path):
    class Canary:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.save(tmp_path / "a.npy", np.array([Canary()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="no arrays can be read"):
        reader.read(str(tmp_path / "a.npy"), Pde(), Part())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_file_cut_off_is_named(share, tmp_path):
    path = tmp_path / "a.hdf5"
    the_well(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match="a.hdf5"):
        reader.read(str(path), Pde(), Part(), variables=("rho",))
