"""An entry of the catalog: what it says of one data set, as objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsci.data import addresses

if TYPE_CHECKING:
    import xarray as xr

MISSING = ("forbidden", "static", "moving")
"""What a NaN means: a fault, a cell that never counts, one that does not count just then."""

TRANSFORMS = ("log1p",)
"""What may be learnt in place of values."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the bytes are; exactly one of `path`, `package`, `generator` and `data`.

    Args:
        path: A file, a folder of files, a Zarr store or a glob, relative to the entry's own folder;
            or an address of an allowed protocol.
        package: `package:path/inside/it` of an installed package.
        generator: `use:` names a solver, the other keys are its fields.
        install: What to give to `pip install` where the package is missing.
        data: Labelled arrays that Python hands over; no file can say it.
    """

    path: str | None = None
    package: str | None = None
    generator: dict[str, Any] | None = None
    install: str | None = None
    data: xr.Dataset | None = None


@dataclass(frozen=True, kw_only=True)
class Variable:
    """What one variable is.

    Args:
        units: Those it is to have after reading.
        long_name: In words.
        standard_name: As CF has it.
        cell_methods: As CF has them.
        vector: Whether it is a component of a vector along the grid; none: by its standard name.
        missing: What a NaN means, one of `MISSING`.
        fill: Number that stands for a missing value, in the file's units, where the file does not
            declare it.
        valid_range: Least and largest value that is no gap, in the file's units; none takes what
            the file declares.
        minimum: Least value that is possible, in `units`: sampled states are kept above it.
        maximum: Largest value that is possible.
        accumulated: Over which interval each value is a sum, such as `1h`, up to its time; or
            `running`, for a sum since the start of a run, which becomes the sum over each step.
        resets: How often a running sum begins anew, from midnight UTC on; none finds it out.
        transform: What is learnt in place of the values: `log1p`, the logarithm of 1 and them.
    """

    units: str | None = None
    long_name: str | None = None
    standard_name: str | None = None
    cell_methods: str | None = None
    vector: bool | None = None
    missing: str = "forbidden"
    fill: float | None = None
    valid_range: tuple[float, float] | None = None
    minimum: float | None = None
    maximum: float | None = None
    accumulated: str | None = None
    resets: str | None = None
    transform: str | None = None


@dataclass(frozen=True, kw_only=True)
class TimeAxis:
    """Units and calendar of a time axis whose file does not say them, or not in a known way."""

    units: str
    calendar: str = "standard"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One data set.

    Args:
        name: What a pipeline calls it.
        file: The YAML it came from; none where it was inferred from a bare path.
        source: Where the bytes are.
        title: One line.
        description: More lines.
        license: SPDX identifier or name.
        citation: How to cite it.
        attribution: The sentence its licence asks for.
        providers: Who made and who serves it.
        version: Of the data set.
        domain: Domain that understands it: image, pde or weather.
        engine: Reader of xarray, where the file does not show it; or `csv`.
        open_kwargs: Further arguments of that reader.
        rename: From names in the file to names used here, for dims, coordinates and variables.
        variables: The variables to take, under their new names; empty takes all that fit.
        boundary: `(low side, high side)` of space dims, where the file does not say it.
        time: Units and calendar of times, where the file does not say them.
        sha256: Of the file.
    """

    name: str
    source: Source
    file: Path | None = None
    title: str = ""
    description: str = ""
    license: str = ""
    citation: str = ""
    attribution: str = ""
    providers: tuple[str, ...] = ()
    version: str = ""
    domain: str | None = None
    engine: str | None = None
    open_kwargs: dict[str, Any] = field(default_factory=dict)
    rename: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    boundary: dict[str, tuple[str, str]] = field(default_factory=dict)
    time: TimeAxis | None = None
    sha256: str | None = None

    @property
    def location(self) -> str:
        """The source in words, for messages."""
        if self.source.generator is not None:
            return f"{self.name} (generated by {self.source.generator.get('use')})"
        if self.source.data is not None:
            return f"{self.name} (arrays from Python)"
        return addresses.shown(str(self.source.path or self.source.package))

    @property
    def yaml(self) -> str:
        """Where to write a line that an error asks for."""
        return str(self.file) if self.file else f"data_catalog/{self.name}.yaml"
