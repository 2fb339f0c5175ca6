"""Arrays without labels: their dims are known by lengths where these leave no choice."""

import numpy as np

import diffsci
from tests.data.test_archives import opened
from tests.data.test_dialects import T, U, X, checked


def test_vectors_of_any_name_are_known_by_their_length(tmp_path):
    """A parameter of samples, a time span and one number, as MATLAB has them, in an archive."""
    fields = np.random.default_rng(0).normal(size=(4, 9, 6))
    nu = np.array([[1.0], [2.0], [3.0], [5.0]])
    np.savez(tmp_path / "a.npz", U=fields, tspan=T[None], X=X[:, None], nu=nu, L=[[2.0]])
    assert checked(tmp_path / "a.npz") == []
    found = diffsci.open_data(tmp_path / "a.npz")
    assert found.sizes == {"sample": 4, "time": 9, "x": 6}
    assert found["nu"].values.tolist() == nu.ravel().tolist()
    assert found["time"].values.tolist() == T.tolist()


def test_an_axis_that_counts_no_dim_leaves_none_open(tmp_path):
    """Edges of 8 steps: the 8 states were taken for samples, each without a time."""
    np.savez(tmp_path / "a.npz", u=U.T[1:], t=T, x=X)
    ((_, text),) = checked(tmp_path / "a.npz")
    assert "t[9] is as long as no dim of u[8, 6]" in text and "dims: {u: [DIM, ...]}" in text
    told = "source: ../a.npz\nengine: arrays\nopen_kwargs: {dims: {u: [time, x]}}\n"
    assert opened(told, tmp_path).sizes == {"sample": 1, "time": 8, "x": 6}
    np.savez(tmp_path / "b.npz", u=U.T[1:], t=[0.5], x=X)  # One time, of all samples.
    assert diffsci.open_data(tmp_path / "b.npz").sizes["sample"] == 8
