"""Which pipelines may train on several forecast steps; known without any data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffsci import families
from diffsci.errors import FieldError

if TYPE_CHECKING:
    from diffsci.sections import Pipeline


def rolled_leads(pipeline: Pipeline) -> int:
    """Forecast steps of the longest rollout in training; 1 where there is none.

    Raises:
        FieldError: For a task whose forecasts do not go on from themselves, draw by draw.
    """
    if pipeline.train is None or (rollout := pipeline.train.rollout) is None:
        return 1
    task = pipeline.data.task
    if not task.has_leads:
        expected = f"null: the task {families.name_of(task)} makes no forecast to go on from"
        raise FieldError("train.rollout", {"leads": rollout.leads}, expected)
    if not task.goes_on:
        expected = f"null: the task {families.name_of(task)} does not go on from what it makes"
        raise FieldError("train.rollout", {"leads": rollout.leads}, expected)
    if len(task.parts) > 1:
        expected = "null: where each step is drawn by itself, a draw does not go on from the last"
        raise FieldError("train.rollout", {"leads": rollout.leads}, expected)
    if not pipeline.train.objective.direct:
        word = families.name_of(pipeline.train.objective)
        expected = (
            f"null: {word} trains a diffusion model, whose loss is not right for its own samples; "
            "take objective crps or deterministic, or train.condition_noise"
        )
        raise FieldError("train.rollout", {"leads": rollout.leads}, expected)
    return rollout.longest
