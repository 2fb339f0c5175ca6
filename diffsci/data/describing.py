"""Describing data: the catalog entry that is inferred from files, as YAML to save and correct.

What was recognised is written out, so that it can be seen and changed; what could not be is a
comment that says what to write. Nothing is guessed that would change a value.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from diffsci import families, yamltext
from diffsci.data import files, noting, reader
from diffsci.data.canonical import axes
from diffsci.data.canonical import times as stamps
from diffsci.data.catalog import Entry, load_entry
from diffsci.data.checks import preflight
from diffsci.data.checks.problems import Problem, Report
from diffsci.data.domains.base import Domain
from diffsci.errors import DiffsciError

_KINDS = {
    "weather": ("time", "latitude", "longitude"),
    "pde": ("sample", "time", "z", "y", "x"),
    "image": ("sample", "time", "y", "x", "channel"),
}
_TOLD = ("license", "citation", "attribution", "references")


def described(
    name_or_path: str | Entry, domain: str | None = None, roots: tuple[Path, ...] = ()
) -> tuple[str, list[Problem]]:
    """The YAML of an entry for some data, and what keeps it from being read as it is.

    Args:
        name_or_path: Path or address of data, or an entry to be completed.
        domain: Word of the domain; none takes the one whose axes the data has.
        roots: Folders that may hold a `data_catalog`.

    Raises:
        ConfigError: For an unknown entry or domain.
        DataError: For data that cannot be opened at all.
    """
    entry = load_entry(name_or_path, roots)
    raw = reader.open_raw(entry)
    try:
        made: Domain = (
            families.load("domains", domain)() if domain else preflight.infer_domain(raw, entry)
        )
        word, problems = families.name_of(made), list[Problem]()
        report, canonical = Report(entry.location, problems), None
        try:
            canonical = made.canonical(raw, entry, report)
        except DiffsciError as error:
            if not problems:
                report.add("data", str(error), "see above")
        head = _raw_dims(raw)
        if canonical is not None:
            own = entry.engine or files.engine_of(entry)
            head = [*_comments(canonical), *noting.notes(raw, canonical, entry, own)]
        unknown = {p.variable for p in problems if p.code == "units-missing"}
        plain = _plain(raw, entry, word, canonical, unknown)
    finally:
        raw.close()
    faults = [f"# {'warning' if p.warning else 'fault'}: {p}" for p in problems]
    return "\n".join([*head, *faults, yamltext.dump(plain).rstrip()]) + "\n", problems


def _plain(
    raw: xr.Dataset,
    entry: Entry,
    word: str,
    canonical: xr.Dataset | None,
    unknown: set[str],
) -> dict[str, Any]:
    """The entry as plain values, with the keys that have something to say.

    Args:
        raw: As opened.
        entry: What is known of it.
        word: Of its domain.
        canonical: As understood; none where it is not.
        unknown: Variables whose units nothing says: those are left to be written.
    """
    told = {key: str(raw.attrs[key]) for key in _TOLD if isinstance(raw.attrs.get(key), str)}
    if "references" in told:
        told.setdefault("citation", told.pop("references"))
        told.pop("references", None)
    for key in ("description", "license", "citation", "attribution", "version", "sha256"):
        told[key] = getattr(entry, key) or told.get(key, "")
    plain: dict[str, Any] = {
        "title": entry.title or str(raw.attrs.get("title") or entry.name),
        **{key: value for key, value in told.items() if value},
        "domain": word,
        "source": _source(entry),
        "engine": entry.engine or files.engine_of(entry),
        "open_kwargs": entry.open_kwargs,
        "rename": {**entry.rename, **_renamed(raw, entry, word)},
        "boundary": _boundary(entry, canonical),
        "time": _time(entry),
        "variables": {} if canonical is None else _variables(canonical, unknown),
    }
    return {key: value for key, value in plain.items() if value}


def _source(entry: Entry) -> dict[str, Any]:
    source = entry.source
    told = {"path": source.path, "package": source.package, "generator": source.generator}
    told["install"] = source.install
    return {key: value for key, value in told.items() if value}


def _renamed(raw: xr.Dataset, entry: Entry, word: str) -> dict[str, str]:
    """Dims under names of their own, as they were recognised."""
    quiet = Report(entry.location, [])
    try:
        ds = axes.renamed(raw, entry, quiet)
        found = {kind: axes.find(ds, kind, quiet) for kind in _KINDS[word]}
    except DiffsciError:
        return {}
    taken = {str(name) for name in (*ds.variables, *ds.dims)}
    return {
        name: kind
        for kind, name in found.items()
        if name and name != kind and name in ds.dims and kind not in taken
    }


def _boundary(entry: Entry, canonical: xr.Dataset | None) -> dict[str, Any]:
    if canonical is None:
        return {key: list(value) for key, value in entry.boundary.items()}
    space = canonical.attrs.get("space", ("latitude", "longitude"))
    sides = canonical.attrs.get("boundary", {})
    found = {d: sides.get(d, sides.get("*")) for d in space if d in sides or "*" in sides}
    return {d: s[0] if s[0] == s[1] else list(s) for d, s in found.items()}


def _time(entry: Entry) -> dict[str, str]:
    return {} if entry.time is None else dict(vars(entry.time))


def _variables(canonical: xr.Dataset, unknown: set[str]) -> dict[str, dict[str, Any]]:
    """Units, names and, where the data has gaps that do not move, nothing: that is for a check."""
    found = {}
    for name, variable in canonical.data_vars.items():
        if variable.ndim < 2:
            continue
        kept = ("units", "long_name", "standard_name", "cell_methods")
        told: dict[str, Any] = {k: str(variable.attrs[k]) for k in kept if variable.attrs.get(k)}
        if name in unknown:
            told.pop("units", None)
        if "vector" in variable.attrs:
            told["vector"] = variable.attrs["vector"] == "true"
        found[str(name)] = told
    return found


def _comments(canonical: xr.Dataset) -> list[str]:
    """Dims with sizes and ranges, and the calendar."""
    lines = ["# inferred; what it says may be corrected"]
    for dim, size in canonical.sizes.items():
        text = f"# {dim}: {size}"
        if dim in canonical.coords and size:
            values = canonical[dim].values
            text += f", {_word(values[0])} to {_word(values[-1])}"
            unit = str(canonical[dim].attrs.get("units", "1"))
            text += "" if unit == "1" else f" {unit}"
            if dim == "time":
                text += _step(values, str(canonical.attrs.get("time_unit", "")))
        lines.append(text)
    if canonical.attrs.get("parameters"):
        lines.append(f"# parameters of each sample: {', '.join(canonical.attrs['parameters'])}")
    if canonical.attrs.get("classes"):
        lines.append(f"# classes: {canonical.attrs['classes']}")
    return lines


def _raw_dims(raw: xr.Dataset) -> list[str]:
    return [f"# the data has {', '.join(f'{dim} {size}' for dim, size in raw.sizes.items())}"]


def _step(values: np.ndarray, unit: str) -> str:
    """The regular step in words, and the calendar where it is not the usual one."""
    times = stamps.canonical_stamps(values)
    step, breaks = stamps.regular_step(times)
    if step is None:
        return ""
    if not isinstance(step, np.timedelta64):
        text = f", every {step:g}" + (f" {unit}" if unit != "1" else "")
    elif months := stamps.months_of(step, times[0]):
        text = f", every {months} months"
    else:
        text = f", every {float(step / np.timedelta64(1, 'h')):g} h"
    calendar = stamps.calendar(times[0]) if stamps.is_dates(times) else ""
    text += f", calendar {calendar}" if calendar not in ("", "standard") else ""
    return text + (f", {int(breaks.sum())} gaps" if breaks.any() else "")


def _word(value: object) -> str:
    try:
        return stamps.name(value)
    except (TypeError, ValueError):
        return json.dumps(str(value))
