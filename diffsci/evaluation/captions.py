"""Captions: how to read each figure; finished HTML."""

from __future__ import annotations

CAPTIONS = {
    "sample_maps.png": (
        "<b>Samples.</b> What is real and what was sampled share one range, to be compared "
        "by eye. A good sample looks real, only not like this truth in its details. Where an "
        "ensemble answers to one truth, its mean is smoother than either, and its spread is large "
        "where the members disagree. White cells, if any, were not given, or are not scored."
    ),
    "scores_by_lead.png": (
        "<b>Scores by lead.</b> Lower is better for errors; spread over skill is best at 1 "
        "(below: too sure of itself). Bands are bootstrap intervals over the cases."
    ),
    "member_spread.png": (
        "<b>Does the spread know the error?</b> All points in ten groups from small to large "
        "spread. On the dashed line the spread predicts the error; above it the ensemble is too "
        "sure of itself, below it not sure enough; a level line would be a spread that knows "
        "nothing."
    ),
    "rank_histogram.png": (
        "<b>Rank histogram.</b> How often the truth falls between which members. Flat is "
        "reliable; a U means too little spread, a dome too much, a slope a bias. Neighbouring "
        "points fall together, so some waviness is chance."
    ),
    "spectra.png": (
        "<b>Spectra.</b> Power of single members against that of the truth at each scale; "
        "below, their ratio. Less than 1 at high wavenumbers means blurred members, more means "
        "noise; what is a thousand times off is cut. The mean is removed and a Hann window applied "
        "along axes that are not periodic."
    ),
    "reliability.png": (
        "<b>Reliability.</b> How often the event, a value above the threshold, came true where it "
        "was given a probability, made monotone. On the dashed line one may take the probability "
        "at its word; flatter is too sure of itself. Bars: how often each was said by the model."
    ),
    "scores_by_parameter.png": (
        "<b>By parameter.</b> The first score of the table for groups of cases with like values; "
        "the band is the model's bootstrap interval within the group."
    ),
    "members.gif": (
        "<b>Lead after lead.</b> The truth, the ensemble mean and some members of one case. "
        "Members should move as the truth does, each its own way; the mean grows smooth as they "
        "part."
    ),
}
"""How to read each figure; finished HTML."""

CLIMATOLOGY = (
    " Where a line meets climatology, the forecast knows no more than the season does. Where times "
    "are dates, climatology draws training fields of the same season and hour (within 15 days of "
    "the day of the year, or the same month of monthly data); where fewer than 10 are such, or "
    "times are numbers, it draws from all."
)
"""What is said of the scores by lead where climatology is among them."""
