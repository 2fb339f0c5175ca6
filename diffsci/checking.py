"""Checks before a run: everything that is wrong with pipelines, entries or data, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from diffsci import config
from diffsci.data.catalog import load_entry
from diffsci.errors import ConfigError, DataError, DiffsciError
from diffsci.running.folder import roots_of_run
from diffsci.stages.training import from_point

if TYPE_CHECKING:
    from diffsci.data.checks.problems import Problem
    from diffsci.stages.prepare import Prepared


def check(
    paths: tuple[Path | str, ...],
    tell: Callable[[str], None] | None = None,
    overrides: Sequence[str] = (),
) -> list[Problem]:
    """Everything that is wrong with pipelines, catalog entries or data, in one pass.

    A fault of a pipeline file itself has the code `config`.

    Args:
        paths: Pipeline files, names of catalog entries, or paths of data.
        tell: Called with lines that say what each pipeline without faults costs on this machine.
        overrides: `KEY=VALUE` texts for the pipelines.
    """
    from diffsci.data.checks.preflight import check_entry

    problems: list[Problem] = []
    for path in paths:
        if _is_pipeline(path):
            problems += _check_pipeline(path, tell, overrides)
        else:
            problems += check_entry(str(path), None, config.roots_of(None))
    return list(dict.fromkeys(problems))


def pictures(
    paths: tuple[Path | str, ...], folder: Path, overrides: Sequence[str] = ()
) -> list[Path]:
    """Small pictures of a few fields of all data that can be read; see `check`.

    Args:
        paths: As `check` has them.
        folder: Where to write.
        overrides: `KEY=VALUE` texts for the pipelines.
    """
    from diffsci.data.checks.pictures import draw

    drawn: list[Path] = []
    for path in paths:
        try:
            if _is_pipeline(path):
                loaded = config.load(path, overrides)
                roots = roots_of_run(loaded.origin, loaded.roots)
                names = loaded.pipeline.data.entries
            else:
                roots, names = config.roots_of(None), [str(path)]
            for name in names:
                drawn += draw(name, folder, roots)
        except DiffsciError:
            continue  # What is wrong with it is among the problems.
    return list(dict.fromkeys(drawn))


@dataclass(frozen=True, kw_only=True)
class Preparing:
    """How data is prepared; see `diffsci.data.prepared.preparing.Plan`."""

    out: Path
    domain: str | None = None
    variables: tuple[str, ...] = ()
    train: tuple[str, str] | None = None
    samples: tuple[int, int] | None = None
    workers: int = 1
    memory: int = 2**30
    dask: str | None = None


def prepare(source: str, options: Preparing, roots: tuple[Path, ...] = ()) -> Path:
    """The store that a source was prepared to.

    Args:
        source: Catalog entry, or path of data.
        options: Where to, and how.
        roots: Folders that may hold a `data_catalog`.
    """
    from diffsci.data.prepared import processes

    if options.workers > 1 and options.dask is None and not options.out.exists():
        # Before anything else is imported here, so that both are done at once.
        processes.begin([f"diffsci.data.domains.{options.domain or 'weather'}"])
    from diffsci import families
    from diffsci.data import reader
    from diffsci.data.checks import preflight
    from diffsci.data.prepared import blocks, preparing
    from diffsci.sections import Part

    entry = load_entry(source, roots)
    if options.domain is not None:
        domain = families.load("domains", options.domain)()
    else:
        with reader.open_raw(entry) as raw:
            domain = preflight.infer_domain(raw, entry)
    plan = blocks.Plan(
        entry=entry,
        domain=domain,
        target=options.out,
        train=Part(time=options.train, samples=options.samples),
        variables=options.variables,
        workers=options.workers,
        memory=options.memory,
        dask=options.dask,
    )
    return preparing.prepare(plan)


def _check_pipeline(
    path: Path | str, tell: Callable[[str], None] | None, overrides: Sequence[str]
) -> list[Problem]:
    """The file, or each point of its sweep."""
    from diffsci.data.checks.problems import problem_of

    found: list[Problem] = []
    parts: dict[str, list[Problem]] = {}
    try:
        loaded = config.load(path, overrides)
    except DiffsciError as error:
        return [problem_of(path, error)]
    children: dict[str | None, config.Loaded] = {}
    for point in loaded.points or (None,):
        try:
            one = from_point.alone(loaded) if point is None else loaded.at(point)
            if point is not None:
                children[point.name] = one
                from_point.check(loaded.points, point, one)
                one = from_point.within(one, None)
            source = children.get(from_point.source_of(one))
            one = replace(one, roots=roots_of_run(one.origin, one.roots))
            found += _check_loaded(path, one, tell, parts, source)
        except DiffsciError as error:
            found.append(problem_of(path, error))
    return found


def _check_loaded(
    path: Path | str,
    loaded: config.Loaded,
    tell: Callable[[str], None] | None,
    parts: dict[str, list[Problem]],
    source: config.Loaded | None,
) -> Iterator[Problem]:
    """Each part of the data, read once for all points, then what shows when all is put together.

    `source` is the point that this one begins from.
    """
    from diffsci.data.checks.preflight import check_part

    data, found = loaded.pipeline.data, []
    for name, part in data.parts:
        # What does not vary leaves nothing to learn; elsewhere it is a fact of the data.
        learnt = data.task.varies_by if part is data.split.train else ""
        key = repr((name, data.domain, part, data.variables, learnt))
        if key not in parts:
            parts[key] = check_part(
                name, data.domain, part, loaded.roots, data.variables, learnt=learnt
            )
        found += parts[key]
    yield from found
    if not all(problem.warning for problem in found):
        return
    if not _to_be_made(loaded):
        yield from _check_preparing(path, loaded, tell, source)
    elif tell is not None:
        name = loaded.pipeline.name
        tell(f"{name}: the first run makes its data; what depends on it is checked then")


def _to_be_made(loaded: config.Loaded) -> bool:
    """Whether a solver has yet to make some of the data, which can take minutes."""
    from diffsci.data import generated

    entries = [load_entry(name, loaded.roots) for name in loaded.pipeline.data.entries]
    solvers = [generated.solver(entry) for entry in entries if entry.source.generator is not None]
    return any(not generated.store_path(solver).exists() for solver in solvers)


def _is_pipeline(path: Path | str) -> bool:
    """Whether a YAML file is a pipeline, not a catalog entry."""
    file = Path(path)
    return file.suffix in (".yaml", ".yml") and file.resolve().parent.name != "data_catalog"


def _placed(loaded: config.Loaded, error: DiffsciError) -> DiffsciError:
    return config.placed(loaded, error) if isinstance(error, ConfigError) else error


def _windows(loaded: config.Loaded, prepared: Prepared) -> str:
    """How many windows each part has, and what the data takes in memory."""
    parts = [f"{len(prepared.examples)} training windows"]
    if prepared.valid is not None:
        parts.append(f"{len(prepared.valid)} validation windows")
    held = sum(part.values.nbytes for part in (prepared.train, prepared.test) if not part.on_disk)
    parts.append(f"{len(prepared.evaluation)} test cases")
    # Training states lie in memory once as they are and once normalised.
    total = (held + prepared.examples.nbytes) / 2**20
    return f"{loaded.pipeline.name}: {', '.join(parts)}; data in memory {total:,.0f} MiB"


def _check_preparing(
    path: Path | str,
    loaded: config.Loaded,
    tell: Callable[[str], None] | None,
    source: config.Loaded | None,
) -> Iterator[Problem]:
    """What shows when the parts are put together: empty parts, leaks, windows, network size."""
    from diffsci.data.checks.problems import problem_of
    from diffsci.stages import costs
    from diffsci.stages.checks import (
        averages_warning,
        check_constraints,
        check_weights,
        faults,
        warnings,
    )
    from diffsci.stages.prepare import prepare
    from diffsci.stages.training import starting

    try:
        prepared = prepare(loaded.pipeline, loaded.roots)
    except (ConfigError, DataError) as error:
        yield problem_of(path, _placed(loaded, error))
        return
    examples, names = prepared.examples, prepared.train.scalar_names
    if tell is not None:
        tell(_windows(loaded, prepared))
    faulty: list[DiffsciError] = list(faults(loaded.pipeline, prepared.ports, names, len(examples)))
    faulty += starting.faults(loaded, prepared, source)
    for own in (check_weights, check_constraints):
        try:
            own(loaded.pipeline, prepared)
        except DiffsciError as error:
            faulty.append(error)
    for fault in faulty:
        yield problem_of(path, _placed(loaded, fault))
    told = [("sigma-min", w) for w in warnings(loaded.pipeline, examples, prepared.channel_names)]
    if (same := averages_warning(loaded.pipeline.train)) is not None:
        told.append(("ema", same))
    if not faulty:
        told += costs.told(loaded.pipeline, prepared.ports, tell)
    for code, text in told:
        yield replace(problem_of(path, ConfigError(text)), code=code)
