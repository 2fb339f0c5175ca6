import os

import pytest

from diffsci import files
from diffsci.errors import StorageError


def test_write_replaces_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "a.json"
    files.write_json(path, {"a": 1})
    files.write_json(path, {"a": 2})
    assert path.read_text() == '{\n "a": 2\n}\n'
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_json_refuses_what_json_has_not(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), files.replace_folder(tmp_path / "out") as fresh:
        (fresh / "half").write_text("x")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    for content in ("first", "second"):
        with files.replace_folder(tmp_path / "out") as fresh:
            (fresh / "sub").mkdir()
            (fresh / "sub" / "file").write_text(content)
            assert not (tmp_path / "out").exists() or content == "second"
        assert (tmp_path / "out" / "sub" / "file").read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_sweep_takes_only_our_debris(tmp_path):
    (tmp_path / ".a.tmp-1-ab").write_text("x")
    (tmp_path / ".out.tmp-1-ab").mkdir()
    (tmp_path / ".lost.old-1-ab").mkdir()
    (tmp_path / ".kept.old-1-ab").mkdir()
    for name in ("kept", ".hidden", "data.tmp-1"):
        (tmp_path / name).mkdir()
    swept = files.sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".hidden",
        "data.tmp-1",
        "kept",
        "lost",
    ]
    assert len(swept) == 4 and files.sweep(tmp_path) == () and files.sweep(tmp_path / "no") == ()


def test_what_cannot_be_written_says_which_and_why(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"cannot write .*file/a: File exists"):
        files.write_text(tmp_path / "file" / "a", "x")
    expected = pytest.raises(StorageError, match="cannot write .*Read-only file system; make the")
    with expected, files.storage_errors(tmp_path):
        raise OSError(30, "Read-only file system")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied; make the folder writable"):
        files.write_text(tmp_path / "a", "x")


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert files.sha256_of(tmp_path / "a") == known
