"""Tuning: which sampler, with how few network calls, is as good as the best within a tolerance.

What is measured is kept in `tune.json` of the run folder, rung after rung: stopped, the same
command goes on. The choice goes into the model's description, where sampling looks for it.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context

from diffsci import families
from diffsci.data.examples.cases import Evaluation, cases_given
from diffsci.data.examples.parts import read_part
from diffsci.errors import ConfigError
from diffsci.evaluation import canvas
from diffsci.files import sha256_of, write_json, write_text
from diffsci.forecasting.given import Given
from diffsci.forecasting.model_folder import CONFIG, WEIGHTS, keep_choice
from diffsci.forecasting.opening import read_surrogate
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running import stopping
from diffsci.running.folder import digest_of, roots_of_run
from diffsci.running.locking import lock
from diffsci.stages.ensembles import ladder
from diffsci.stages.ensembles.ladder import Compared, Measured, Rung
from diffsci.stages.ensembles.trained import trained

log = logging.getLogger(__name__)

RECORD, TABLE, PICTURE = "tune.json", "tune.csv", "tune.png"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be compared.

    Args:
        samplers: Words of the family; `all` takes every one.
        calls: Network calls of one sampling, at most.
        tolerance: Most excess of the CRPS over that of the best, as a share.
        cases: Of the validation part, evenly spread.
        members: Of each case.
        overrides: `KEY=VALUE` texts for `sample.*` and `runtime.*`.
    """

    samplers: tuple[str, ...] = ladder.DEFAULT
    calls: tuple[int, ...] = ladder.CALLS
    tolerance: float = 0.01
    cases: int = 24
    members: int = 8
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, low in (("cases", 2), ("members", 2)):
            if getattr(self, name) < low:
                raise ConfigError(f"--{name}: got {getattr(self, name)}, expected {low} or more")
        if not 0 <= self.tolerance < 1:
            raise ConfigError(f"--tolerance: got {self.tolerance}, expected a share, such as 0.01")
        if not self.calls or min(self.calls) < 1:
            raise ConfigError(f"--calls: got {self.calls}, expected numbers such as 4,8,16,32")
        for text in self.overrides:
            if not text.startswith(("sample.", "runtime.")) or text.startswith("sample.sampler"):
                raise ConfigError(
                    f"{text}: only sample.* and runtime.* can be given, and the sampler is what is "
                    "compared: name several by --samplers"
                )


def tune(run: Path, asked: Asked) -> Compared:
    """Compare samplers on the validation part, and keep the cheapest good one with the model.

    Args:
        run: The run folder.
        asked: What to compare.

    Raises:
        ConfigError: For a model that has no sampler.
        StorageError: When there is no whole model, or the run is being written.
    """
    with lock(run):
        model, evaluation, digest = _opened(run, asked)
        words = families.names("samplers") if asked.samplers == ("all",) else asked.samplers
        rungs = ladder.rungs(words, asked.calls)
        measured = _measured(run, model, evaluation, rungs, asked, digest)
        found = ladder.compared(measured)
        best = min(found, key=lambda each: each.measured.mean)
        chosen = ladder.cheapest(found, asked.tolerance)
        _write(run, found, chosen, asked, digest)
        keep_choice(run / "model", _choice(run, chosen, best, asked))
    _say(chosen, best, model)
    return chosen


def _opened(run: Path, asked: Asked) -> tuple[Surrogate, Evaluation, str]:
    """The model, its validation cases, and a digest of all that the measures depend on."""
    texts = [*asked.overrides, f"sample.members={asked.members}"]
    loaded = trained(run / "model" / CONFIG, texts, tuned=False)
    pipeline, data = loaded.pipeline, loaded.pipeline.data
    section = pipeline.sample
    assert section is not None
    if section.sampler is None:
        raise ConfigError(
            f"{run}: this model makes a member by one call of its network (train.objective), so "
            "there is no sampler to tune"
        )
    model = read_surrogate(run / "model", pipeline)
    part = data.split.valid
    if part is None:
        log.warning("tune: the pipeline has no data.split.valid; training cases are taken")
        part = data.split.train
    roots = roots_of_run(loaded.origin, loaded.roots)
    fields = read_part(data, part, roots)
    evaluation = cases_given(
        fields, data.task, data.domain, model.statistics, leads=section.leads, cases=asked.cases
    )
    plain: dict[str, Any] = {**loaded.plain["sample"], "sampler": None}
    weights = sha256_of(run / "model" / WEIGHTS)
    return model, evaluation, digest_of([weights, plain, fields.digest, asked.cases])


def _measured(
    run: Path,
    model: Surrogate,
    evaluation: Evaluation,
    rungs: Sequence[Rung],
    asked: Asked,
    digest: str,
) -> list[Measured]:
    """What each rung scores; those of the record are not computed again."""
    record = _record(run, digest)
    given, section = Given.of_tests(evaluation, None), model.pipeline.sample
    truth = evaluation.truth.read()
    assert section is not None
    todo = [rung for rung in rungs if rung.key not in record["rungs"]]
    count = len(evaluation) * asked.members
    log.info(
        "tune: %d samplers on %d validation cases, %d members, %d leads; %d are measured already",
        len(rungs), len(evaluation), asked.members, max(1, len(evaluation.cases.leads)),
        len(rungs) - len(todo),
    )  # fmt: skip
    with stopping.patiently():
        for number, rung in enumerate(todo, start=1):
            engine = replace(model.engine(), sampler=rung.sampler)
            if number == 1:  # what a first call sets up is not the sampler's time
                model.drawn(engine, given, [(0, 0)], section.seed)
            started = time.monotonic()
            values = model.values(engine, given, range(asked.members), section.seed)
            seconds = time.monotonic() - started
            made = ladder.scored(rung, values, truth, model.grid, seconds)
            record["rungs"][rung.key] = {
                "sampler": rung.plain, "calls": rung.calls, "crps": made.mean,
                "spread_skill": made.spread_skill, "seconds": seconds,
                "ms_per_member": 1000 * seconds / count, "crps_by_case": made.crps.tolist(),
            }  # fmt: skip
            write_json(run / RECORD, record)
            log.info(
                "tune: %d of %d: %s, %d calls: CRPS %.5g, spread/skill %.3f, %.1f s",
                number, len(todo), rung.name, rung.calls, made.mean, made.spread_skill, seconds,
            )  # fmt: skip
            stopping.boundary(f"tune: stopped after {number} of {len(todo)}, which are saved")
    return [_of_record(rung, record["rungs"][rung.key]) for rung in rungs]


def _record(run: Path, digest: str) -> dict[str, Any]:
    """What an earlier call measured of the same; else an empty record."""
    try:
        found: dict[str, Any] = json.loads((run / RECORD).read_text(encoding="utf-8"))
        if found["digest"] == digest:
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"digest": digest, "rungs": {}}


def _of_record(rung: Rung, told: dict[str, Any]) -> Measured:
    return Measured(
        rung=rung,
        crps=np.array(told["crps_by_case"]),
        spread_skill=float(told["spread_skill"]),
        seconds=float(told["seconds"]),
    )


def _choice(run: Path, chosen: Compared, best: Compared, asked: Asked) -> dict[str, Any]:
    """What the model's description says of it."""
    rung = chosen.measured.rung
    return {
        "sampler": rung.plain,
        "calls": rung.calls,
        "excess": chosen.excess,
        "interval": [chosen.low, chosen.high],
        "tolerance": asked.tolerance,
        "weights": sha256_of(run / "model" / WEIGHTS)[:16],
        "reason": (
            f"diffsci tune: fewest calls ({rung.calls}) within {asked.tolerance:.2%} of the best "
            f"validation CRPS ({best.measured.rung.name}, {best.measured.rung.calls} calls)"
        ),
    }


def _write(
    run: Path, found: Sequence[Compared], chosen: Compared, asked: Asked, digest: str
) -> None:
    """Record, table and picture."""
    record = _record(run, digest)
    record |= {"tolerance": asked.tolerance, "chosen": chosen.measured.rung.key}
    write_json(run / RECORD, record)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(
        ("sampler", "calls", "crps", "excess", "low", "high", "spread_skill", "seconds", "chosen")
    )
    for each in sorted(found, key=lambda e: (e.measured.rung.calls, e.measured.mean)):
        one = each.measured
        numbers = (one.mean, each.excess, each.low, each.high, one.spread_skill, one.seconds)
        row = [one.rung.name, one.rung.calls, *(f"{number:.6g}" for number in numbers)]
        lines.writerow([*row, "yes" if each is chosen else ""])
    write_text(run / TABLE, text.getvalue())
    with rc_context(canvas.STYLE):
        canvas.save(picture(found, chosen, asked.tolerance), run / PICTURE)


def picture(found: Sequence[Compared], chosen: Compared, tolerance: float) -> Any:  # noqa: ANN401
    """Excess of the CRPS with its paired interval, and spread over skill, against calls."""
    made = canvas.figure(7.2, 3.6)
    left, right = made.subplots(1, 2)
    names = list(dict.fromkeys(each.measured.rung.name for each in found))
    for number, name in enumerate(names):
        mine = sorted(
            (each for each in found if each.measured.rung.name == name),
            key=lambda each: each.measured.rung.calls,
        )
        calls = [each.measured.rung.calls for each in mine]
        style = canvas.line(number, len(calls))
        left.plot(calls, [100 * each.excess for each in mine], label=name, **style)
        band = [[100 * each.low for each in mine], [100 * each.high for each in mine]]
        left.fill_between(calls, *band, color=style["color"], alpha=0.15, linewidth=0)
        right.plot(calls, [each.measured.spread_skill for each in mine], **style)
    left.axhspan(0, 100 * tolerance, color=canvas.FAINT, alpha=0.2, linewidth=0)
    right.axhline(1, color=canvas.FAINT, linewidth=1)
    one = chosen.measured
    ring = {"s": 150, "facecolors": "none", "edgecolors": canvas.INK, "zorder": 20}
    left.scatter([one.rung.calls], [100 * chosen.excess], **ring)
    right.scatter([one.rung.calls], [one.spread_skill], **ring)
    ticks = sorted({each.measured.rung.calls for each in found})
    for axes, title in (
        (left, "CRPS above the best (%), with its interval"),
        (right, "spread / skill (1 is reliable)"),
    ):
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("network calls")
        axes.set_title(title)
        axes.grid(True, axis="y")
    floor = max(100 * tolerance, 0.1)
    left.set_yscale("symlog", linthresh=floor)
    left.set_ylim(bottom=min(-floor, *(100 * each.low for each in found)))
    left.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    canvas.legend_below(made, left)
    return made


def _say(chosen: Compared, best: Compared, model: Surrogate) -> None:
    rung, section = chosen.measured.rung, model.pipeline.sample
    assert section is not None
    log.info(
        "tune: take %s with %d calls: CRPS %+.2f %% (%+.2f to %+.2f) of the best, %s with %d",
        rung.name, rung.calls, 100 * chosen.excess, 100 * chosen.low, 100 * chosen.high,
        best.measured.rung.name, best.measured.rung.calls,
    )  # fmt: skip
    log.info("tune: kept with the model; the pipeline says %d calls", section.calls)
    if chosen is best:
        log.info("tune: more --cases make the intervals narrower, where fewer calls might do")
