"""The sampling stage: the ensemble and its truth as labelled stores, going on after a stop."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from diffsci.data.examples.truth import Truth
from diffsci.data.fields import Cases
from diffsci.errors import NumericsError, StorageError
from diffsci.forecasting.calibration.calibrated import recalibration
from diffsci.forecasting.ensemble import Engine
from diffsci.forecasting.failing import Failure
from diffsci.forecasting.given import Given
from diffsci.forecasting.store.disk import require_name, write_whole
from diffsci.forecasting.store.places import Place
from diffsci.forecasting.store.template import Template, part_of
from diffsci.forecasting.store.units import Unit
from diffsci.forecasting.surrogate import Surrogate
from diffsci.forecasting.tiles import Tiling
from diffsci.messages import counted
from diffsci.running.locking import lock, lock_store
from diffsci.sections.storing import Storing
from diffsci.stages.ensembles.growing import Growth, Wanted, asked_of, existing
from diffsci.stages.ensembles.hands import Alone, Hands
from diffsci.stages.ensembles.job import Job, cutting_of
from diffsci.stages.scores import recalibrated

log = logging.getLogger(__name__)


def only_writer(store: Place, run: str) -> AbstractContextManager[None]:
    """Be the only writer of a store until the block ends.

    In a run folder that is the writer of the run, elsewhere of this store alone. Object stores have
    no locks: there it is the user's part that one process alone writes.

    Args:
        store: The store.
        run: Name by which others are told who holds it.

    Raises:
        StorageError: When another process holds it, naming its run, process id and host, or fsspec
            knows nothing of the address.
    """
    if store.is_remote:
        store.require_reachable()  # as it was given; the work place beside it would be named else
        if store.is_in_memory:
            log.warning("%s: lies in the memory of this process, and is gone when it ends", store)
        return nullcontext()
    folder = store.path.parent
    return lock(folder, run) if (folder / "run.json").exists() else lock_store(store.path, run)


def write_ensemble(
    model: Surrogate,
    engine: Engine,
    given: Given,
    wanted: Wanted,
    store: Path | str,
    hands: Hands | None = None,
) -> bool:
    """The ensemble of a model: calibrated where a calibration is kept with it, else as drawn.

    A calibrated store is made of the raw one beside it, which has the members that the centre of a
    case takes, even where fewer are asked for. See `write_raw` for arguments and errors.

    Returns:
        Whether anything was lacking.
    """
    by = recalibration(model, engine, max(1, len(given.cases.leads)))
    place = Place.of(store)
    if by is None:
        return write_raw(model, engine, given, wanted, store, hands)
    require_name(place)
    found = existing(place)
    if found is not None and not recalibrated.is_calibrated(found):
        raise StorageError(
            f"{place}: holds members as they were drawn, and this model's are calibrated now; "
            "choose another name with --out, or sample.calibrated=false"
        )
    if found is not None and not wanted.exact:
        wanted = replace(wanted, members=max(wanted.members, found.members))
    raw = recalibrated.raw_of(place)
    drawn = replace(wanted, members=max(wanted.members, by.centre))
    grown = _grown(model, engine, given, drawn, raw, hands)
    section = model.pipeline.sample
    storing = section.store if section else Storing()
    template = Template(model=model, cases=given.cases, members=wanted.members, storing=storing)
    asked = asked_of(template, engine, given, wanted.seed)
    ledger = recalibrated.write(template, asked, raw, by, place)
    _refuse_failed(place, ledger.failed, len(ledger.cases) * ledger.members)
    _refuse_failed(raw, grown.failed, grown.rows)
    return found is None or found.digest != ledger.digest


def say_written(store: Path | str, wrote: bool) -> None:
    """Tell that a store was written, or that it was there."""
    log.info("sample: wrote %s" if wrote else "sample: %s has all that is asked for", store)


def write_raw(
    model: Surrogate,
    engine: Engine,
    given: Given,
    wanted: Wanted,
    store: Path | str,
    hands: Hands | None = None,
) -> bool:
    """All members of all cases as they are drawn, in a store which grows by what it lacks.

    A store that holds other cases, fewer members or fewer leads of the same ensemble gets what is
    asked for in addition; what it has is not computed again, but for more leads: a rollout goes on
    from states in full precision, which a store does not hold, so that members whose leads are
    extended are computed from their start. What comes out is, byte for byte, what asking for all at
    once gives.

    Call it in a block of `only_writer`, or under the run folder's lock: one process
    decides, `hands` may help it.

    Args:
        model: What samples.
        engine: Where it computes.
        given: The cases. Those that the store has already must be among them, where they need more
            members or leads.
        wanted: How much.
        store: The forecast store, a path or an address of fsspec; it takes this name, or changes,
            when it is whole.
        hands: Who computes; none is this process alone.

    Returns:
        Whether anything was lacking.

    Raises:
        NumericsError: When members failed, after the store was written with them as NaN.
        StorageError: When the store was made from something else, or cannot be written.
    """
    growth = _grown(model, engine, given, wanted, Place.of(store), hands)
    _refuse_failed(growth.store, growth.failed, growth.rows)
    return not growth.is_done


def _grown(
    model: Surrogate,
    engine: Engine,
    given: Given,
    wanted: Wanted,
    store: Place,
    hands: Hands | None,
) -> Growth:
    """A store that holds what is asked for, failures and all."""
    growth = Growth.of(model, engine, given, wanted, store)
    if not growth.is_done:
        cutting = cutting_of(model, engine, wanted.batch)
        units = cutting.units(growth.missing)
        _say(engine, growth, units)
        job = Job(
            model=model,
            engine=engine,
            given=growth.given,
            seed=wanted.seed,
            cutting=cutting,
            growth=growth,
        )
        (hands or Alone()).do(job, units)
        growth.finish()
    return growth


def _refuse_failed(store: Place, failed: tuple[Failure, ...], rows: int) -> None:
    if failed:
        shown = "\n".join(f"  {each}: {each.why}" for each in failed[:20])
        more = f"\n  and {len(failed) - 20} others" if failed[20:] else ""
        raise NumericsError(
            f"{store}: {len(failed)} of {rows} members failed and are NaN there, the "
            "others are whole. The same noise would fail again, so they are not tried again: train "
            f"longer, take fewer leads, or another seed\n{shown}{more}"
        )


def _say(engine: Engine, growth: Growth, units: list[Unit]) -> None:
    lacking = int(growth.missing.sum())
    if lacking < growth.rows:
        log.info("sample: going on, %d of %d members are there", growth.rows - lacking, growth.rows)
    leads = growth.target.leads
    log.info(
        "sample: %s x %s%s, %s each, in %s",
        counted(len(growth.target.cases), "case"),
        counted(growth.target.members, "member"),
        f" x {counted(leads, 'lead')}" if growth.given.cases.leads else "",
        counted(engine.calls * -(-leads // engine.task.emits), "network call"),
        counted(len(units), "unit"),
    )
    _say_tiles(engine.tiles)


def _say_tiles(tiling: Tiling | None) -> None:
    if tiling is None:
        return
    log.info("sample: each field is computed in %d tiles", tiling.count)
    if tiling.warning is not None:
        log.warning("%s", tiling.warning)


def write_truth(model: Surrogate, cases: Cases, truth: Truth, store: Path, *, members: int) -> None:
    """What the ensemble is scored against, in the same layout without `number`.

    Args:
        model: Labels it.
        cases: What the case axis is.
        truth: Of these cases; it is read some cases at a time.
        store: Its place.
        members: Of the ensemble, whose chunks along the cases it shares.
    """
    storing = model.pipeline.sample.store if model.pipeline.sample else Storing()
    template = Template(
        model=model,
        cases=cases,
        members=members,
        storing=replace(storing, accuracy={}, precision="float32"),
    )
    labelled = template.dataset(()).isel(number=0, drop=True)
    of_the_model = (
        *("diffsci_sampler", "diffsci_persistent_noise", "diffsci_seed", "diffsci_seed_scheme"),
        "diffsci_model",
    )
    kept = {name: value for name, value in labelled.attrs.items() if name not in of_the_model}
    kept["title"] = f"{model.pipeline.name}: truth that the ensemble is scored against"
    chunk = template.cases_in_chunk
    parts = (
        (part, model.label(block[:, None], part_of(cases, part), None))
        for part, block in truth.blocks(chunk)
    )
    told = labelled.drop_attrs(deep=False).assign_attrs(kept)
    write_whole(store, told, template.case_dim, chunk, storing.format, parts)
