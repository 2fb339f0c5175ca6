"""Scores of forecasts that are there, whoever made them, against a truth that is there.

    diffsci score FORECAST --truth PATH --baseline PATH --out DIR

The truth is an analysis by valid time, or a store of the forecast's own layout (a run's
`truth.zarr`). Cases whose truth is not all there are left out, and counted in the log and in the
report. Nothing is read as a whole: what is scored may be larger than memory.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from diffsci import build, families
from diffsci.errors import ConfigError, FieldError, StorageError
from diffsci.evaluation.canvas import Results
from diffsci.evaluation.cases_file import write_cases
from diffsci.evaluation.pictured import pictured
from diffsci.evaluation.plots import figures
from diffsci.evaluation.report import write_report
from diffsci.evaluation.scores.base import USUAL, Score
from diffsci.evaluation.table import Scores, evaluate
from diffsci.messages import counted
from diffsci.sections import Evaluate, Runtime
from diffsci.stages.scores.aligning import Aligned, align
from diffsci.stages.scores.counted import Counted
from diffsci.stages.scores.forecast_files import Given, is_held
from diffsci.yamltext import read

log = logging.getLogger(__name__)

_SPREAD = ("spread_skill", "rank_histogram", "coverage", "interval")
"""Scores that one member has none of."""


def score(
    forecast: Given,
    truth: Given | str,
    out: Path | None = None,
    *,
    baselines: Mapping[str, Given] | None = None,
    scores: Sequence[str | Score] = (),
    leads: Sequence[float] = (),
    missing: str = "forbidden",
    device: str = "cpu",
) -> Scores:
    """The table of a forecast; with a folder also its files, figures and `report.html` there.

    Args:
        forecast: Store, file, run folder, or data set.
        truth: Path, catalog entry, or data set.
        out: The folder; none writes nothing.
        baselines: Name -> forecasts of the same cases, each a row of the table.
        scores: Of the family: words, with options such as `brier:threshold=280`, or objects; empty
            takes the usual ones.
        leads: Hours (or the unit of a simulation's time) of those to score; empty takes all.
        missing: What a NaN of the truth means: `forbidden`, `static` or `moving`.
        device: Where scores are computed that can be there: `cpu` by numpy, `cuda` or `cuda:N` by
            torch.

    Raises:
        ConfigError: For an unknown score or option, or a path or device that is not there.
        DataError: For another grid, other units, no case in common, or values that are not finite
            and not declared to be gaps.
        StorageError: When something cannot be opened or written.
    """
    if out is not None and (out / "run.json").exists():
        raise StorageError(
            f"{out}: is the folder of a run, whose own scores would be lost; name another by --out"
        )
    if out is not None and (out / "scores.csv").exists():
        raise StorageError(
            f"{out}: has scores already, which would be lost; name another folder by --out, or "
            "delete this one"
        )
    section = Evaluate(scores=(), baselines=())
    measures = tuple(named(one) if isinstance(one, str) else one for one in scores or USUAL)
    place = _device(device)
    aligned = align(forecast, truth, baselines, leads=leads, missing=missing)
    _tell_single(aligned, measures)
    true = Counted.of(
        aligned.truth, aligned.channels, aligned.keys, aligned.leads, aligned.lead_unit
    )
    found = evaluate(
        aligned.forecasts,
        true,
        channels=aligned.channels,
        grid=aligned.grid,
        leads=aligned.leads,
        scores=measures,
        resamples=section.resamples,
        confidence=section.confidence,
        keys=aligned.keys,
        sources=aligned.sources,
        lead_unit=aligned.lead_unit,
        device=place,
    )
    aligned = replace(aligned, left_out=(*aligned.left_out, *true.told(aligned.channels)))
    if out is not None:
        inputs = {"forecast": _title(forecast), "truth": _title(truth)}
        inputs |= {f"baseline {name}": _title(given) for name, given in (baselines or {}).items()}
        _write(out, aligned, found, inputs)
    return found


def rows_of(baselines: Sequence[Path]) -> dict[str, Path]:
    """A name for each, by which its rows are known: the file's, with its folder's where needed.

    Raises:
        ConfigError: For two of one name in folders of one name.
    """
    stems = [path.resolve().stem for path in baselines]
    named: dict[str, Path] = {}
    for path, stem in zip(baselines, stems, strict=True):
        clear = stems.count(stem) == 1 and stem not in ("model", "truth")
        name = stem if clear else f"{path.resolve().parent.name}/{stem}"
        if name in named:
            raise ConfigError(f"--baseline {path}: {named[name]} is called {name}, too; rename one")
        named[name] = path
    return named


def _device(word: str) -> str | None:
    """What torch calls it, once it is there; none for numpy."""
    try:
        Runtime(device=word)
    except FieldError as error:
        raise FieldError("--device", error.value, error.expected) from None
    if word == "cpu":
        return None
    # Imported here: on the CPU scores need no torch, which takes seconds.
    from diffsci.machine import device_name

    try:
        found = device_name(word)
    except FieldError as error:
        raise FieldError("--device", error.value, error.expected) from None
    return None if found == "cpu" else found


def named(text: str) -> Score:
    """A score by its word, with options: `brier:threshold=280`.

    Raises:
        ConfigError: For an unknown word, key or value.
    """
    word, *options = text.split(":")
    for option in options:
        key, _, value = option.partition("=")
        if not key.strip() or not value.strip():
            raise ConfigError(
                f"--scores {text}: {option or 'an option'} has no value; write KEY=VALUE after "
                "the colon, such as brier:threshold=280"
            )
    try:
        kind = families.load("scores", word)
    except ConfigError as error:
        raise ConfigError(f"--scores {text}: {error}") from None
    lines = ", ".join(option.replace("=", ": ", 1) for option in options)
    made: Score = build.fill(
        kind, read(f"{{{lines}}}", f"--scores {text}", lines=False), lazy=False
    )
    return made


def _tell_single(aligned: Aligned, measures: Sequence[Score]) -> None:
    words = [name for one in measures if (name := families.name_of(one)) in _SPREAD]
    for name, values in aligned.forecasts.items():
        counts = [values.members_of(number) for number in range(len(aligned.channels))]
        single = [c.name for c, count in zip(aligned.channels, counts, strict=True) if count == 1]
        if single and words:
            what = "" if len(single) == len(counts) else f" of {', '.join(single)}"
            log.warning(
                "%s has one member%s, which has no spread: its %s are left empty",
                name,
                what,
                ", ".join(words),
            )


def _title(given: Given | str) -> str:
    return "a data set in memory" if is_held(given) else str(given)


def _write(out: Path, aligned: Aligned, found: Scores, inputs: Mapping[str, str]) -> None:
    """Everything that a run folder has of an evaluation."""
    out.mkdir(parents=True, exist_ok=True)
    found.write(out)
    write_cases(out, found, aligned.keys)
    results = Results(
        forecasts={},
        truth=np.zeros((0, 0, 0), np.float32),
        given=None,
        channels=aligned.channels,
        grid=aligned.grid,
        leads=aligned.leads,
        lead_unit=aligned.lead_unit,
        keys=aligned.keys,
    )
    drawn = figures(out / "figures", pictured(aligned.forecasts, aligned.truth, results), found)
    model = aligned.forecasts["model"]
    cases = model.shape[0]
    counts = sorted({model.members_of(number) for number in range(len(aligned.channels))})
    members = " or ".join([*map(str, counts[:-1]), counted(counts[-1], "member")])
    forecast, truth = (Path(inputs[word]).name for word in ("forecast", "truth"))
    span = " to ".join(dict.fromkeys((aligned.keys[0], aligned.keys[-1])))
    write_report(
        out / "report.html",
        title=f"Scores of {forecast}",
        summary=f"{members} of {counted(cases, 'case')}, {span}, "
        + "; ".join([f"against {truth}", *aligned.left_out])
        + ".",
        scores=found,
        figures=drawn,
        config="",
        provenance={"Inputs": dict(inputs)},
        lead_unit=aligned.lead_unit,
    )
