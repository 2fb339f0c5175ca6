"""The desk: one thread that owns the model, and a line of requests before it.

The network uses all cores by itself, and the libraries that read NetCDF bear one thread at a time;
so requests are answered one after the other, and a line that is too long is told to come back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diffsci.data.catalog import Entry, Source
from diffsci.errors import DiffsciError
from diffsci.forecasting.calibration.calibrated import brought, needed
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.requests.answering import (
    Plan,
    Question,
    least_bytes,
    most_leads,
    planned,
)
from diffsci.forecasting.requests.durations import leads_of
from diffsci.forecasting.surrogate import Surrogate
from diffsci.serving import bodies
from diffsci.serving.refusals import Refusal, refusal_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may cost.

    Args:
        body: Bytes of its body, and of the data in it.
        answer: Bytes of the answer's values.
        seconds: From its arrival to its answer.
        waiting: Requests in line.
        idle: Seconds without a byte of the body.
    """

    body: int = 256_000_000
    answer: int = 1_000_000_000
    seconds: float = 600.0
    waiting: int = 32
    idle: float = 30.0


@dataclass
class Desk:
    """The model and its line.

    Args:
        model: Trained.
        limits: Of each request.
    """

    model: Surrogate
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self._engine: Engine = self.model.engine()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="diffsci-model")
        self.waiting = 0
        self.answered = 0

    async def ask(self, body: Path | None, kind: str, question: Question, folder: Path) -> Path:
        """The answer to a request, as a NetCDF file in its folder.

        Args:
            body: What was sent; none for nothing.
            kind: Of the body.
            question: The request's parameters.
            folder: Of the request alone; it is removed after the answer.

        Raises:
            Refusal: With the field and the reason.
        """
        if self.waiting >= self.limits.waiting:
            raise Refusal(503, "queue", f"{self.waiting} requests are in line; try again later")
        deadline, gone = time.monotonic() + self.limits.seconds, threading.Event()
        self.waiting += 1
        try:
            work = asyncio.get_running_loop().run_in_executor(
                self._thread, self._answer, body, kind, question, folder, deadline, gone
            )
            made = await asyncio.shield(work)
        except asyncio.CancelledError:
            gone.set()  # the client has gone: what is in line for it is not begun
            await asyncio.wait([work])
            raise
        finally:
            self.waiting -= 1
        self.answered += 1
        return made

    def close(self) -> None:
        """End the thread after the request in hand."""
        self._thread.shutdown(cancel_futures=True)

    def _answer(
        self,
        body: Path | None,
        kind: str,
        question: Question,
        folder: Path,
        deadline: float,
        gone: threading.Event,
    ) -> Path:
        place = body
        try:
            self._require_small(question)
            if body is not None:
                place = bodies.unpacked(body, kind, folder, self.limits.body)
            source = None if place is None else Entry(name="body", source=Source(path=str(place)))
            plan = planned(self.model, source, question)
        except DiffsciError as error:
            raise refusal_of(error, place) from None
        if plan.bytes > self.limits.answer:
            raise self._too_large("members", plan.bytes)
        try:
            return self._computed(plan, folder, deadline, gone)
        except DiffsciError as error:
            raise refusal_of(error, place) from None

    def _require_small(self, question: Question) -> None:
        """Refuse by the question alone what would be too large, before any of it is made."""
        least, one = least_bytes(self.model, question)
        if question.lead is not None and self.model.calibration is not None:
            leads, most = leads_of(question.lead, self.model), most_leads(self.model)
            if leads > most:
                raise Refusal(
                    400, "lead", f"lead: got {leads} steps, and this model's calibration was "
                    f"fitted up to step {most}; ask for no more than lead={most}"
                )  # fmt: skip
        if least > self.limits.answer:
            alone = question.lead is not None and one > self.limits.answer
            raise self._too_large("lead" if alone else "members", least)

    def _too_large(self, field: str, size: int) -> Refusal:
        return Refusal(
            413, field, f"{field}: the answer would have {size:,} bytes or more, the limit is "
            f"{self.limits.answer:,}; ask for fewer members, leads or starts"
        )  # fmt: skip

    def _computed(self, plan: Plan, folder: Path, deadline: float, gone: threading.Event) -> Path:
        """The answer, batch after batch, with a look at the clock between them."""
        cases = len(plan.given.cases)
        number = needed(plan.model, self._engine, plan.given, plan.members)
        pairs = [(case, member) for case in range(cases) for member in range(number)]
        made, size = list[np.ndarray](), self._engine.compute_batch
        for first in range(0, len(pairs), size):
            if gone.is_set() or time.monotonic() > deadline:
                raise Refusal(
                    503, "time", f"time: {self.limits.seconds:g} s were not enough ({first} of "
                    f"{len(pairs)} members were made); ask for fewer, or raise `diffsci serve "
                    "--timeout`"
                )  # fmt: skip
            made.append(
                plan.model.drawn(self._engine, plan.given, pairs[first : first + size], plan.seed)
            )
        values = np.concatenate(made)
        values = values.reshape(cases, number, *values.shape[1:])
        values = brought(plan.model, self._engine, plan.given, values)[:, : plan.members]
        labelled = plan.model.label(values, plan.given.cases, np.arange(plan.members))
        place = folder / "answer.nc"
        labelled.to_netcdf(place, engine="netcdf4")
        return place
