"""The sections of a pipeline file, as frozen dataclasses: the keys of the YAML are these fields.

Plain Python, importing nothing heavy. A field made by `member` holds one object of a family (`use:`
names the file), `members` a tuple of them: built last, since their modules import torch or xarray.
All keys in one file, though it is over 300 lines: this is where one looks them up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from diffsci.errors import require
from diffsci.members import member, members

if TYPE_CHECKING:
    from diffsci.data.domains.base import Domain
    from diffsci.data.tasks.base import Task
    from diffsci.diffusion.guidance.base import Guidance
    from diffsci.diffusion.noises.base import NoiseShape
    from diffsci.diffusion.objectives.base import Objective
    from diffsci.diffusion.operators.base import Operator
    from diffsci.diffusion.samplers.base import Sampler
    from diffsci.diffusion.schedules.base import Schedule
    from diffsci.evaluation.baselines.base import Baseline
    from diffsci.evaluation.scores.base import Score
    from diffsci.networks.base import Network

Predict = Literal["mean", "x0", "epsilon", "v", "score", "flow", "edm"]


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a split: which records of which entry.

    Args:
        entry: Catalog entry or path; none takes that of `data`.
        time: First and last time stamp, both included, as ISO dates or numbers.
        samples: First trajectory and the one after the last.
    """

    entry: str | None = None
    time: tuple[str | float, str | float] | None = None
    samples: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.samples is not None:
            first, after = self.samples
            require(
                0 <= first < after,
                "samples",
                self.samples,
                "[first, one after the last], 0 <= first < last",
            )


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which records train, validate and test; no test record may equal a training record."""

    train: Part
    test: Part
    valid: Part | None = None


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the data is, what it means, and what is asked of it.

    Args:
        entry: Name of a catalog entry.
        source: A file, folder or Zarr store to read without an entry; give one of the two.
        domain: What axes, units and geometry mean.
        task: What is given and what is sampled.
        split: Train, valid and test.
        variables: Take only these of the entry's variables; empty takes all.
    """

    entry: str | None = None
    source: str | None = None
    domain: Domain = member("domains")
    task: Task = member("tasks")
    split: Split
    variables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        given = [name for name in (self.entry, self.source) if name]
        require(
            len(given) == 1,
            "entry",
            self.entry,
            "either `entry` or `source`, and the other one null",
        )

    @property
    def parts(self) -> list[tuple[str, Part]]:
        """Each part of the split, with the name or path of the catalog entry that it reads."""
        split, default = self.split, self.entry or self.source
        parts = [part for part in (split.train, split.valid, split.test) if part is not None]
        return [(str(part.entry or default), part) for part in parts]

    @property
    def entries(self) -> list[str]:
        """Names of all catalog entries or paths that the parts read."""
        return list(dict.fromkeys(name for name, _ in self.parts))


@dataclass(frozen=True, kw_only=True)
class Model:
    """The denoiser: a network, a noise schedule, its noise, and what the network predicts."""

    network: Network = member("networks", "unet")
    schedule: Schedule = member("schedules", "edm")
    noise: NoiseShape = member("noises", "white")
    predict: Predict = "v"


@dataclass(frozen=True, kw_only=True)
class Train:
    """The training loop.

    Args:
        steps: Optimiser steps.
        from_: Run whose averaged weights are the first ones, as far as they fit: a folder, as seen
            from here or from the file's. Channels are matched by their names. `from` in a file.
        freeze: Patterns such as `network.stem.*` of names of weights that are to stay as they are.
        batch_size: Examples per step.
        accumulate: Parts of a batch that are computed one after the other, to save memory; their
            gradients add up to that of the whole batch.
        lr: Peak learning rate of AdamW.
        lr_end: Final rate as a share of `lr`.
        warmup: Steps over which the rate rises linearly from 0.
        schedule: What follows: a `cosine` down to `lr_end`, a `constant` rate, or one that is
            constant until the `cooldown`.
        cooldown: Last share of the steps over which the rate falls, with `schedule: cooldown`.
        weight_decay: Of AdamW, for filters and matrices; biases and norms do not decay.
        clip: Largest gradient norm.
        ema: Decay of the exponential moving average of the weights, after its own warm-up; of
            several, the average that validates best at the end is the model.
        objective: What is trained for: which levels of noise, with which weight, or a score of
            members that are made by one call.
        condition_noise: Standard deviation of Gaussian noise added to the condition in training.
        drop_scalars: Share of examples whose scalars are set to zero, for classifier-free guidance.
        flip: Dims that may be mirrored at random in training, where the physics allows it.
        shift: Dims along which periodic fields are rolled at random.
        checkpoint_every: Steps between checkpoints.
        keep: Newest checkpoints kept.
        keep_best: Whether the model is that of the best validation, not that of the last step.
        validate_every: Steps between validations.
        patience: Validations without a lower loss after which training ends; null for no such end.
        hours: Training ends after so many, counted over restarts; null for no such end.
        on_bad: What a batch does whose loss or gradient is not finite: `stop` ends the run, `skip`
            leaves weights, average and optimiser as they are and goes on.
        skip_most: Such batches in a row that are skipped; one more stops.
        spike: A loss so many robust deviations above the last hundred is told; null for never.
        log_every: Steps between tracked metrics, and between log lines where no bar is drawn.
    """

    steps: int
    from_: str | None = None
    freeze: tuple[str, ...] = ()
    batch_size: int = 16
    accumulate: int = 1
    lr: float = 1e-3
    lr_end: float = 0.0
    warmup: int = 100
    schedule: Literal["cosine", "constant", "cooldown"] = "cosine"
    cooldown: float = 0.2
    weight_decay: float = 0.0
    clip: float = 1.0
    ema: float | tuple[float, ...] = 0.999
    objective: Objective = member("objectives", "edm")
    condition_noise: float = 0.0
    drop_scalars: float = 0.0
    flip: tuple[str, ...] = ()
    shift: tuple[str, ...] = ()
    checkpoint_every: int = 500
    keep: int = 2
    keep_best: bool = False
    validate_every: int = 500
    patience: int | None = None
    hours: float | None = None
    on_bad: Literal["stop", "skip"] = "stop"
    skip_most: int = 10
    spike: float | None = 10.0
    log_every: int = 50

    def __post_init__(self) -> None:
        counts = ("steps", "batch_size", "accumulate", "checkpoint_every", "keep")
        for name in (*counts, "validate_every", "skip_most", "log_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.from_ != "", "from", self.from_, "the folder of a run, or null")
        fits = self.batch_size % self.accumulate == 0
        expected = f"a divisor of batch_size, which is {self.batch_size}"
        require(fits, "accumulate", self.accumulate, expected)
        for name in ("lr", "clip"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in ("hours", "spike", "patience"):
            value = getattr(self, name)
            require(value is None or value > 0, name, value, "more than 0, or null for none")
        for name in ("warmup", "weight_decay", "condition_noise"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        for name in ("lr_end", "drop_scalars"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a share from 0 to 1")
        fits = self.schedule != "constant" or self.lr_end == 0
        require(fits, "lr_end", self.lr_end, "0.0 where train.schedule is constant, and ignores it")
        require(0 < self.cooldown <= 1, "cooldown", self.cooldown, "a share, more than 0")
        fits = len(self.decays) > 0 and all(0 <= decay < 1 for decay in self.decays)
        fits = fits and len(set(self.decays)) == len(self.decays)
        require(fits, "ema", self.ema, "0 or more and less than 1, one or several that differ")

    @property
    def decays(self) -> tuple[float, ...]:
        """Of the averages that are kept side by side."""
        return self.ema if isinstance(self.ema, tuple) else (self.ema,)


@dataclass(frozen=True, kw_only=True)
class Observing:
    """A twin experiment: the truth of each test case is observed, and guides its members.

    Args:
        operator: What is observed of the physical fields.
        noise_std: Standard deviation of the observations' errors, in physical units: one for all,
            or one for each channel that is observed.
        seed: Of the errors.
    """

    operator: Operator = member("operators")
    noise_std: float | tuple[float, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        values = self.noise_std if isinstance(self.noise_std, tuple) else (self.noise_std,)
        require(all(v > 0 for v in values), "noise_std", self.noise_std, "more than 0")
        require(self.seed >= 0, "seed", self.seed, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How a domain that does not fit into memory goes through the network: in overlapping parts.

    Args:
        cells: Of a tile along each dim of the grid, overlap included; one number serves all dims.
        overlap: Cells of each side of a tile that are computed, but not kept; `auto` takes as many
            as the network looks, so that the result is that of the whole domain.
    """

    cells: int | tuple[int, ...]
    overlap: int | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        each = (self.cells,) if isinstance(self.cells, int) else self.cells
        fits = len(each) >= 1 and all(cells >= 1 for cells in each)
        require(fits, "cells", self.cells, "1 or more, one number or one for each dim")
        fits = self.overlap == "auto" or self.overlap >= 0
        require(fits, "overlap", self.overlap, "auto, or 0 or more cells")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The ensemble.

    Args:
        members: Members per case.
        seed: Of the members' noise; member k of a case depends on it, on k and on the case alone.
        sampler: How noise becomes a sample; null where the objective trained a network that makes
            a sample by a single call.
        guidance: Changes the denoiser, where wanted.
        observed: What is observed of the truth, for guidance that draws samples to observations.
        leads: Forecast steps, where the task has leads.
        every: Take every n-th possible start of each trajectory of the test part.
        cases: At most so many cases, evenly spread; none takes all.
        compute_batch: Fields that go through the network at once, always padded to this number: the
            bits of a member depend on it, and on no other grouping.
        tiles: For a domain that does not fit into memory: the parts in which it is computed.
    """

    members: int = 16
    seed: int = 0
    sampler: Sampler | None = member("samplers", "dpmpp", optional=True)
    guidance: Guidance | None = member("guidance", optional=True)
    observed: Observing | None = None
    leads: int = 1
    every: int = 1
    cases: int | None = None
    compute_batch: int = 16
    tiles: Tiles | None = None

    def __post_init__(self) -> None:
        for name in ("members", "leads", "every", "compute_batch"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(
            self.cases is None or self.cases >= 1, "cases", self.cases, "1 or more, or null for all"
        )

    @property
    def calls(self) -> int:
        """Network calls of one sampling, without guidance."""
        return 1 if self.sampler is None else self.sampler.calls

    @property
    def needs_covariance(self) -> bool:
        """Whether the sampler needs the posterior variance of the model's estimates."""
        return self.sampler is not None and self.sampler.needs_covariance


@dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Scores and baselines.

    Args:
        scores: Of the family `scores`; empty takes crps, rmse, bias, spread_skill, rank_histogram,
            spectrum, memorisation where no field is given, class_accuracy where there are classes.
        baselines: Of the family `baselines`; empty takes every one that fits the task.
        resamples: Bootstrap resamples of the cases for the intervals.
        confidence: Share of the interval between `low` and `high`.
    """

    scores: tuple[Score, ...] = members("scores")
    baselines: tuple[Baseline, ...] = members("baselines")
    resamples: int = 500
    confidence: float = 0.9

    def __post_init__(self) -> None:
        require(self.resamples >= 1, "resamples", self.resamples, "1 or more")
        require(0 < self.confidence < 1, "confidence", self.confidence, "a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how it computes.

    Args:
        device: `auto` takes CUDA, then Apple's MPS, then the CPU.
        threads: Of torch on the CPU; `auto` (or 0) leaves torch's own choice, one per core.
        precision: `bf16` and `fp16` run the network under autocast, fp16 with a scaled loss where
            it trains; `auto` takes bf16 where it is native.
        compile: Whether torch compiles the network; `auto` does in training, where a run is long
            enough to win back the minute that it takes, and not in sampling, where the bits of a
            member would come to depend on how many are drawn.
        memory_format: How fields lie in memory; `auto` takes what measured faster on the device.
        checkpointing: Whether training holds the inputs of blocks alone and computes the rest
            again; `auto` does where it would not fit into memory otherwise. Bits do not depend on
            it.
        batch: Samples held while a block of the store is made, a whole case at least; beside them
            are `sample.compute_batch` more. Results do not depend on it.
        dask: Address of a dask scheduler; to be left null until a stage uses dask.
    """

    device: str = "auto"
    threads: int | Literal["auto"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    checkpointing: bool | Literal["auto"] = "auto"
    batch: int = 64
    dask: str | None = None

    def __post_init__(self) -> None:
        fits = self.threads == "auto" or self.threads >= 0
        require(fits, "threads", self.threads, "auto (torch's choice), or 1 or more")
        require(self.batch >= 1, "batch", self.batch, "1 or more")
        require(self.dask is None, "dask", self.dask, "null: no stage uses dask yet; leave it null")
        known = re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", self.device)
        require(known is not None, "device", self.device, "auto, cpu, mps, cuda or cuda:N")


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """MLflow.

    Args:
        enabled: Off: nothing is imported or written.
        uri: Tracking store; none takes `sqlite:///mlflow.db` in the working directory.
        experiment: Name; none takes the pipeline's data entry and task.
    """

    enabled: bool = True
    uri: str | None = None
    experiment: str | None = None

    def __post_init__(self) -> None:
        # The address is written into run folders and logs, so it must not hold a password.
        secret = self.uri is not None and re.search(r"://[^/@]*:[^/@]*@", self.uri) is not None
        expected = "no password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        require(not secret, "uri", "an address with a password", expected)
        require(self.uri != "", "uri", self.uri, "an address, or null for the default")


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A whole pipeline file. A section that is absent is a stage that is not run."""

    name: str
    seed: int = 0
    data: Data
    model: Model | None = None
    train: Train | None = None
    sample: Sample | None = None
    evaluate: Evaluate | None = None
    runtime: Runtime = field(default_factory=Runtime)
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        fits = re.fullmatch(r"[^\W_][\w.-]{0,99}", self.name) is not None
        expected = "up to 100 letters, digits, - _ and ., a letter or digit first (a folder's name)"
        require(fits, "name", self.name, expected)
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        needs = [("train", "model"), ("sample", "train"), ("evaluate", "sample")]
        for stage, before in needs:
            present = getattr(self, stage) is None or getattr(self, before) is not None
            require(present, stage, "this section alone", f"a section `{before}` before it")
