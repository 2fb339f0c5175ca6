"""Preflight: all faults of a data set in one pass, before a minute of training is spent on it.

It reads what a run would read, by the same code, with a report that collects instead of raising.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from diffsci import families
from diffsci.data import files, reader, remote
from diffsci.data.canonical import axes, places
from diffsci.data.catalog import Entry, load_entry
from diffsci.data.checks import layout, standing, streaming
from diffsci.data.checks.problems import Problem, Report
from diffsci.data.domains.base import Domain
from diffsci.data.fields import Fields
from diffsci.errors import ConfigError, DataError, StorageError
from diffsci.sections import Part

__all__ = ["Problem", "check_entry", "check_part", "infer_domain"]


def check_entry(
    name_or_path: str | Entry, domain: Domain | None = None, roots: tuple[Path, ...] = ()
) -> list[Problem]:
    """Every problem of all the data of an entry; an empty list is a clean bill.

    Args:
        name_or_path: Catalog entry or path of data.
        domain: What it is to be read as; none takes what the entry or the dims say.
        roots: Folders that may hold a `data_catalog`.
    """
    return _checked(name_or_path, domain, Part(), roots, (), learnt="states")


def check_part(
    name_or_path: str | Entry,
    domain: Domain,
    part: Part,
    roots: tuple[Path, ...] = (),
    variables: tuple[str, ...] = (),
    *,
    learnt: standing.Learnt = "",
) -> list[Problem]:
    """Every problem of what a run reads for one part of its split, and of nothing else.

    Args:
        name_or_path: Catalog entry or path of data; `part.entry` goes before it.
        domain: What it is to be read as.
        part: Which times and samples.
        roots: Folders that may hold a `data_catalog`.
        variables: Take only these; empty takes all of the entry.
        learnt: Between what variables must differ, as they must in the training part.
    """
    return _checked(part.entry or name_or_path, domain, part, roots, variables, learnt=learnt)


def _checked(
    name_or_path: str | Entry,
    domain: Domain | None,
    part: Part,
    roots: tuple[Path, ...],
    variables: tuple[str, ...],
    *,
    learnt: standing.Learnt,
) -> list[Problem]:
    try:
        entry = load_entry(name_or_path, roots)
    except (ConfigError, DataError) as error:
        return [_problem("entry", str(name_or_path), error)]
    problems: list[Problem] = []
    report = Report(entry.location, problems)
    raw = _opened(entry, problems)
    if raw is None:
        return problems
    try:
        domain = domain or infer_domain(raw, entry)
        canonical = domain.canonical(raw, entry, report, variables)
        chosen = reader.select(canonical, part, entry)
        layout.tell_chunks(raw, entry, report)
        if streaming.size(chosen) > streaming.IN_MEMORY:
            scans = streaming.scanned(chosen, domain, entry.name, report)
            one = [(scan.name, scan.unit, scan.constant) for scan in scans]
            whole = None
        else:
            whole = domain.fields(chosen, entry.name, report)
            one = _constant(whole)
        if learnt:
            _tell_constant(one, report)
            _tell_standing(one, chosen if whole is None else whole, learnt, report)
    except (DataError, ConfigError) as error:
        # Only where nothing stops a run yet: else it is a consequence of what is already told.
        if all(problem.warning for problem in problems):
            problems.append(_problem("data", entry.location, error))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        if all(problem.warning for problem in problems):
            report.add(
                "unreadable",
                f"cannot be read to the end ({type(error).__name__}: {error})",
                "the file may be cut off: fetch it again",
            )
    finally:
        raw.close()
    return list(dict.fromkeys(problems))


def infer_domain(raw: xr.Dataset, entry: Entry) -> Domain:
    """The domain that the entry names, else the one whose axes the data has.

    Raises:
        ConfigError: For an entry that names no known domain.
    """
    name = entry.domain
    if name is None:
        quiet = Report(entry.location, [])
        geographic = axes.find(raw, "latitude", quiet) and axes.find(raw, "longitude", quiet)
        flat = places.are_there(raw)
        classes = "label" in raw.variables
        name = "weather" if geographic or flat else "image" if classes else "pde"
        name = "image" if name == "pde" and _of_images(entry) else name
    found: Domain = families.load("domains", name)()
    return found


def _of_images(entry: Entry) -> bool:
    """Whether pictures on this machine are read, which have no axes to tell them by."""
    if entry.engine or entry.source.path is None or remote.is_remote(entry):
        return entry.engine == "images"
    try:
        return files.engine_of(entry) == "images"
    except DataError:
        return False  # What cannot be found any more is told where it is read.


def _opened(entry: Entry, problems: list[Problem]) -> xr.Dataset | None:
    """The raw data; every broken file is a problem of its own, and the whole is then not read."""
    try:
        if entry.source.generator is not None:
            from diffsci.data import generated  # Solvers need torch, and files do not.

            if not generated.store_path(generated.solver(entry)).exists():
                return None  # Its parameters are in order; making the data is left to the run.
        return reader.open_raw(entry)
    except files.BrokenFiles as broken:
        problems += [_problem("unreadable", str(path), error) for path, error in broken.faults]
        return None
    except (DataError, StorageError, ConfigError) as error:
        problems.append(_problem("missing", entry.location, error))
        return None


def _problem(code: str, file: str, error: Exception) -> Problem:
    text = str(error).removeprefix(f"{file}: ")
    value, _, fix = text.partition("; ")
    return Problem(code=code, file=file, value=value, fix=fix)


def _constant(fields: Fields) -> list[tuple[str, str, float | None]]:
    """Name, unit and, where a channel has one value alone, that value."""
    found: list[tuple[str, str, float | None]] = []
    for number, channel in enumerate(fields.channels):
        values = fields.values[:, :, number]
        known = values[np.isfinite(values)]
        whole = known.size == values.size or channel.missing != "forbidden"
        still = whole and known.size > 0 and known.min() == known.max()
        found.append((channel.name, channel.unit, float(known.flat[0]) if still else None))
    return found


def _tell_standing(
    one: list[tuple[str, str, float | None]],
    data: Fields | xr.Dataset,
    learnt: standing.Learnt,
    report: Report,
) -> None:
    """Tell of variables of many values that stay as they are."""
    if isinstance(data, Fields):
        kinds = standing.of_fields(data)
    else:
        kinds = [standing.of_variable(data, name) for name, *_ in one]
    found = [(n, k) for (n, _, value), k in zip(one, kinds, strict=True) if value is None]
    standing.tell(found, learnt, report)


def _tell_constant(found: list[tuple[str, str, float | None]], report: Report) -> None:
    for name, unit, value in found:
        if value is not None:
            report.add(
                "constant",
                f"all its values are {value:g} {unit}",
                "leave it out by `variables:`, there is nothing to learn",
                variable=name,
            )
