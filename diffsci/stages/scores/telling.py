"""What a run tells of itself: a summary, a table, and the metrics by which runs are compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from diffsci import families
from diffsci.evaluation.page import number
from diffsci.evaluation.table import Scores
from diffsci.sections import Model, Pipeline, Sample, Train
from diffsci.stages.prepare import Prepared


def summary(pipeline: Pipeline, prepared: Prepared) -> str:
    """One paragraph: what was given, what was sampled, by what, on which cases."""
    assert pipeline.model and pipeline.train and pipeline.sample
    sample, task = pipeline.sample, families.name_of(pipeline.data.task)
    names = ", ".join(
        c.name if c.unit == "1" else f"{c.name} in {c.unit}" for c in prepared.train.channels
    )
    size = " x ".join(str(n) for n in prepared.train.grid.sizes)
    leads = prepared.leads()
    unit = "time units" if prepared.lead_unit in ("", "1") else prepared.lead_unit
    reach = f" up to {leads[-1]:g} {unit}" if leads else ""
    return (
        f"Task {task}{reach} on {prepared.name} ({names}, grid {size}). "
        f"A {families.name_of(pipeline.model.network)} "
        f"{_of_what(pipeline.model, pipeline.train)} was trained for {pipeline.train.steps} steps "
        f"on {len(prepared.examples)} examples; {sample.members} members were sampled by "
        f"{_by(sample)}{' a step' if leads else ''} for {len(prepared.evaluation)} test cases"
        f"{_guided(sample)}{_tiled(sample)}{_calibrated(pipeline)}"
        f"{'. Scores are of the cells that were hidden' if task == 'infill' else ''}."
    )


def _of_what(model: Model, train: Train) -> str:
    """What the network is trained to put out."""
    if train.objective.direct:
        return f"with the objective {families.name_of(train.objective)}"
    return f"with the {families.name_of(model.schedule)} schedule predicting {model.predict}"


def _by(sample: Sample) -> str:
    """How a sample is made."""
    if sample.sampler is None:
        return "one network call"
    return f"{families.name_of(sample.sampler)} in {sample.calls} network calls"


def _guided(sample: Sample) -> str:
    """What drew the members away from the plain model; nothing where nothing did."""
    if sample.guidance is None:
        return ""
    text = f", guided by {families.name_of(sample.guidance)}"
    if sample.observed is not None:
        operator, std = families.name_of(sample.observed.operator), sample.observed.noise_std
        text += f" to {operator} of the truth observed with errors of std {std}"
    return text


def _tiled(sample: Sample) -> str:
    """How fields were cut; nothing where they were whole."""
    if sample.tiles is None:
        return ""
    cells = sample.tiles.cells
    size = cells if isinstance(cells, int) else " x ".join(map(str, cells))
    return f", in tiles of at most {size} cells"


def _calibrated(pipeline: Pipeline) -> str:
    """That members were brought to what was fitted; nothing where they were not."""
    if pipeline.calibrate is None or not pipeline.sample or not pipeline.sample.calibrated:
        return ""
    return ", and calibrated on the validation cases"


def cost(
    pipeline: Pipeline,
    scores: Scores,
    seconds: Mapping[str, float],
    device: Mapping[str, object],
) -> dict[str, object]:
    """What a member costs, and what all of them did: calls, seconds, and what energy goes by.

    Args:
        pipeline: What was run.
        scores: The table.
        seconds: Of each stage.
        device: As the run's record has it.
    """
    assert pipeline.sample is not None
    row = next(row for row in scores.rows if row.forecast == "model")
    steps = max(1, len(scores.leads or ()))
    made = row.members * row.count * steps
    step = " and lead" if scores.leads else ""
    found: dict[str, object] = {
        f"network calls of a member{step}": pipeline.sample.calls,
        f"members x cases{' x leads' if scores.leads else ''}": made,
    }
    if seconds.get("sample"):
        found[f"milliseconds of a member{step}"] = 1000 * seconds["sample"] / made
    if seconds.get("train") and seconds.get("sample"):
        found["members that cost as much as training"] = round(
            made * seconds["train"] / seconds["sample"] / steps
        )
    on_cpu = str(device.get("device", "cpu")) == "cpu"
    many = float(str(device.get("threads") or 1)) if on_cpu else 1.0
    for stage, doing in (("train", "training"), ("sample", "sampling")):
        if seconds.get(stage):
            # Times the watts of a core or a GPU: watt-hours.
            unit = "core-hours" if on_cpu else "GPU-hours"
            found[f"{unit} of {doing}"] = many * seconds[stage] / 3600
    return found


def metrics(scores: Scores, prepared: Prepared) -> list[tuple[dict[str, float], int]]:
    """What tracking shows: `test/`, `test_by_lead/`, `spectrum/`, each with its step."""
    several = len(scores.variables) > 1

    def name(section: str, variable: str, score: str) -> str:
        return f"{section}/{variable}/{score}" if several else f"{section}/{score}"

    overall: dict[str, float] = {}
    for row in scores.rows:
        if row.forecast == "model" and row.lead is None:
            overall[name("test", row.variable, row.score)] = row.value
    if "crps" in scores.scores:
        for baseline in scores.forecasts[1:]:
            for row in scores.skill(baseline):
                overall[name("test", row.variable, row.score)] = row.value
    found = [(overall, 0)]
    leads = prepared.leads() or []
    steps = prepared.evaluation.cases.leads
    whole = all(lead == int(lead) for lead in leads)
    for lead, step in zip(leads, steps, strict=False):
        values = {
            name("test_by_lead", row.variable, row.score): row.value
            for row in scores.rows
            if row.forecast == "model" and row.lead == lead
        }
        found.append((values, int(lead) if whole else step))
    if "spectrum" in scores.scores:
        for variable in scores.variables:
            power, truth = np.split(scores.means("model", variable, "spectrum"), 2)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = power / truth
            key = name("spectrum", variable, "power_ratio")
            found += [({key: float(value)}, shell) for shell, value in enumerate(ratio, start=1)]
    return [
        ({key: value for key, value in values.items() if np.isfinite(value)}, step)
        for values, step in found
    ]


def lead_step_unit(prepared: Prepared) -> str:
    """Unit of the step of `test_by_lead/` metrics, which are whole numbers."""
    leads = prepared.leads()
    if not leads:
        return ""
    if all(lead == int(lead) for lead in leads):
        return prepared.lead_unit
    step = prepared.evaluation.cases.step
    return f"steps of {float(step or 1):.6g} {prepared.lead_unit}"


def table(scores: Scores) -> str:
    """The scores over all leads as a Markdown table."""
    names = list(scores.scores)
    lines = [
        "| forecast | variable | " + " | ".join(names) + " |",
        "|---" * (2 + len(names)) + "|",
    ]
    for forecast in scores.forecasts:
        for variable in scores.variables:
            cells = [number(scores.row(forecast, variable, name).value) for name in names]
            lines.append(f"| {forecast} | {variable} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
