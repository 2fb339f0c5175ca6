"""The sections of a pipeline file, as frozen dataclasses: the keys of the YAML are these fields.

Plain Python, importing nothing heavy. A field made by `member` holds one object of a family (`use:`
names the file), `members` a tuple of them: built last, since their modules import torch or xarray.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field

from diffsci.errors import FieldError, require
from diffsci.sections.calibrating import Calibrate
from diffsci.sections.data import Data, Part, Split
from diffsci.sections.evaluating import Evaluate
from diffsci.sections.model import Model, Predict
from diffsci.sections.running import Runtime, Tracking
from diffsci.sections.sampling import Observing, Perturbing, Sample, Tiles
from diffsci.sections.storing import Storing
from diffsci.sections.training import Rollout, Train, ValidateCrps

__all__ = [
    "Calibrate",
    "Data",
    "Evaluate",
    "Model",
    "Observing",
    "Part",
    "Perturbing",
    "Pipeline",
    "Predict",
    "Rollout",
    "Runtime",
    "Sample",
    "Split",
    "Storing",
    "Tiles",
    "Tracking",
    "Train",
    "ValidateCrps",
]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A whole pipeline file. A section that is absent is a stage that is not run."""

    name: str
    seed: int = 0
    data: Data
    model: Model | None = None
    train: Train | None = None
    sample: Sample | None = None
    calibrate: Calibrate | None = None
    evaluate: Evaluate | None = None
    runtime: Runtime = field(default_factory=Runtime)
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        fits = re.fullmatch(r"[^\W_][\w.-]{0,99}", self.name) is not None
        expected = "up to 100 letters, digits, - _ and ., a letter or digit first (a folder's name)"
        require(fits, "name", self.name, expected)
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        needs = [("train", "model"), ("sample", "train")]
        needs += [("calibrate", "sample"), ("evaluate", "sample")]
        for stage, before in needs:
            present = getattr(self, stage) is None or getattr(self, before) is not None
            require(present, stage, "this section alone", f"a section `{before}` before it")
        if self.train is None:
            return
        if self.train.validate_crps is not None and self.sample is None:
            expected = "null, or a section `sample`, whose sampler makes the members"
            raise FieldError("train.validate_crps", asdict(self.train.validate_crps), expected)
        if self.data.split.valid is None:
            self.train.refuse_without_validation()
