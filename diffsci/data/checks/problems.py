"""Problems: every fault of a data set has one form, whether it stops a run or fills a list.

The code that reads data says what is wrong to a `Report`. A strict report raises on the first
fault; a collecting one keeps going, so that `diffsci check` names all faults in one pass with the
very messages a run would give.
"""

from __future__ import annotations

import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from diffsci.errors import ConfigError, DataError, DiffsciError

log = logging.getLogger(__name__)

WARNINGS = (
    "gap", "noise", "sigma-min", "memory", "tiles", "chunks", "vector", "seam", "one-state", "ema",
    "still",
)  # fmt: skip
"""Codes that do not stop a run."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One fault of a data set.

    Args:
        code: Stable word for programs, such as `nan` or `units-missing`.
        file: File, store or entry it was found in.
        variable: Variable, where it is about one.
        coordinate: Coordinate, or where along it.
        value: What was found.
        fix: What to do.
    """

    code: str
    file: str
    variable: str = ""
    coordinate: str = ""
    value: str = ""
    fix: str = ""

    @property
    def warning(self) -> bool:
        """Whether data with this problem can still be used."""
        return self.code in WARNINGS

    def __str__(self) -> str:
        where = ", ".join(
            text
            for text in (
                f"variable {self.variable}" if self.variable else "",
                self.coordinate,
            )
            if text
        )
        return f"{self.file}: {where + ': ' if where else ''}{self.value}; {self.fix}"

    def to_dict(self) -> dict[str, str]:
        """Plain values, ready for JSON."""
        return asdict(self)


class ProblemError(DataError):
    """A fault that stops the reading, for callers that know another way out of it.

    Args:
        problem: What is wrong.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def problem_of(path: Path | str, error: DiffsciError) -> Problem:
    """An error as one entry of the list: its file, its line, what is wrong, and the fix.

    Args:
        path: What was looked at, where the error names no YAML file itself.
        error: Its message may be `FILE:LINE: what is wrong; the fix`.
    """
    code = "config" if isinstance(error, ConfigError) else "data"
    file, line, text = str(path), "", str(error)
    placed = re.match(r"(?P<file>.+?\.ya?ml):(?:(?P<line>\d+):)? ", text)
    if placed:
        file, text = placed["file"], text[placed.end() :]
        line = f"line {placed['line']}" if placed["line"] else ""
    value, _, fix = text.partition("; ")
    own = "correct it in the pipeline file" if code == "config" else "correct the data, or its part"
    return Problem(code=code, file=file, coordinate=line, value=value, fix=fix or own)


class Report:
    """Where faults are told: raised and logged, or collected.

    Args:
        file: File, store or entry that the faults are about.
        problems: List that collects them; none makes the report strict.
    """

    def __init__(self, file: str, problems: list[Problem] | None = None) -> None:
        self.file = file
        self.problems = problems

    def add(
        self, code: str, value: str, fix: str, *, variable: str = "", coordinate: str = ""
    ) -> None:
        """Tell one fault that reading can go on after.

        Raises:
            DataError: In a strict report, unless it is a mere warning, which is logged.
        """
        problem = Problem(
            code=code,
            file=self.file,
            variable=variable,
            coordinate=coordinate,
            value=value,
            fix=fix,
        )
        if self.problems is not None:
            self.problems.append(problem)
        elif problem.warning:
            log.warning("data: %s", problem)
        else:
            raise ProblemError(problem)

    def stop(
        self, code: str, value: str, fix: str, *, variable: str = "", coordinate: str = ""
    ) -> NoReturn:
        """Tell one fault that nothing can be read after.

        Raises:
            DataError: Always.
        """
        self.add(code, value, fix, variable=variable, coordinate=coordinate)
        raise DataError(f"{self.file}: {value}; {fix}")
