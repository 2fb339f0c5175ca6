"""Where the checkpoints of a run lie, and which of them stay."""

from __future__ import annotations

from pathlib import Path

from diffsci.files import failpoint, remove_folder


def folder_of(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step-{step:08d}"


def snapshot_of(folder: Path, step: int) -> Path:
    """Where averages lie that were kept on the way."""
    return folder / f"power-{step:08d}"


def best_of(folder: Path, step: int) -> Path:
    """Where the average of a validation lies that was the best."""
    return folder / f"best-{step:08d}"


def all_of(folder: Path, kind: str = "step") -> list[Path]:
    """Folders of one kind in a run's `checkpoints/`, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob(f"{kind}-*") if path.is_dir())


def prune(folder: Path, step: int, best_step: int, keep: int) -> None:
    """Drop the oldest, and those after this one: a run that fell back behind them makes them anew.

    Of the bests, each stays that a kept checkpoint may name.

    Args:
        folder: The run's `checkpoints/`.
        step: Of the one that was just written.
        best_step: Of its best validation.
        keep: Checkpoints left.
    """
    done = folder_of(folder, step)
    kept = [place for place in all_of(folder) if place.name <= done.name][-keep:]
    oldest, last = best_of(folder, step_of(kept[0])), best_of(folder, step)
    bests = all_of(folder, "best")
    kept += [place for place in bests if oldest.name < place.name <= last.name]
    kept += [place for place in bests if place.name <= oldest.name][-1:]
    kept += [best_of(folder, best_step)]
    kept += [p for p in all_of(folder, "power") if p.name <= snapshot_of(folder, step).name]
    failpoint("checkpoint.pruning")
    for place in (*all_of(folder), *bests, *all_of(folder, "power")):
        if place not in kept:
            remove_folder(place)
            failpoint("checkpoint.pruned")


def step_of(place: Path) -> int:
    """Of a checkpoint's folder."""
    return int(place.name.partition("-")[2])
