"""Plots: the figures of a run, each under a fixed name, so that runs can be laid side by side."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context

from diffsci.evaluation import curves, groups, maps
from diffsci.evaluation.animation import animate
from diffsci.evaluation.canvas import STYLE, Results, save
from diffsci.evaluation.table import Scores

NAMES = (
    "sample_maps.png",
    "scores_by_lead.png",
    "member_spread.png",
    "rank_histogram.png",
    "spectra.png",
    "reliability.png",
    "scores_by_parameter.png",
    "members.gif",
)
"""Files that `figures` writes, in the order of the report; what a run cannot have is left out."""

__all__ = ["NAMES", "Results", "figures"]


def figures(folder: Path, results: Results, scores: Scores) -> dict[str, Path]:
    """Draw all figures of a run into `folder`.

    Returns:
        File name -> path, in the order of `NAMES`; further channels as `sample_maps_<channel>.png`.
    """
    drawn: dict[str, Path] = {}
    with rc_context(STYLE):
        for index, channel in enumerate(results.channels[:4]):
            word = channel.name.replace("/", "-")
            name = "sample_maps.png" if index == 0 else f"sample_maps_{word}.png"
            drawn[name] = save(maps.sample_maps(results, index), folder / name)
        made = {
            "scores_by_lead.png": curves.scores_by_lead(results, scores),
            "member_spread.png": curves.member_spread(results),
            "rank_histogram.png": curves.rank_histogram(results, scores),
            "spectra.png": curves.spectra(results, scores),
            "reliability.png": groups.reliability(scores),
            "scores_by_parameter.png": groups.scores_by_parameter(scores, results.parameters),
        }
        for name, drawing in made.items():
            if drawing is not None:
                drawn[name] = save(drawing, folder / name)
        moving = animate(results, 0, folder / "members.gif")
        if moving is not None:
            drawn["members.gif"] = moving
    return drawn
