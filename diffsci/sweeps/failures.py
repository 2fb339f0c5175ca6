"""What a sweep fails by: points that failed, and points whose folders hold something else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from diffsci import config
from diffsci.errors import ConfigError, DiffsciError, line_of
from diffsci.messages import counted
from diffsci.points import Point
from diffsci.points import told as told_of
from diffsci.stages.jobs import kind_of
from diffsci.stages.owning import owned


def of_end(
    failed: Mapping[str, DiffsciError], points: Sequence[Point], count: int, folder: Path
) -> None:
    """Nothing where no point failed.

    Args:
        failed: Those that did, by name.
        points: All of the sweep.
        count: How many were asked for.
        folder: Of the sweep.

    Raises:
        DiffsciError: Of the first one's kind, naming all that failed.
    """
    if not failed:
        return
    first = next(iter(failed.values()))
    if count == 1:  # it was asked for by its name, perhaps by a sweep with several jobs
        raise first
    told = [f"{len(failed)} of {counted(count, 'point')} of the sweep failed:"]
    told += [_line(each, folder, failed[each.name]) for each in points if each.name in failed]
    told.append("mend what failed; the same command tries these points again, and no others")
    raise kind_of(first.exit_code)("\n".join(told))


def _line(point: Point, folder: Path, error: DiffsciError) -> str:
    """A point, what makes it differ, its folder, which the error may name itself, and the error."""
    differs = f" ({told_of(point.overrides)})" if point.overrides else ""
    where, text = folder / point.name, line_of(error)
    named = "" if text.startswith((f"{where}:", f"{where} ")) else f" in {where}"
    return f"  {point.name}{differs}{named}: {text}"


def require_own(
    children: Sequence[tuple[Point, config.Loaded]], folder: Path, allow: Sequence[str]
) -> None:
    """Refuse a sweep with a point whose folder holds another run, before anything is written.

    Raises:
        DiffsciError: The first one's kind of error, naming all.
    """
    refused: dict[Point, DiffsciError] = {}
    for point, child in children:
        try:
            owned(child, folder / point.name, allow)
        except DiffsciError as error:
            refused[point] = error
    if not refused:
        return
    first = next(iter(refused.values()))
    if len(children) == 1 or isinstance(first, ConfigError):  # what is asked for is wrong for all
        raise first
    told = [f"{len(refused)} of {counted(len(children), 'point')} of the sweep cannot go on:"]
    told += [_line(point, folder, error) for point, error in refused.items()]
    told.append("nothing was changed, and no point was begun")
    raise kind_of(first.exit_code)("\n".join(told))
