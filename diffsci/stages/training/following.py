"""Several processes in one run: rank 0 does all, the others train with it.

Rank 0 alone holds the lock, decides, writes, tracks and prints. When it comes to training it tells
the others what was decided; they read the same data, build the same network, and go on from the
same checkpoint. After the last step they sample with it (see `sharing.py`) and end.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from diffsci import config
from diffsci.errors import DataError
from diffsci.runtime import Device
from diffsci.sections import Pipeline
from diffsci.stages.prepare import prepare
from diffsci.stages.training.learning import Training, learn
from diffsci.stages.training.naming import names_of
from diffsci.stages.training.weighing import weights_of
from diffsci.tracking.tracker import NullTracker
from diffsci.training import distributed

log = logging.getLogger(__name__)

WORD = "train"


@contextmanager
def together(pipeline: Pipeline) -> Iterator[bool]:
    """Join the processes that were started at once, until the block ends; whether this is rank 0.

    Raises:
        RankError: When another process ended.
    """
    name = pipeline.runtime.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"  # NCCL has no MPS
    distributed.check_device(name)
    with distributed.process_group(torch.device(name), distributed.timeout_seconds()) as ranks:
        yield ranks.is_first


def announce(device: Device, digests: dict[str, str], allow: tuple[str, ...]) -> None:
    """Rank 0 begins to train: what the others need to do the same."""
    told: dict[str, Any] = {"device": device.record(), "data": digests, "allow": list(allow)}
    distributed.tell(WORD, json.dumps(told))


def announce_nothing() -> None:
    """Rank 0 has a trained model already."""
    distributed.tell(WORD, "{}")


def follow(loaded: config.Loaded, folder: Path) -> None:
    """Train with rank 0, where it trains.

    Args:
        loaded: The pipeline.
        folder: The run folder, from whose checkpoints all go on.

    Raises:
        DataError: When this process reads other data than rank 0.
    """
    word = distributed.hear(WORD)
    if word is None:
        return
    told = json.loads(word)
    if not told:
        return
    pipeline = loaded.pipeline
    prepared = prepare(pipeline, loaded.roots)
    if prepared.digests != told["data"]:
        raise DataError("rank 0 reads other data than this process: all need the same files")
    way = {name: told["device"][name] for name in ("precision", "memory_format")}
    device = replace(Device.of(pipeline.runtime), **way)
    learn(
        Training(
            pipeline=pipeline,
            ports=prepared.ports,
            examples=prepared.examples,
            valid=prepared.valid,
            folder=folder / "checkpoints",
            device=device,
            tracker=NullTracker(),
            names=names_of(prepared.train, prepared.examples, pipeline.data),
            weights=weights_of(pipeline, prepared.train.channels),
            # The weights that a run begins with come from rank 0.
            allow=(*told["allow"], "train.from"),
        )
    )
