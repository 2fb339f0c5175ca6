"""Tables of observations: what a row means, and what is refused, with its row."""

import numpy as np
import pytest
import torch
import xarray as xr

from diffsci.data.fields import Channel
from diffsci.diffusion.operators.base import check_adjoint
from diffsci.errors import DataError
from diffsci.forecasting.assimilation.observation_table import read_table
from diffsci.forecasting.assimilation.sighting import placed
from diffsci.grid import Grid

GRID = Grid(
    dims=("y", "x"),
    coordinates=((0.0, 1.0, 2.0), (0.0, 0.5, 1.0, 1.5)),
    units=("m", "m"),
    boundary=(("wall", "wall"), ("periodic", "periodic")),
)
CHANNELS = (Channel(variable="t", unit="K"), Channel(variable="p", unit="Pa"))
HEAD = "time,y,x,variable,value,error,units,operator,size_y,size_x"


def table(path, *rows, head=HEAD):
    path = path / "obs.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return read_table(path, GRID.dims)


def seen(path, *rows, head=HEAD, channels=CHANNELS):
    return placed(table(path, *rows, head=head), channels, GRID, 0.5)


def test_each_row_is_a_weighted_sum_of_cells(tmp_path):
    found = seen(
        tmp_path,
        "3.0,1,0.5,t,300,1,K,point,,",
        "3.5,0.25,1.75,p,20,2,hPa,,,",
        "4.0,1,0,t,10,1,degC,block_mean,2,1",
        "4.0,2,,t,280,1,K,line_mean,,",
    )
    assert found.frames.tolist() == [0, 1, 2, 2] and found.start == 3.0 and found.count == 3
    assert np.allclose(found.values, [300, 2000, 283.15, 280])
    assert np.allclose(found.errors, [1, 200, 1, 1])
    field = torch.arange(3 * 2 * 12, dtype=torch.float64).reshape(1, 6, 3, 4)
    frames = field.reshape(3, 2, 3, 4)
    operator = found.operator(np.arange(4), 0, 2)
    check_adjoint(operator, field)
    got = operator.apply(field)[0].tolist()
    # A quarter of the way from row 0 to row 1; between the last cell along x and the first.
    corner = frames[1, 1, :2][:, [3, 0]].mean(dim=1)
    # Beyond the wall's cells nothing counts: their rows reach as far as those inside.
    block = frames[2, 0][:, [3, 0, 1]].mean()
    wanted = [
        frames[0, 0, 1, 1],
        0.75 * corner[0] + 0.25 * corner[1],
        block,
        frames[2, 0, 2].mean(),
    ]
    assert np.allclose(got, [float(each) for each in wanted], rtol=1e-14)


def test_rows_of_some_frames_are_seen_from_the_first_of_them(tmp_path):
    rows = [f"{time},1,0.5,t,300,1,K,point,," for time in (0.0, 0.5, 1.0, 1.5)]
    found = seen(tmp_path, *rows)
    some = found.within(1, 3)
    assert some.tolist() == [1, 2]
    field = torch.arange(2 * 2 * 12, dtype=torch.float64).reshape(1, 4, 3, 4)
    assert found.operator(some, 1, 2).apply(field).tolist() == [[5.0, 29.0]]


def test_netcdf_says_the_same_as_csv(tmp_path):
    rows = ["0.0,1,0.5,t,300,1,K,point,,", "0.5,1,1.0,t,301,1,K,point,,"]
    one = table(tmp_path, *rows)
    ds = xr.Dataset(
        {
            "value": ("observation", [300.0, 301.0], {"units": "K"}),
            "error": 1.0,
            "time": ("observation", [0.0, 0.5]),
            "y": ("observation", [1.0, 1.0]),
            "x": ("observation", [0.5, 1.0]),
            "variable": ("observation", ["t", "t"]),
        }
    )
    ds.to_netcdf(tmp_path / "obs.nc")
    two = read_table(tmp_path / "obs.nc", GRID.dims)
    for name in ("times", "values", "errors"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    for name in ("variables", "units", "operators"):
        assert getattr(one, name) == getattr(two, name)
    assert all(np.array_equal(one.places[dim], two.places[dim]) for dim in GRID.dims)


GOOD = "0,1,0.5,t,300,1,K,point,,"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,9,0.5,t,300,1,K,point,,", "row 2: y 9 lies outside the domain, -0.5 to 2.5; leave it"),
        ("0,1,0.5,t,300,1,Pa,point,,", "row 2: t is in Pa, the model's is in K, which do not con"),
        ("0,1,0.5,t,300,1,,point,,", "row 2: no units; those of t are K: add a column `units`"),
        ("0,1,0.5,q,300,1,K,point,,", "row 2: variable 'q', expected one of t, p"),
        ("0,1,0.5,,300,1,K,point,,", "row 2: no variable; the model has t, p"),
        ("0,1,0.5,t,nan,1,K,point,,", "row 2: value is nan, expected a finite number; leave out"),
        ("0,1,0.5,t,,1,K,point,,", "row 2: value is nan, expected a finite number"),
        ("0,1,0.5,t,warm,1,K,point,,", "row 2: value is 'warm', expected a number"),
        ("0,1,0.5,t,300,0,K,point,,", "row 2: error 0, expected a standard deviation above 0"),
        ("0,1,0.5,t,300,1,K,points,,", "row 2: operator 'points', .* did you mean 'point'?"),
        ("0.2,1,0.5,t,300,1,K,point,,", "row 2: time 0.2 is 0.4 steps from the nearest frame"),
        ("0,,0.5,t,300,1,K,point,,", "row 2: y is missing; only a line_mean runs along a dim"),
        ("0,1,0.5,t,300,1,K,line_mean,,", "row 2: a line_mean runs along no dim"),
        ("0,1,0.5,t,300,1,K,block_mean,,", "row 2: a block_mean needs its extent along y, in a"),
        ("0,1,0.7,t,300,1,K,block_mean,2,0.1", "row 2: no cell has its centre within 0.1 of x 0.7"),
        ("0,1,0.5,t,320,1,K,point,,", "rows 1 and 2 contradict each other: 300 and 320 of the "
         "same, 14 standard deviations apart"),
        ("soon,1,0.5,t,300,1,K,point,,", "row 2: time is 'soon', expected a number or an ISO date"),
        ("0,1,0.5,t,300", "row 2 has 5 cells, the head 10"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_row(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        seen(tmp_path, GOOD, row)


def test_columns_and_files_are_checked(tmp_path):
    with pytest.raises(DataError, match="no such file of observations"):
        read_table(tmp_path / "none.csv", GRID.dims)
    with pytest.raises(DataError, match="lacks the column error; did you mean 'eror'?"):
        table(tmp_path, "0,1,0,3,1", head="time,y,x,value,eror")
    with pytest.raises(DataError, match="column 'unit' means nothing here; did you mean 'units'?"):
        table(tmp_path, "0,1,0,3,1,K", head="time,y,x,value,error,unit")
    with pytest.raises(DataError, match="has no observations, only names of columns"):
        table(tmp_path)
    (tmp_path / "obs.nc").write_text("hello")
    with pytest.raises(DataError, match="cannot be read as NetCDF or CSV"):
        read_table(tmp_path / "obs.nc", GRID.dims)
    with pytest.raises(DataError, match="its times are dates, those of the model numbers"):
        seen(tmp_path, "2020-01-01T00,1,0.5,t,300,1,K,point,,")
