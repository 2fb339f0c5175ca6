"""A run folder that is removed under a run: the run ends, and does not make half of it again."""

import shutil

import pytest

from diffsci.errors import StorageError
from diffsci.stages.training import learning
from tests import tiny_runs


def test_a_folder_removed_in_training_ends_the_run_at_the_next_checkpoint(tmp_path, monkeypatch):
    out, passed = tmp_path / "run", []

    def failpoint(_):
        passed.append("step")
        if len(passed) == 1:  # before anything is saved, so that no thread writes meanwhile
            shutil.rmtree(out)

    monkeypatch.setattr(learning, "failpoint", failpoint)
    file = tiny_runs.make(tmp_path, "pde")
    with pytest.raises(StorageError, match="run was removed or replaced while") as told:
        tiny_runs.run(file, "sample=null", "evaluate=null", out=out)
    assert told.value.exit_code == 5
    assert passed == ["step"] * 2  # a checkpoint every 2
    assert not out.exists()
