"""The run lock: who holds it, and what others are told."""

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace

import pytest

from diffsci.errors import StorageError
from diffsci.running import locking
from diffsci.running.locking import Holder, holder, lock, lock_store, require_there


def test_the_second_writer_is_told_the_first(tmp_path):
    """And a kill of the first frees the folder at once."""
    code = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from diffsci.running.locking import lock
        with lock(Path(sys.argv[1]), 'first'):
            print("held", flush=True)
            time.sleep(60)
        """
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert first.stdout.readline() == "held\n"
    told = rf"written by the run 'first', process {first.pid} on \S+: wait .*--out"
    with pytest.raises(StorageError, match=told), lock(tmp_path):
        pass
    held = holder(tmp_path)
    assert held == Holder(run="first", pid=first.pid, host=held.host, alive=True)
    first.kill()
    first.communicate()
    assert holder(tmp_path) == replace(held, alive=False)
    refused = pytest.raises(StorageError, match=f"process {os.getpid()} on")
    with lock(tmp_path), refused, lock(tmp_path):
        pass
    with lock(tmp_path):
        pass
    assert holder(tmp_path) is None


def test_a_second_ctrl_c_leaves_a_word_in_the_lock(tmp_path):
    """It ends the process at once: nothing else would say why the run does not go on any more."""
    code = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from diffsci.running import stopping
        from diffsci.running.locking import lock
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with stopping.listening(), lock(Path(sys.argv[1]), 'first'), stopping.patiently():
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)
        """
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == 130
    held = holder(tmp_path)
    assert held.run == "first" and not held.alive and held.ended == locking.TWICE
    with lock(tmp_path):
        assert holder(tmp_path).ended == ""
    assert holder(tmp_path) is None


def test_what_stands_in_the_place_of_a_lock_is_told_with_the_fix(tmp_path, monkeypatch):
    """Permissions and file systems are the tests' own: they run as anybody, on any disk."""
    path = tmp_path / ".lock"
    path.mkdir()
    with pytest.raises(StorageError, match=rf"{path} is a folder.*`rmdir {path}`"), lock(tmp_path):
        pass
    assert holder(tmp_path) is None
    path.rmdir()
    path.write_text('{"run": "mine", "pid": 12, "host": "far"}')

    def refuse(number):
        def act(*_):
            raise OSError(number, os.strerror(number))

        return act

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse(errno.EACCES))
        told = (
            rf"{path}: permission denied: the file is of the user \S+; the run 'mine', process 12"
        )
        told = rf"{told} on far wrote here last\. .*chmod.*--out"
        with pytest.raises(StorageError, match=told), lock(tmp_path):
            pass
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
        told = rf"{path} cannot be locked \(No locks available\).*another disk with --out"
        with pytest.raises(StorageError, match=told), lock(tmp_path):
            pass
        assert holder(tmp_path) == Holder(run="mine", pid=12, host="far", alive=True)
    monkeypatch.setattr(fcntl, "flock", refuse(errno.EAGAIN))
    told = r"process 12 on far: wait .*--out \(stop it on far: `kill 12` there\)"
    with pytest.raises(StorageError, match=told), lock(tmp_path):
        pass


def test_the_holder_is_read_without_a_trace(tmp_path):
    """And one who asks at the same moment refuses nobody: the lock is tried again."""
    assert holder(tmp_path) is None
    assert not list(tmp_path.iterdir())
    (tmp_path / ".lock").write_text("no JSON")
    assert holder(tmp_path) is None
    reader = os.open(tmp_path / ".lock", os.O_RDONLY)
    fcntl.flock(reader, fcntl.LOCK_SH)
    threading.Timer(0.02, os.close, (reader,)).start()
    with lock(tmp_path):
        pass


def test_a_folder_that_was_removed_or_replaced_under_the_lock_is_refused(tmp_path):
    """By its name alone a new folder could not be told from the one that was locked."""
    folder = tmp_path / "run"
    told = f"^{re.escape(str(folder))} was removed or replaced while it was being written"
    require_there(folder)  # of a folder that is not locked here nothing is said
    with lock(folder):
        require_there(folder)
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(StorageError, match=told):
            require_there(folder)
        folder.mkdir()
        (folder / ".lock").touch()
        with pytest.raises(StorageError, match=told):
            require_there(folder)
        shutil.rmtree(folder)
        (tmp_path / "elsewhere").rename(folder)
        require_there(folder)


def test_stores_of_a_folder_are_locked_one_by_one(tmp_path):
    """What is left by a process that was killed is in nobody's way, and removed by the next."""
    one, other = tmp_path / "a.zarr", tmp_path / "b.zarr"
    told = rf"^{re.escape(str(one))} is being written by the run 'r', process {os.getpid()} on"
    (tmp_path / ".a.zarr.lock").write_text("of one that was killed")
    with lock_store(one, "r"), lock_store(other):
        with pytest.raises(StorageError, match=told), lock_store(one):
            pass
        assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.iterdir())


def test_a_lock_that_was_removed_before_it_was_got_locks_nothing(tmp_path, monkeypatch):
    """The holder removes the file between another's opening and locking of it; a third comes."""
    store, name = tmp_path / "a.zarr", tmp_path / ".a.zarr.lock"
    real, third = locking._take, []

    def take(descriptor, path, shared=False):
        if not third:
            name.unlink()
            third.append(os.open(name, os.O_RDWR | os.O_CREAT))
            assert real(third[0], path)
        return real(descriptor, path, shared)

    monkeypatch.setattr(locking, "_take", take)
    with pytest.raises(StorageError, match="another process"), lock_store(store):
        pass
    os.close(third[0])
    with lock_store(store):
        assert name.exists()
