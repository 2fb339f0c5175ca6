"""The server under good, bad and hostile requests, over real sockets."""

import http.client
import io
import itertools
import json
import re
import socket
import tempfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import netCDF4
import numpy as np
import pytest
import uvicorn
import xarray as xr

from diffsci.forecasting.calibration.calibrated import made_for
from diffsci.forecasting.calibration.recalibration import Recalibration
from diffsci.serving import pages
from diffsci.serving.app import application
from diffsci.serving.desk import Desk, Limits
from tests.forecasting import makers

NETCDF = "application/x-netcdf"
LIMIT = 2_000_000
SEEDS = itertools.count(100)


class Served:
    """A server in a thread of this process."""

    def __init__(self, model, **limits):
        self.model, self.desk = model, Desk(model, Limits(**({"body": LIMIT} | limits)))
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        config = uvicorn.Config(
            application(self.desk), loop="asyncio", http="h11", ws="none", log_config=None
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()
        end = time.monotonic() + 300
        while not self.server.started and time.monotonic() < end:
            time.sleep(0.01)

    def close(self):
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()

    def send(self, method, path, body=b"", kind=NETCDF, **headers):
        """Status and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            headers = {"Content-Type": kind, **headers}
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def sample(self, body, kind=NETCDF, **asked):
        query = urlencode(asked, doseq=True)
        return self.send("POST", f"/sample?{query}", body, kind)

    def ensemble(self, body, kind=NETCDF, **asked):
        status, found = self.sample(body, kind, **asked)
        assert status == 200, found
        return opened(found)


def opened(body):
    with tempfile.NamedTemporaryFile(suffix=".nc") as file:
        file.write(body)
        file.flush()
        with xr.open_dataset(file.name) as ds:
            return ds.load()


def ring(samples=1, times=3, seed=5):
    """What the model of `makers.forecasting` is given."""
    values = np.random.default_rng(seed).standard_normal((samples, times, 16)).astype("f4")
    return xr.Dataset(
        {"u": (("sample", "time", "x"), values)},
        {"sample": np.arange(samples), "time": 0.2 * np.arange(times), "x": np.arange(16.0)},
    )


def netcdf(ds, tmp_path, name="body.nc"):
    ds.to_netcdf(tmp_path / name)
    return (tmp_path / name).read_bytes()


@pytest.fixture(scope="module")
def served():
    made = Served(makers.forecasting())
    yield made
    made.close()


def good(served, tmp_path):
    """A good request has the bits of `sample`, whatever came before it."""
    given = ring(seed=next(SEEDS))
    found = served.ensemble(netcdf(given, tmp_path, "good.nc"), members=3, seed=4, lead="2")
    ours = served.model.sample(given, members=3, seed=4, leads=2)
    np.testing.assert_array_equal(found["u"], ours["u"])


def test_netcdf_zarr_and_json_give_the_bits_of_sample(served, tmp_path):
    given = ring(samples=2)
    ours = served.model.sample(given, members=3, seed=4, leads=2)
    given.to_zarr(tmp_path / "given.zarr", consolidated=False)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for path in (tmp_path / "given.zarr").rglob("*"):
            packed.write(path, path.relative_to(tmp_path))
    as_json = json.dumps(given.astype("f8").to_dict()).encode()
    for body, kind in (
        (netcdf(given, tmp_path), NETCDF),
        (archive.getvalue(), "application/zip"),
        (as_json, "application/json"),
    ):
        found = served.ensemble(body, kind, members=3, seed=4, lead="2")
        np.testing.assert_array_equal(found["u"], ours["u"])
        assert found.attrs["diffsci_seed"] == 4


def test_a_start_among_several_times(served, tmp_path):
    given = ring(times=4)
    found = served.ensemble(netcdf(given, tmp_path), start=["0.2", "0.4"], members=2, seed=1)
    assert found.start_time.values.tolist() == [0.2, 0.4]
    ours = served.model.sample(given.isel(time=slice(None, 2)), members=2, seed=1)
    np.testing.assert_array_equal(found["u"][0], ours["u"][0])


def test_a_model_that_is_given_nothing_takes_an_empty_body_or_classes(tmp_path):
    made = Served(makers.generating())
    try:
        labels = xr.Dataset({"label": ("sample", [0, 2])})
        found = made.ensemble(netcdf(labels, tmp_path), members=2, seed=3)
        ours = made.model.sample([0, 2], members=2, seed=3)
        np.testing.assert_array_equal(found["intensity"], ours["intensity"])
        status, told = made.sample(b"")
        assert status == 422 and json.loads(told)["field"] == "scalars"
    finally:
        made.close()


def _bad_zip(name="x/../../../evil", content=b"x"):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(name, content)
    return archive.getvalue()


def _pickle_zarr():
    metadata = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C",
                "compressor": None, "fill_value": 0, "filters": [{"id": "pickle"}]}  # fmt: skip
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("s.zarr/.zgroup", '{"zarr_format": 2}')
        packed.writestr("s.zarr/u/.zarray", json.dumps(metadata))
        packed.writestr("s.zarr/u/0", b"cos\nsystem\n(S'touch /tmp/canary'\ntR.")
    return archive.getvalue()


def _huge(tmp_path):
    with netCDF4.Dataset(tmp_path / "huge.nc", "w") as file:
        for dim in ("time", "x"):
            file.createDimension(dim, 10**6)
        file.createVariable("u", "f4", ("time", "x"), chunksizes=(1, 1000))
    return (tmp_path / "huge.nc").read_bytes()


def _json_of(change):
    plain = ring().to_dict()
    change(plain)
    return json.dumps(plain).encode()


def _data(plain, value):
    plain["data_vars"]["u"]["data"] = value


BAD = {
    "unknown parameter": (lambda t: (netcdf(ring(), t), NETCDF, {"member": 3}), 400, "member"),
    "no members": (lambda t: (netcdf(ring(), t), NETCDF, {"members": 0}), 400, "members"),
    "members are no number": (lambda t: (b"", NETCDF, {"members": "ten"}), 400, "members"),
    "negative seed": (lambda t: (netcdf(ring(), t), NETCDF, {"seed": -1}), 400, "seed"),
    "half a lead": (lambda t: (netcdf(ring(), t), NETCDF, {"lead": "0.3 time units"}), 400, "lead"),
    "no number before a unit": (
        lambda t: (netcdf(ring(), t), NETCDF, {"lead": ". time units"}), 400, "lead",
    ),
    # Neither is planned: the leads alone would take minutes and gigabytes.
    "two thousand million leads": (
        lambda t: (netcdf(ring(), t), NETCDF, {"members": 1, "lead": "2000000000"}), 413, "lead",
    ),
    "a lead of 400 digits": (
        lambda t: (netcdf(ring(), t), NETCDF, {"lead": "9" * 400}), 413, "lead",
    ),
    "no such start": (lambda t: (netcdf(ring(), t), NETCDF, {"start": "9"}), 422, "start"),
    "kind": (lambda t: (b"x", "text/csv", {}), 415, "Content-Type"),
    "no netcdf": (lambda t: (b"hello" * 9, NETCDF, {}), 422, "body"),
    "cut off": (lambda t: (netcdf(ring(), t)[:3000], NETCDF, {}), 422, "body"),
    "empty": (lambda t: (b"", NETCDF, {}), 422, "body"),
    "no variable": (lambda t: (netcdf(ring().rename(u="v"), t), NETCDF, {}), 422, "u"),
    "grid": (lambda t: (netcdf(ring().isel(x=slice(8)), t), NETCDF, {}), 422, "grid"),
    "nan": (lambda t: (netcdf(ring().where(ring().x != 3), t), NETCDF, {}), 422, "u"),
    "units": (
        lambda t: (netcdf(ring().assign(u=ring().u.assign_attrs(units="K")), t), NETCDF, {}),
        422, "u",
    ),
    "far from training": (
        lambda t: (netcdf(ring() + 300, t), NETCDF, {}), 422, "u",
    ),
    "within": (lambda t: (netcdf(ring(), t), NETCDF, {"within": "far"}), 400, "within"),
    "type": (lambda t: (netcdf(ring().astype("U4"), t), NETCDF, {}), 422, "u"),
    "huge by its own word": (lambda t: (_huge(t), NETCDF, {}), 413, "u"),
    "answer too large": (lambda t: (netcdf(ring(), t), NETCDF, {"members": 99_000, "lead": "900"}),
                         413, "members"),
    "no json": (lambda t: (b"{", "application/json", {}), 400, "body"),
    "json of another kind": (lambda t: (b"[1]", "application/json", {}), 422, "data_vars"),
    "json with a list of coords": (
        lambda t: (_json_of(lambda p: p.update(coords=[1])), "application/json", {}), 422, "coords",
    ),
    "json with coords of letters": (
        lambda t: (_json_of(lambda p: p.update(coords="abc")), "application/json", {}),
        422, "coords",
    ),
    "json with a dim of no name": (
        lambda t: (_json_of(lambda p: p["data_vars"]["u"].update(dims=["sample", "time", ""])),
                   "application/json", {}), 422, "u",
    ),
    "json with dims of letters": (
        lambda t: (_json_of(lambda p: p["data_vars"]["u"].update(dims="abc")),
                   "application/json", {}), 422, "u",
    ),
    "json with a variable of no name": (
        lambda t: (_json_of(lambda p: p["data_vars"].update({"": p["data_vars"]["u"]})),
                   "application/json", {}), 422, "data_vars",
    ),
    "json with coordinates that no file holds": (
        lambda t: (_json_of(lambda p: p["data_vars"]["u"].update(attrs={"coordinates": 3})),
                   "application/json", {}), 422, "data_vars",
    ),
    "json packed by a word": (
        lambda t: (_json_of(lambda p: p["data_vars"]["u"].update(attrs={"scale_factor": "abc"})),
                   "application/json", {}), 422, "u",
    ),
    "packed by a word": (
        lambda t: (netcdf(ring().assign(u=ring().u.assign_attrs(scale_factor="abc")), t), NETCDF,
                   {}), 422, "u",
    ),
    "json without numbers": (
        lambda t: (_json_of(lambda p: _data(p, "abc")), "application/json", {}), 422, "u",
    ),
    "json with nan": (
        lambda t: (_json_of(lambda p: _data(p, [[[float("nan")] * 16]])), "application/json", {}),
        400, "body",
    ),
    "deep json": (lambda t: (b"[" * 100_000, "application/json", {}), 400, "body"),
    "no zip": (lambda t: (b"PK" * 30, "application/zip", {}), 422, "body"),
    "way out": (lambda t: (_bad_zip(), "application/zip", {}), 422, "body"),
    "absolute": (lambda t: (_bad_zip("/etc/evil"), "application/zip", {}), 422, "body"),
    "no store": (lambda t: (_bad_zip("readme"), "application/zip", {}), 422, "body"),
    "bomb": (lambda t: (_bad_zip("a", bytes(4_000_000)), "application/zip", {}), 413, "body"),
    "pickle": (lambda t: (_pickle_zarr(), "application/zip", {}), 422, "u"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_name_the_field_and_the_server_lives(name, served, tmp_path):
    make, status, field = BAD[name]
    body, kind, asked = make(tmp_path)
    found, told = served.sample(body, kind, **asked)
    told = json.loads(told)
    assert (found, told["field"]) == (status, field), told
    assert len(told["error"]) > 15 and not re.search(r"/tmp|tmp[a-z0-9_]{8}", told["error"]), told
    good(served, tmp_path)


def test_leads_are_counted_before_they_are_made(tmp_path, monkeypatch, caplog):
    """The answer's size is known from the question: nothing is planned for what is too large."""
    monkeypatch.setattr("diffsci.serving.desk.planned", None)
    served = Served(makers.forecasting(), answer=4 * 16 * 50)
    try:
        for asked, field in (
            ({"lead": "51", "members": 1}, "lead"),
            ({"lead": "25", "members": 3}, "members"),
            ({"lead": "25", "members": 1, "start": ["0", "0.2", "0.4"]}, "members"),
        ):
            status, told = served.sample(netcdf(ring(), tmp_path), **asked)
            assert (status, json.loads(told)["field"]) == (413, field)
        # What fits is planned, which fails here: a fault of ours is told, once, in the log alone.
        status, told = served.sample(netcdf(ring(), tmp_path), lead="25", members=2)
        assert (status, json.loads(told)["field"]) == (500, "server")
        assert sum(each.exc_info is not None for each in caplog.records) == 1
    finally:
        served.close()


def test_a_gigabyte_is_refused_without_being_read(served, tmp_path):
    """By its Content-Length before a byte, and in chunks after the limit: not a thousandth."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=120) as client:
        client.sendall(
            b"POST /sample HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-netcdf\r\n"
            b"Content-Length: 1000000000\r\n\r\n"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 413")
    sent = 0
    with socket.create_connection(("127.0.0.1", served.port), timeout=120) as client:
        client.sendall(
            b"POST /sample HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-netcdf\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        part = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        try:
            while sent < 10**9:
                client.sendall(part)
                sent += 0x10000
        except OSError:
            pass  # it hung up
    assert sent < 50_000_000  # what socket buffers hold comes on top of the 2 MB
    good(served, tmp_path)


def test_a_body_that_stops_coming_is_given_up(tmp_path):
    made = Served(makers.forecasting(), idle=0.3)
    try:
        with socket.create_connection(("127.0.0.1", made.port), timeout=120) as client:
            client.sendall(
                b"POST /sample HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nCDF"
            )
            assert client.recv(65536).startswith(b"HTTP/1.1 408")
        # On a busy machine a good body may come as slowly.
        made.desk.limits = replace(made.desk.limits, idle=300.0)
        good(made, tmp_path)
    finally:
        made.close()


def test_time_and_line_have_limits(tmp_path):
    made = Served(makers.forecasting(), seconds=0.0)
    try:
        status, told = made.sample(netcdf(ring(), tmp_path))
        assert (status, json.loads(told)["field"]) == (503, "time")
    finally:
        made.close()
    made = Served(makers.forecasting(), waiting=0)
    try:
        status, told = made.sample(netcdf(ring(), tmp_path))
        assert (status, json.loads(told)["field"]) == (503, "queue")
    finally:
        made.close()


def test_eight_clients_at_once_lose_nothing(served, tmp_path):
    """Each of 8 x 2 requests is answered by its own bits."""
    bodies = {seed: netcdf(ring(seed=seed), tmp_path, f"{seed}.nc") for seed in range(8)}
    ours = {seed: served.model.sample(ring(seed=seed), members=2, seed=seed) for seed in range(8)}

    def client(seed):
        return [served.sample(bodies[seed], members=2, seed=seed) for _ in range(2)]

    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(range(8), pool.map(client, range(8)), strict=True))
    # Opened here, one by one: the library is not for several threads, of which the server has one.
    for seed, several in answers.items():
        for status, found in several:
            assert status == 200
            np.testing.assert_array_equal(opened(found)["u"], ours[seed]["u"])


@pytest.mark.parametrize(
    "headers, field",
    [({"Host": "evil.example"}, "Host"), ({"Origin": "http://evil.example"}, "Origin"),
     ({"Host": "evil.example:80"}, "Host")],
)  # fmt: skip
def test_other_names_and_origins_are_not_let_in(headers, field, served):
    status, told = served.send("GET", "/health", **headers)
    assert (status, json.loads(told)["field"]) == (403, field)


def test_health_model_openapi_and_page(served):
    host = f"127.0.0.1:{served.port}"
    status, told = served.send("GET", "/health", Origin=f"http://{host}", Host=host)
    assert status == 200 and json.loads(told)["status"] == "ok"
    status, told = served.send("GET", "/model")
    model = json.loads(told)
    assert model["variables"] == [{"name": "u", "level": None, "units": "1"}]
    assert model["most_leads"] == 200_000
    assert model["frames_given"] == 1 and model["step"] == {"value": 0.2, "units": "1"}
    status, told = served.send("GET", "/openapi.json")
    document = json.loads(told)
    asked = document["paths"]["/sample"]["post"]["parameters"]
    assert [each["name"] for each in asked] == ["members", "seed", "lead", "start", "within"]
    assert asked[2]["description"].endswith("at most 200,000 steps.")
    answers = document["paths"]["/sample"]["post"]["responses"]
    # Each status that the code can answer, by its own words, is described.
    source = "".join(file.read_text() for file in Path(pages.__file__).parent.glob("*.py"))
    said = set(re.findall(r"(?:Refusal\(\s*|Error, |JSONResponse\(told, )(\d{3})", source)) | {
        "405"
    }
    assert said - {"499"} <= set(answers)  # 499: the client has gone, and reads none
    assert all(len(each["description"]) > 10 for each in answers.values())
    for path in ("/", "/docs"):
        status, page = served.send("GET", path)
        assert status == 200 and b"the last frame; each forecast step is 0.2" in page
        assert not re.search(rb"(src|href)=['\"]?https?:", page)  # nothing from elsewhere
    assert "default-src 'none'" in pages.POLICY
    assert served.send("GET", "/sample")[0] == 405 and served.send("GET", "/etc/passwd")[0] == 404


def test_every_request_has_a_line_of_the_log(served, tmp_path, caplog):
    caplog.set_level("INFO", logger="diffsci")
    served.sample(netcdf(ring(), tmp_path), members=1)
    served.sample(b"x", members="1\n0")
    served.send("GET", "/nothing")
    lines: list[str] = []
    end = time.monotonic() + 300
    while len(lines) < 3 and time.monotonic() < end:  # a line is written after the answer is sent
        lines = [each.getMessage() for each in caplog.records if each.name.endswith("doors")]
        # The last line of the test before may come late, too.
        lines = [line for line in lines if re.search(r"/sample\?members=1(%| )|/nothing", line)]
        time.sleep(0.01)
    good, refused, nothing = sorted(lines, key=lambda line: line.split(" -> ")[1])
    assert re.fullmatch(
        r"serve: 127.0.0.1 POST /sample\?members=1 -> 200, \d+ bytes, \d+\.\d\d s", good
    )
    assert "POST /sample?members=1%0A0 -> 400, " in refused and '"field":"members"' in refused
    assert "GET /nothing -> 404" in nothing
    assert not any("\n" in line for line in lines)
    caplog.clear()
    served.send("GET", "/health")  # what asks every second would drown the rest
    assert not [each for each in caplog.records if each.name.endswith("doors")]


def test_a_calibrated_model_answers_with_calibrated_members(tmp_path):
    """As `Surrogate.sample` does, of fewer members than the centre of a case takes, too."""
    model = makers.forecasting()
    engine = model.engine()
    by = Recalibration(
        shift=np.full((2, 1), 0.25), spread=np.full((2, 1, 1), 3.0), edges=(), centre=4,
        levels=(), radius=np.zeros((0, 2, 1)), cases=9, made_for=made_for(model, engine),
    )  # fmt: skip
    served = Served(replace(model, calibration=by))
    try:
        given = ring()
        found = served.ensemble(netcdf(given, tmp_path), members=2, seed=4, lead="2")
        np.testing.assert_array_equal(
            found["u"], served.model.sample(given, members=2, seed=4, leads=2)["u"]
        )
        assert not np.array_equal(found["u"], model.sample(given, members=2, seed=4, leads=2)["u"])
        # No client can turn the calibration off: it is told how far it reaches instead.
        assert json.loads(served.send("GET", "/model")[1])["most_leads"] == 2
        status, told = served.sample(netcdf(given, tmp_path), lead="3")
        told = json.loads(told)
        assert (status, told["field"]) == (400, "lead") and "lead=2" in told["error"]
        assert "sample." not in told["error"]
    finally:
        served.close()


def test_temporary_files_are_removed(served, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t"))
    (tmp_path / "t").mkdir()
    body = netcdf(ring(), tmp_path)
    assert served.sample(body, members=1)[0] == 200
    assert served.sample(b"nothing")[0] == 422
    end = time.monotonic() + 120
    while list((tmp_path / "t").glob("diffsci-serve-*")) and time.monotonic() < end:
        time.sleep(0.05)
    assert list((tmp_path / "t").glob("diffsci-serve-*")) == []
