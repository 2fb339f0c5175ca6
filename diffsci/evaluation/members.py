"""Members: scores of two runs with unlike numbers of them, made alike, or told to be unfit.

A score is equitable where its expectation does not depend on the number of members, as that of the
fair CRPS does not. That of the squared error of an ensemble mean does: with variance s^2 among M
members, the mean over all choices of m of them is that of all M, plus s^2 (1 / m - 1 / M), exactly.
So the RMSE of the larger ensemble becomes one of as many members as the smaller has, from what
`cases.nc` holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import xarray as xr

from diffsci import families
from diffsci.evaluation.page import best_of, goal_of
from diffsci.evaluation.rows import Row
from diffsci.messages import counted

_ROOTED, _SPREAD = "rmse", "spread_skill"


def count(run: xr.Dataset) -> int | None:
    """Members of the model of a run; none where `cases.nc` is of an earlier version."""
    return int(run["members"].sel(forecast="model")) if "members" in run.coords else None


def alike(first: xr.Dataset, second: xr.Dataset, score: str) -> list[xr.DataArray] | None:
    """Statistics of the models of both runs, as of equally many members; none where it cannot be.

    Args:
        first: As `cases.nc` of a run has it.
        second: That of another.
        score: Word of the score.
    """
    if score not in first or score not in second or _is_unfit(first, second, score):
        return None
    found = [ds[score].sel(forecast="model") for ds in (first, second)]
    numbers = [count(ds) for ds in (first, second)]
    least = min(number or 0 for number in numbers)
    if not told(first, second, score):
        return found
    for place, (ds, number) in enumerate(zip((first, second), numbers, strict=True)):
        if number is not None and number > least:
            # The variance has the factor (M + 1) / M there.
            spread = ds[_SPREAD].sel(forecast="model").isel({f"{_SPREAD}_statistic": [0]})
            variance = spread.rename({f"{_SPREAD}_statistic": f"{score}_statistic"})
            variance = variance * (number / (number + 1))
            found[place] = found[place] + variance * (1 / least - 1 / number)
    return found


def told(first: xr.Dataset, second: xr.Dataset, score: str) -> str:
    """What stands behind the name of a score that was made alike; empty for others."""
    numbers = [count(first), count(second)]
    if score != _ROOTED or None in numbers or numbers[0] == numbers[1]:
        return ""
    return f", as of {counted(min(number or 0 for number in numbers), 'member')} each"


def unfit(first: xr.Dataset, second: xr.Dataset, words: Sequence[str]) -> str:
    """Why some scores that both runs have give no verdict; empty where all do."""
    both = [word for word in words if word in first and word in second]
    left = [word for word in both if _is_unfit(first, second, word)]
    if not left:
        return ""
    ours, theirs = count(first), count(second)
    why = "larger ensembles do better by it"
    if 1 in (ours, theirs):
        why = "of one member there is no fair score, the CRPS is the absolute error"
    return (
        f"no verdict by {', '.join(left)}: {why}, and these have {ours} and {theirs} members; "
        "give both the same sample.members, and `diffsci run` again."
    )


def _is_unfit(first: xr.Dataset, second: xr.Dataset, score: str) -> bool:
    if count(first) == count(second) or None in (count(first), count(second)):
        return False
    if score == _ROOTED:
        return not (_SPREAD in first and _SPREAD in second)
    counts = [count(ds) or 0 for ds in (first, second)]
    return not all(comparable(score, counts, ds[score].attrs) for ds in (first, second))


def comparable(
    score: str, counts: Iterable[int], attributes: Mapping[str, object] | None = None
) -> bool:
    """Whether values of ensembles of so many members can be ranked as they are.

    A fair score is one of two members or more: of a single one the CRPS is the absolute error.

    Args:
        score: Word of the score.
        counts: Members of each.
        attributes: As `cases.nc` has them of the score; none takes it as it usually is.
    """
    numbers = set(counts)
    if len(numbers) < 2:
        return True
    return equitable(score, attributes) and min(numbers) >= _fewest(score)


def starred(
    rows: Sequence[Row | None], score: str, attributes: Mapping[str, object] | None = None
) -> set[int]:
    """Places of the best values of a line, as far as another value compares with them."""
    best = best_of(rows, goal_of(score))

    def compares(place: int) -> bool:
        ours = rows[place]
        return ours is not None and any(
            row is not None
            and other != place
            and math.isfinite(row.value)
            and comparable(score, (ours.members, row.members), attributes)
            for other, row in enumerate(rows)
        )

    return {place for place in best if compares(place)}


def _fewest(score: str) -> int:
    known = score in families.names("scores")
    return int(families.load("scores", score).fewest_members) if known else 1  # type: ignore[attr-defined]


def equitable(score: str, attributes: Mapping[str, object] | None = None) -> bool:
    """Whether its expectation is the same for any number of members: as stored, or as usual."""
    stored = (attributes or {}).get("equitable")
    if stored is not None:
        return bool(stored)
    return score in families.names("scores") and bool(families.load("scores", score)().equitable)
