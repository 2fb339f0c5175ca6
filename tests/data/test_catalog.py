"""Entries: found by name, strict about keys, inferred from bare paths."""

import pytest
import yaml

from diffsci.data.catalog import entries, load_entry
from diffsci.errors import ConfigError, DataError
from diffsci.shipped import shipped_root
from tests.data import makers


def write(folder, text, name="mine"):
    (folder / "data_catalog").mkdir(exist_ok=True)
    path = folder / "data_catalog" / f"{name}.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", entries())
def test_shipped_entries_say_whom_to_thank(name):
    entry = load_entry(name)
    assert entry.title and entry.license and entry.citation and entry.providers and entry.domain
    assert all(variable.units for variable in entry.variables.values())


def test_an_own_entry_is_short_and_comes_first(tmp_path):
    write(tmp_path, "source: my.nc\nvariables: {t2m: {units: K}}\n", name="digits")
    entry = load_entry("digits", (tmp_path,))
    assert entry.source.path == str(tmp_path / "data_catalog" / "my.nc")
    assert entry.variables["t2m"].units == "K" and entry.variables["t2m"].vector is None
    write(tmp_path, "source: my.nc\nvariables: {u: {vector: true}}\n")
    assert load_entry("mine", (tmp_path,)).variables["u"].vector is True
    assert load_entry("digits").domain == "image"


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(ConfigError, match=r"there are .*digits.*did you mean 'digits'"):
        load_entry("digit")


def test_a_bare_path_is_an_entry(tmp_path):
    path = tmp_path / "winds.nc"
    makers.weather().to_netcdf(path)
    assert load_entry(str(path)).name == "winds"
    assert load_entry("winds.nc", (tmp_path,)).source.path == str(path)
    with pytest.raises(DataError, match="no such file"):
        load_entry(str(tmp_path / "wind.nc"))


FAULTY = {
    "sorce: a.nc": r"unknown key 'sorce'; did you mean 'source'",
    "source: a.nc\nsource: b.nc": r"yaml:2: duplicate key source",
    "title: x": r"no `source`; write `source: FILE.nc`",
    "source: {path: a.nc, package: 'a:b'}": r"expected one of path, package, generator",
    "source: {package: 'a:../../etc/passwd'}": r"expected PACKAGE:PATH/INSIDE/IT",
    "source: ftp://example.org/a.nc": r"protocol 'ftp' .* is not allowed; there are abfs, az, file",
    "source: 'simplecache::file:///a.nc'": r"chained address",
    "source: s3://me:secret@host/a.nc": r"s3://host/a.nc. came with a user or password",
    "source: a.nc\nvariables: {u: {missing: sometimes}}": r"missing: got .sometimes., expect",
    "source: a.nc\nvariables: {t: {unit: K}}": r"'variables.t.unit'; did you mean 'units'",
    "source: a.nc\nvariables: {u: {vector: 1}}": r"variables.u.vector: got 1, expected true or",
    "source: a.nc\nboundary: {x: 3}": r"boundary.x: got 3",
    "source: a.nc\ntime: {calendar: noleap}": r"time: no `units`",
    "source: a.nc\nvariables: [t]": r"variables: got \['t'\], expected a mapping",
    "source: [a": r"yaml:2, column 1: not valid YAML",
    "- a": r"expected a mapping",
    "source: !!python/object/apply:os.system ['true']": r"is not read: a file is plain data",
}


@pytest.mark.parametrize("text", FAULTY)
def test_faulty_entries_are_refused_with_file_and_key(text, tmp_path):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=FAULTY[text]) as caught:
        load_entry("mine", (tmp_path,))
    assert str(path) in str(caught.value)


def test_a_missing_package_says_what_to_install(tmp_path):
    from diffsci.data.reader import open_raw

    write(tmp_path, "source: {package: 'no_such_data:a.nc'}")
    with pytest.raises(DataError, match="pip install no-such-data"):
        open_raw(load_entry("mine", (tmp_path,)))


def test_shipped_files_are_plain_yaml():
    paths = list((shipped_root() / "data_catalog").glob("*.yaml"))
    assert paths
    for path in paths:
        assert yaml.safe_load(path.read_text())
