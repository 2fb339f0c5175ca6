"""`train.from`: another run's model, read, checked, and put into a new denoiser by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffsci import config
from diffsci.data.examples.around import field_names, scalar_names
from diffsci.data.fields import Channel
from diffsci.diffusion.denoiser import Denoiser
from diffsci.errors import ConfigError, DiffsciError, StorageError
from diffsci.forecasting.denoiser_of import denoiser_of, ports_of
from diffsci.forecasting.model_folder import (
    CONFIG,
    DESCRIPTION,
    MANIFEST,
    WEIGHTS,
    check_manifest,
    read_weights,
)
from diffsci.messages import near_path
from diffsci.networks.base import Ports
from diffsci.running.folder import RunFolder
from diffsci.sections import Data, Pipeline
from diffsci.stages.prepare import Prepared
from diffsci.stages.status import status_of, steps_told
from diffsci.stages.sweep_status import is_sweep
from diffsci.training.ema import weights_of
from diffsci.training.frozen import freeze
from diffsci.training.transfer import Names, Taken, blocks_of, silence_new, take

log = logging.getLogger(__name__)

_SHOWN = 6
"""Names of weights in one line of the log; all are in `run.json`."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A model to begin from.

    Args:
        folder: Of the model.
        digest: Of its weights.
        weights: By name.
        names: What went into it.
        predict: What it put out.
    """

    folder: Path
    digest: str
    weights: dict[str, Tensor]
    names: Names
    predict: str

    @classmethod
    def of(cls, asked: str, roots: Sequence[Path]) -> Start:
        """From its folder, or that of its run.

        Args:
            asked: As in `train.from`.
            roots: Where to look for a relative one, after the working directory.

        Raises:
            ConfigError: Where there is none.
            StorageError: For one that is damaged.
        """
        folder = find(asked, roots)
        sums = check_manifest(folder)
        described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        pipeline = config.load(folder / CONFIG).pipeline
        names = tuple(_name(one["variable"], one.get("level")) for one in described["channels"])
        scalars = tuple(described["scalar_names"])
        return cls(
            folder=folder,
            digest=sums[WEIGHTS][:16],
            weights=read_weights(folder / WEIGHTS),
            names=names_of(pipeline.data, names, scalars),
            predict=_predicts(pipeline),
        )

    def into(
        self,
        denoiser: Denoiser,
        pipeline: Pipeline,
        ports: Ports,
        channels: Sequence[Channel],
        scalar_names: tuple[str, ...],
    ) -> dict[str, Any]:
        """Put its weights into a new denoiser; what was taken and left, for the run's record.

        Args:
            denoiser: Freshly initialised.
            pipeline: By which it was made.
            ports: For which it was made.
            channels: Of its states.
            scalar_names: Of its given numbers.

        Raises:
            ConfigError: Where nothing fits.
        """
        names = tuple(channel.name for channel in channels)
        new = names_of(pipeline.data, names, scalar_names)
        # With the same names in the same order, equal shapes are all that is asked.
        blocks = {} if new == self.names else blocks_of(lambda p: _shapes(pipeline, p), ports)
        live = weights_of(denoiser)
        taken = take(live, self.weights, new=new, old=self.names, blocks=blocks)
        silence_new(denoiser, set(taken.fresh))
        self._tell(taken, _predicts(pipeline))
        return {"folder": str(self.folder), "weights": self.digest} | asdict(taken)

    def _tell(self, taken: Taken, predict: str) -> None:
        log.info(
            "train: from %s (%s): %d weights taken, %d in part, %d left, %d new",
            self.folder,
            self.digest,
            len(taken.whole),
            len(taken.partly),
            len(taken.left),
            len(taken.fresh),
        )
        for word, names in (("in part", taken.partly), ("left", taken.left), ("new", taken.fresh)):
            if names:
                more = f"; {len(names) - _SHOWN} more in run.json" if len(names) > _SHOWN else ""
                log.info("train:   %s: %s%s", word, "; ".join(names[:_SHOWN]), more)
        if predict != self.predict:
            log.warning(
                "train.from: that model put out %s, this one %s: its head has to learn anew",
                self.predict,
                predict,
            )


def begin_of(
    loaded: config.Loaded, prepared: Prepared, folder: RunFolder
) -> Callable[[Denoiser], str | None] | None:
    """What `train.from` asks to do with a new denoiser, told in the run's record; none for nothing.

    It gives the digest of the weights, or none where a run that is under way has lost its source.

    Raises:
        ConfigError: Where there is no such run, and this one has not begun.
    """
    pipeline, train = loaded.pipeline, loaded.pipeline.train
    if train is None or train.from_ is None:
        return None
    try:
        start = Start.of(train.from_, loaded.roots)
    except ConfigError as error:
        if not folder.holds_products:
            raise
        log.warning("%s: going on from the checkpoint without it", error)
        return lambda _: None

    def begin(denoiser: Denoiser) -> str:
        own = (prepared.ports, prepared.train.channels, prepared.train.scalar_names)
        folder.record["from"] = start.into(denoiser, pipeline, *own)
        folder.save()
        return start.digest

    return begin


def faults(
    loaded: config.Loaded, prepared: Prepared, source: config.Loaded | None = None
) -> Iterator[DiffsciError]:
    """What `train.from` and `train.freeze` ask for in vain.

    Args:
        loaded: The pipeline.
        prepared: Its data.
        source: What it is to begin from, where that has no model yet.
    """
    pipeline, train = loaded.pipeline, loaded.pipeline.train
    if train is None or not (train.from_ or train.freeze or source):
        return
    try:
        start = None if source is None else _to_come(source, loaded, prepared)
        if train.from_ is not None:
            start = Start.of(train.from_, loaded.roots)
        with torch.random.fork_rng(devices=[]):
            denoiser = denoiser_of(pipeline, prepared.ports)
        if start is not None:
            own = (prepared.ports, prepared.train.channels, prepared.train.scalar_names)
            start.into(denoiser, pipeline, *own)
        freeze(denoiser, train.freeze)
    except DiffsciError as error:
        yield error


def _to_come(source: config.Loaded, loaded: config.Loaded, prepared: Prepared) -> Start | None:
    """A model before it is trained; none where it learns from other data, which is not read."""
    pipeline = source.pipeline
    if pipeline.train is None or source.plain["data"] != loaded.plain["data"]:
        return None
    fields, count = prepared.train, prepared.examples.parameters
    channels = tuple(channel.name for channel in fields.channels)
    try:
        with torch.random.fork_rng(devices=[]):
            denoiser = denoiser_of(
                pipeline, ports_of(pipeline, fields.channels, count, fields.grid)
            )
    except DiffsciError:
        return None  # which is told of that pipeline itself
    return Start(
        folder=Path(pipeline.name),
        digest="to be trained",
        weights=weights_of(denoiser),
        names=names_of(pipeline.data, channels, fields.scalar_names),
        predict=_predicts(pipeline),
    )


def find(asked: str, roots: Sequence[Path]) -> Path:
    """The folder of the model of a run.

    Raises:
        ConfigError: Where there is none.
    """
    given = Path(asked).expanduser()
    for root in (Path(), *roots):
        for folder in (root / given / "model", root / given):
            if (folder / MANIFEST).is_file():
                if _is_of_before(folder):
                    raise ConfigError(
                        f"train.from: got {asked!r}, whose training goes on with what was allowed "
                        "and is not done, so its model is that of before: finish it first"
                    )
                return folder
    there = next((root / given for root in (Path(), *roots) if (root / given).exists()), None)
    expected = "expected the folder of a run whose training is done, such as runs/quickstart"
    if there is not None:
        raise ConfigError(f"train.from: got {asked!r}, {_lacks(there)}; {expected}")
    raise ConfigError(f"train.from: got {asked!r}, {expected}{near_path(given, '*')}")


def _is_of_before(model: Path) -> bool:
    """Whether the run of a model is training another one."""
    try:
        stages = RunFolder.read(model.parent).record["stages"]
    except StorageError:  # a model alone
        return False
    return bool(stages.get("train", {}).get("status", "done") != "done")


def _lacks(folder: Path) -> str:
    """Why what is there is no model to begin from, and what to do."""
    if is_sweep(folder):
        return "which is a sweep: name the folder of one of its points"
    if not (folder / "run.json").is_file():
        return "which is no run's folder (it has no run.json)"
    found = status_of(folder)
    steps = "" if found.step is None else f" ({steps_told(found.step, found.steps)})"
    return f"whose training is not done{steps}: finish it first"


def names_of(data: Data, channels: tuple[str, ...], scalars: tuple[str, ...]) -> Names:
    """What goes into a network: the condition repeats the channels, oldest first; see `Inputs`."""
    task, around = data.task, data.domain.forcings
    frames = task.condition_channels(len(channels)) // len(channels)
    given = tuple(f"{name}, {frames - at} back" for at in range(frames) for name in channels)
    target = channels
    if task.emits > 1:
        target = tuple(f"{name}, {at + 1} on" for at in range(task.emits) for name in channels)
    fields = tuple(f"{n}, {at + 1} on" for at in range(task.emits) for n in field_names(around))
    climate = tuple(f"{word} of {n}" for word in ("mean", "spread") for n in channels)
    return Names(
        target=target,
        condition=given + fields + (climate if task.climate else ()),
        scalars=scalars + scalar_names(around) + (("lead",) if len(task.parts) > 1 else ()),
    )


def _name(variable: str, level: float | None) -> str:
    return Channel(variable=variable, unit="1", level=level).name


def _predicts(pipeline: Pipeline) -> str:
    """What the network puts out."""
    model, train = pipeline.model, pipeline.train
    assert model is not None
    return "samples" if train is not None and train.objective.direct else model.predict


def _shapes(pipeline: Pipeline, ports: Ports) -> dict[str, tuple[int, ...]]:
    """Of the weights of the denoiser that a pipeline describes; the generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        denoiser = denoiser_of(pipeline, ports)
    return {name: tuple(value.shape) for name, value in weights_of(denoiser).items()}
