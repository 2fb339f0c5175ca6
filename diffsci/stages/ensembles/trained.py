"""The pipeline of a trained model, with the sampler that `diffsci tune` chose for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from diffsci import config
from diffsci.forecasting.model_folder import choice_of

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
    if config.load(file).pipeline.sample is None:
        texts.insert(0, "sample={}")
    return config.load(file, texts)
