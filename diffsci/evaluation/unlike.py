"""Unlike: what makes scores of two runs no fair comparison, in few words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from diffsci.evaluation.compared_run import Run


def warnings(runs: Sequence[Run]) -> Iterator[tuple[str, str, str]]:
    """What makes scores of these runs no fair comparison: what, of each run, and what follows."""
    ours = [[row for row in run.rows if row.forecast == "model"] for run in runs]

    def told(what: str, found: Sequence[object], advice: str) -> Iterator[tuple[str, str, str]]:
        if len(set(map(str, found))) > 1:
            of: dict[str, list[str]] = {}
            for run, text in zip(runs, found, strict=True):
                of.setdefault(str(text), []).append(run.label)
            each = (f"{', '.join(labels)}: {text}" for text, labels in of.items())
            yield what, "; ".join(each), advice

    yield from told(
        "The runs are scored on different numbers of cases.",
        [max((row.count for row in rows), default=0) for rows in ours],
        "Their scores are not those of one test set.",
    )
    yield from told(
        "The test sets differ.",
        _unlike([_test(run) for run in runs]),
        "Their scores are not those of one test set.",
    )
    yield from told(
        "The data differ.",
        _unlike([_data(run) for run in runs]),
        "What was read had another content.",
    )
    yield from told(
        "The leads have different units.",
        _lead_units(runs),
        "Nothing is judged, starred or drawn by lead.",
    )
    yield from told(
        "The leads differ.",
        [", ".join(f"{lead:g}" for lead in run.leads) or "none" for run in runs],
        "Scores over all leads are of other leads and none is starred; verdicts are of those that "
        "both have.",
    )
    yield from told(
        "The ensembles have different numbers of members.",
        [max((row.members for row in rows), default=0) for rows in ours],
        "In the tables only fair scores of two members or more are starred; verdicts say as of how "
        "many members.",
    )


def leads_differ(runs: Sequence[Run]) -> bool:
    """Whether a mean over all leads is not one over the same leads."""
    return len({run.leads for run in runs}) > 1 or len(set(_lead_units(runs))) > 1


def _lead_units(runs: Sequence[Run]) -> list[str]:
    """Of each run; one without leads has that of the others."""
    known = [run.lead_unit or "none" for run in runs if run.leads]
    return [(run.lead_unit or "none") if run.leads else known[0] for run in runs] if known else []


def tests_differ(runs: Sequence[Run]) -> bool:
    """Whether the runs are scored on other cases, by their files or by how many there are."""
    counts = {max((row.count for row in run.rows if row.forecast == "model"), default=0)
              for run in runs}  # fmt: skip
    return len(counts) > 1 or any(_test(run) != _test(runs[0]) for run in runs)


def _test(run: Run) -> dict[str, str]:
    keys = ("data.entry", "data.source", "data.split.test", "sample.every", "sample.cases")
    return {key: value for key, value in run.config.items() if key.startswith(keys)}


def _data(run: Run) -> dict[str, str]:
    """Digests of what was read, as many digits as tell them apart."""
    data = run.record.get("data") or run.record.get("data_digest", "unknown")
    parts = data if isinstance(data, Mapping) else {"all": data}
    return {f"{part} part": str(digest)[:12] for part, digest in parts.items()}


def _unlike(found: Sequence[Mapping[str, str]]) -> list[str]:
    """What each has of the keys that are not the same everywhere; null where it is not there."""
    keys = dict.fromkeys(key for each in found for key in each)
    unlike = [key for key in keys if len({each.get(key, "null") for each in found}) > 1]
    return [", ".join(f"{key}={each.get(key, 'null')}" for key in unlike) for each in found]
