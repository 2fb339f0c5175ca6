"""One call of `run` on one folder: the stages in order, each recorded, tracked and resumable."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffsci import config
from diffsci.errors import DataError, StorageError, line_of
from diffsci.files import failpoint, remove_folder
from diffsci.forecasting.given import Given
from diffsci.forecasting.model_folder import CONFIG
from diffsci.forecasting.opening import read_surrogate
from diffsci.forecasting.surrogate import Surrogate
from diffsci.running import stopping
from diffsci.running.changes import changes, refuse_changes
from diffsci.running.folder import RunFolder
from diffsci.runtime import Device
from diffsci.sections import Sample
from diffsci.stages import checks, registering
from diffsci.stages.ensembles.growing import Wanted
from diffsci.stages.ensembles.provenance import of_cases, provenance
from diffsci.stages.ensembles.reverse_variance import with_variance
from diffsci.stages.ensembles.sampling import write_ensemble, write_truth
from diffsci.stages.ensembles.sharing import hands_of
from diffsci.stages.placing import placed
from diffsci.stages.prepare import Prepared, prepare
from diffsci.stages.scores import evaluating, recalibrated, recalibrating
from diffsci.stages.tracked import tracked
from diffsci.stages.training import deciding, following
from diffsci.stages.training.learning import Training, learn
from diffsci.stages.training.naming import names_of
from diffsci.stages.training.starting import begin_of
from diffsci.stages.training.weighing import weights_of
from diffsci.stages.watching import watched
from diffsci.tracking.tracker import NullTracker, Tracker
from diffsci.training import distributed, memory

log = logging.getLogger(__name__)

FORECAST, TRUTH = evaluating.FORECAST, "truth.zarr"
LEARNED = "diffsci_data"
"""Global attribute with the digest of the training part."""


@dataclass
class Sequence:
    """The stages of one pipeline on one folder, under the folder's lock."""

    loaded: config.Loaded
    folder: RunFolder
    digests: dict[str, str]
    tags: dict[str, str] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    other_data: bool = False
    gone_on: bool = False
    spent: float = 0.0

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    def run(self) -> None:
        """Do what is not done."""
        pipeline = self.loaded.pipeline
        tracker: Tracker = NullTracker()
        try:
            device = placed(pipeline.runtime, self.folder)
            deciding.check_processes(pipeline)
            prepared = prepare(pipeline, self.loaded.roots)
            self._require_same_data(prepared.digests)
            examples, names = prepared.examples, prepared.train.scalar_names
            checks.check(pipeline, prepared.ports, names, len(examples))
            checks.check_weights(pipeline, prepared)
            checks.check_constraints(pipeline, prepared)
            for found in checks.warnings(pipeline, examples, prepared.channel_names):
                log.warning("%s", found)
            if (same := checks.averages_warning(pipeline.train)) is not None:
                log.warning("%s", same)
            self.folder.record["lead_unit"] = prepared.lead_unit
            self.folder.save()
            tracker = tracked(self.loaded, self.folder, prepared, self.tags)
            with watched(tracker, self.path):
                self._stages(prepared, device, tracker)
        except BaseException as error:
            # A launcher that misses a process asks this one to end, in the middle of saying so.
            with stopping.failing():
                cause = self._ended_by(error, tracker)
            if cause is error:
                raise
            raise cause from error
        self.folder.go_on()
        self.folder.record["status"] = "done"
        self.folder.save()
        self._tell_seconds(tracker)
        tracker.finish("FINISHED")
        self._say_end(tracker)

    def _ended_by(self, error: BaseException, tracker: Tracker) -> BaseException:
        """What the run ends by, which is written down: also which of several processes is lost."""
        found = distributed.explained(error)
        failed = isinstance(found, Exception)
        self.folder.record["status"] = "failed" if failed else "stopped"
        if failed:
            self.folder.record["error"] = line_of(found)
        with suppress(StorageError):  # where the disk is full, that is the error to tell
            self.folder.save()
        tracker.finish("FAILED" if failed else "KILLED")
        return found

    def _stages(self, prepared: Prepared, device: Device, tracker: Tracker) -> None:
        pipeline = self.loaded.pipeline
        if pipeline.train is None:
            return
        model = self._train(prepared, device, tracker)
        if pipeline.sample is None:
            return
        recalibrated.settle(self.path / FORECAST, pipeline.calibrate is not None)
        if pipeline.calibrate is not None or model.calibration is not None:
            model = self._calibrate(prepared, model, device)
        self._sample(prepared, model, device)
        if pipeline.evaluate is not None:
            self._evaluate(prepared, model, device, tracker)
        registering.on_request(pipeline.tracking, tracker.run_id, self.path / "model")

    def _require_same_data(self, digests: dict[str, str]) -> None:
        """Refuse to go on with data that has changed since the run began.

        Allowed, the calibration, an ensemble and its truth are made anew: they would be of other
        data than scores.
        """
        before, folder = self.folder.record.get("data", {}), self.folder
        found = [replace(c, key=f"data.content.{c.key}") for c in changes(before, digests)]
        if before and found and folder.holds_products:
            what = f"{self.path}: the data has changed since this run began"
            hint = "restore it, or start another run with --out"
            folder.accept(refuse_changes(found, self.allow, what=what, hint=hint, kind=DataError))
            self.other_data = True
        folder.will_have({"data": digests})

    def _go_on(self, tracker: Tracker) -> None:
        """Nothing that would refuse the run is left: record what it goes on with."""
        if self.other_data:
            for stage in ("calibrate", "sample", "evaluate"):
                self.folder.record["stages"].pop(stage, None)
            for store in (self.path / FORECAST, self.path / TRUTH):
                if store.exists():
                    remove_folder(store)
        self.folder.go_on()
        self.other_data, self.gone_on = False, True
        tracker.artifact(self.path / "config.yaml")

    @contextmanager
    def _stage(self, name: str, kept: float = 0.0) -> Iterator[None]:
        """Record a stage's beginning, seconds and end; one that was refused is left as it was."""
        before = self.folder.record["stages"].get(name)
        self.folder.begin(name, self.digests[name], kept)
        started = time.monotonic()
        try:
            with memory.kept():
                yield
        except BaseException:
            with stopping.failing():
                if before is not None and not self.gone_on:
                    self.folder.record["stages"][name] = before
                else:
                    with suppress(StorageError):
                        self.folder.end(name, time.monotonic() - started, "stopped")
            raise
        failpoint(f"{name}.made")
        seconds = round(time.monotonic() - started, 3)
        self.spent += seconds
        self.folder.end(name, seconds)
        failpoint(f"{name}.done")

    def _train(self, prepared: Prepared, device: Device, tracker: Tracker) -> Surrogate:
        pipeline, place = self.loaded.pipeline, self.path / "model"
        if self.folder.done("train", self.digests["train"]) and place.exists():
            log.info("train: done before")
            following.announce_nothing()
            self._go_on(tracker)
            return read_surrogate(place, pipeline)
        allow = (*self.allow, *(each["key"] for each in self.folder.allowed))
        following.announce(device, prepared.digests, allow)
        with self._stage("train"):
            denoiser = learn(
                Training(
                    pipeline=pipeline,
                    ports=prepared.ports,
                    examples=prepared.examples,
                    valid=prepared.valid,
                    folder=self.path / "checkpoints",
                    device=device,
                    tracker=tracker,
                    allow=allow,
                    names=names_of(prepared.train, prepared.examples, pipeline.data),
                    weights=weights_of(pipeline, prepared.train.channels),
                    begin=begin_of(self.loaded, prepared, self.folder),
                    ready=lambda: self._go_on(tracker),
                )
            )
            model = Surrogate(
                pipeline=pipeline,
                denoiser=denoiser,
                statistics=prepared.statistics,
                grid=prepared.train.grid,
                channels=prepared.train.channels,
                scalar_names=prepared.train.scalar_names,
                time_unit=prepared.train.time_unit,
                step=prepared.step(),
                provenance=self._provenance(prepared) if pipeline.sample else {},
            )
            model.save(place, config.to_yaml(self.loaded.plain))
        return read_surrogate(place, pipeline)

    def _renewed(self, model: Surrogate, prepared: Prepared, sample: Sample) -> Surrogate:
        """The model, told of a `sample` section that was changed after training."""
        place, text = self.path / "model", config.to_yaml(self.loaded.plain)
        lacks = sample.needs_covariance and model.variance is None
        if not lacks and (place / CONFIG).read_text(encoding="utf-8") == text:
            return model
        if lacks:
            device = placed(self.loaded.pipeline.runtime, self.folder)
            model = with_variance(model, prepared.valid or prepared.examples, device)
        told = self._provenance(prepared)
        # What it learned from, whatever the data is now.
        told |= {key: value for key, value in model.provenance.items() if key == LEARNED}
        replace(model, provenance=told).save(place, text)
        return read_surrogate(place, self.loaded.pipeline)

    def _provenance(self, prepared: Prepared) -> dict[str, Any]:
        assert self.loaded.pipeline.sample is not None
        known = provenance(self.loaded.plain, self.loaded.pipeline.sample.seed)
        return known | {LEARNED: prepared.train.digest[:16]}

    def _calibrate(self, prepared: Prepared, model: Surrogate, device: Device) -> Surrogate:
        pipeline, place = self.loaded.pipeline, self.path / "model"
        if pipeline.calibrate is None:
            self.folder.record["stages"].pop("calibrate", None)
            replace(model, calibration=None).save(place, config.to_yaml(self.loaded.plain))
        elif not self.folder.done("calibrate", self.digests["calibrate"]):
            assert pipeline.sample is not None
            model = self._renewed(model, prepared, pipeline.sample)
            with self._stage("calibrate"):
                engine = model.engine(device)
                found = recalibrating.recalibration_of(model, engine, self.loaded, self.path)
                replace(model, calibration=found).save(place, config.to_yaml(self.loaded.plain))
        return read_surrogate(place, pipeline)

    def _sample(self, prepared: Prepared, model: Surrogate, device: Device) -> None:
        pipeline, store = self.loaded.pipeline, self.path / FORECAST
        sample = pipeline.sample
        assert sample is not None
        if self.folder.done("sample", self.digests["sample"]) and store.exists():
            log.info("sample: done before")
            return
        model, evaluation = self._renewed(model, prepared, sample), prepared.evaluation
        told = model.provenance | of_cases(prepared.digests["test"])
        model = replace(model, provenance=told)
        given, engine = Given.of_tests(evaluation, sample.observed), model.engine(device)
        self.folder.record["network_calls"] = sample.calls
        with self._stage("sample", recalibrated.kept(model, engine, given, sample, store)):
            recalibrated.clear(model, engine, given, sample, store)
            write_truth(
                model,
                evaluation.cases,
                evaluation.truth,
                self.path / TRUTH,
                members=sample.members,
            )
            hands = hands_of(pipeline.runtime)
            write_ensemble(model, engine, given, Wanted.of(pipeline, exact=True), store, hands)

    def _evaluate(
        self, prepared: Prepared, model: Surrogate, device: Device, tracker: Tracker
    ) -> None:
        with self._stage("evaluate"):
            made = evaluating.scored(self.loaded.pipeline, prepared, model, device, self.path)
        evaluating.tell(self.loaded, prepared, made, self.folder, tracker)

    def _tell_seconds(self, tracker: Tracker) -> None:
        """What each stage took over all calls, where MLflow compares runs."""
        stages = self.folder.record["stages"].items()
        tracker.metrics({f"seconds/{name}": entry["seconds"] for name, entry in stages})

    def _say_end(self, tracker: Tracker) -> None:
        """Seconds of the stages: of this call, and of all where there were several."""
        total = sum(entry["seconds"] for entry in self.folder.record["stages"].values())
        more = f" ({total:.0f} s over all calls)" if round(total - self.spent, 3) > 0 else ""
        log.info("done in %.0f s%s: %s", self.spent, more, self.path)
        if (report := self.path / "report.html").exists():
            log.info("  report   %s", report)
        if tracker.address:
            log.info("  compare  %sopen %s", tracker.first, tracker.address)
