"""The pipeline of a trained model, with the sampler that `diffsci tune` chose for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from diffsci import config
from diffsci.forecasting.model_folder import choice_of
from diffsci.sections import Pipeline

log = logging.getLogger(__name__)


def trained(file: Path, overrides: Sequence[str] = (), *, tuned: bool = True) -> config.Loaded:
    """As the model's `config.yaml` says it; one that was never to be sampled takes the defaults.

    Args:
        file: `config.yaml` of a model folder.
        overrides: `KEY=VALUE` texts; they go before what was chosen.
        tuned: Whether to take the sampler that was chosen, where one was.

    Raises:
        ConfigError: For what is wrong in them.
    """
    texts = list(overrides)
    choice = choice_of(file.parent) if tuned else None
    if choice is not None and not any(text.startswith("sample.sampler") for text in texts):
        told = ", ".join(f"{key}={value}" for key, value in choice["sampler"].items())
        log.info("sample: the sampler is %s, chosen by `diffsci tune`", told)
        texts.append(f"sample.sampler={json.dumps(choice['sampler'])}")
    pipeline = config.load(file).pipeline
    if pipeline.sample is None:
        texts.insert(0, f"sample={_usual(pipeline)}")
    return config.load(file, texts)


def _usual(pipeline: Pipeline) -> str:
    """The section `sample` of a model that was never to be sampled: what its objective can do."""
    objective = pipeline.train.objective if pipeline.train else None
    if objective is None or not objective.direct:
        return "{}"
    return "{sampler: null}" if objective.varied else "{sampler: null, members: 1}"
