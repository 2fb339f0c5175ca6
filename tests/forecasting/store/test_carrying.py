"""Blocks of cases that do not change are carried over as files, and damage is not handed on."""

import errno
import os
from pathlib import Path

import pytest

from diffsci.errors import StorageError
from diffsci.forecasting.store import disk as layout
from diffsci.forecasting.store.places import Place
from tests import tiny_runs
from tests.stages.ensembles.test_sampling import downscaled

NAME = "2m_temperature"


@pytest.fixture(autouse=True)
def two_cases_in_a_chunk(monkeypatch):
    """Of 5 members of 9 x 13 cells."""
    monkeypatch.setattr(layout, "CHUNK_BYTES", 2 * 5 * 9 * 13 * 4)


def inodes(store):
    """Of each block's chunk."""
    return {
        int(path.relative_to(store / NAME / "c").parts[0]): path.stat().st_ino
        for path in (store / NAME / "c").rglob("*")
        if path.is_file()
    }


# Which block of the store was which before; the others are written.
GROWTHS = {
    "after": (range(4), {0: 0, 1: 1}),
    "before": ([2, 3], {1: 0}),
    "half a block": (range(3), {0: 0}),
    "another pairing": ([1, 2, 3, 4], {}),
}


@pytest.mark.parametrize(
    ("name", "links"), [*((name, True) for name in GROWTHS), ("before", False)]
)
def test_blocks_that_stay_are_not_written_again(tmp_path, monkeypatch, name, links):
    cases, stay = GROWTHS[name]
    downscaled(tmp_path / "whole.zarr", cases=range(6), members=5)
    store = tmp_path / "grown.zarr"
    downscaled(store, cases=cases, members=5)
    before = inodes(store)
    if not links:
        real = os.link

        def refuse(source, target):  # Zarr links files of its own
            if store in Path(source).parents:
                raise OSError(errno.EPERM, "no links here")
            real(source, target)

        monkeypatch.setattr(os, "link", refuse)
    downscaled(store, cases=range(6), members=5)
    after = inodes(store)
    assert len(after) == 3
    same = {block: old for block, old in stay.items() if links}
    assert {new: before[old] for new, old in same.items()} == {new: after[new] for new in same}
    assert not set(before.values()) & {after[new] for new in after if new not in same}
    assert tiny_runs.tree(store) == tiny_runs.tree(tmp_path / "whole.zarr")
    assert all(path.stat().st_nlink == 1 for path in store.rglob("*") if path.is_file())


def test_stopped_in_the_midst_of_links_it_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    """A file that has its second name already gets it again."""
    downscaled(tmp_path / "whole.zarr", cases=range(6), members=5)
    store = tmp_path / "grown.zarr"
    downscaled(store, cases=range(4), members=5)
    real = Place.take

    def stopping(*given):
        real(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Place, "take", stopping)
    with pytest.raises(KeyboardInterrupt):
        downscaled(store, cases=range(6), members=5)
    monkeypatch.undo()
    monkeypatch.setattr(layout, "CHUNK_BYTES", 2 * 5 * 9 * 13 * 4)
    assert downscaled(store, cases=range(6), members=5) == {}  # nothing is computed again
    assert tiny_runs.tree(store) == tiny_runs.tree(tmp_path / "whole.zarr")


@pytest.mark.parametrize("more", [{"cases": range(6)}, {"members": 6}])
@pytest.mark.parametrize("harm", ["damaged", "missing"])
def test_damage_is_told_and_not_handed_on(tmp_path, more, harm):
    """By a block that would be carried over, and by one that is read for more members."""
    store = tmp_path / "f.zarr"
    downscaled(store, cases=range(4), members=5)
    chunk = next(path for path in sorted((store / NAME / "c").rglob("*")) if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.unlink()
    if harm == "damaged":
        chunk.write_bytes(content)
    before = tiny_runs.tree(store)
    with pytest.raises(StorageError, match=f"{NAME} of case .* is damaged .*`diffsci verify`"):
        downscaled(store, **({"cases": range(4), "members": 5} | more))
    assert tiny_runs.tree(store) == before
