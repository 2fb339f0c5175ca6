"""Members: scores of two runs with unlike numbers of them, made alike, or told to be unfit.

A score is equitable where its expectation does not depend on the number of members, as that of the
fair CRPS does not. That of the squared error of an ensemble mean does: with variance s^2 among M
members, the mean over all choices of m of them is that of all M, plus s^2 (1 / m - 1 / M), exactly.
So the RMSE of the larger ensemble becomes one of as many members as the smaller has, from what
`cases.nc` holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import xarray as xr

from diffsci import families

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
    return f", as of {min(number or 0 for number in numbers)} members each"


def unfit(first: xr.Dataset, second: xr.Dataset, words: Sequence[str]) -> str:
    """Why some scores that both runs have give no verdict; empty where all do."""
    both = [word for word in words if word in first and word in second]
    left = [word for word in both if _is_unfit(first, second, word)]
    if not left:
        return ""
    ours, theirs = count(first), count(second)
    return (
        f"no verdict by {', '.join(left)}: larger ensembles do better by it, and these have "
        f"{ours} and {theirs} members; give both the same sample.members, and `diffsci run` again."
    )


def _is_unfit(first: xr.Dataset, second: xr.Dataset, score: str) -> bool:
    if count(first) == count(second) or None in (count(first), count(second)):
        return False
    if score == _ROOTED:
        return not (_SPREAD in first and _SPREAD in second)
    return not all(equitable(score, ds[score].attrs) for ds in (first, second))


def equitable(score: str, attributes: dict[str, object] | None = None) -> bool:
    """Whether its expectation is the same for any number of members: as stored, or as usual."""
    stored = (attributes or {}).get("equitable")
    if stored is not None:
        return bool(stored)
    return score in families.names("scores") and bool(families.load("scores", score)().equitable)
