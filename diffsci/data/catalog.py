"""The catalog: one YAML file per data set says where it is, what it holds, and whom to thank.

Keys are named as STAC names them (`title`, `description`, `license`, `providers`), so that an
exporter is trivial. An entry is data, never code: `generator` names a member of the family
`solvers`, and `package` a file inside an installed package.
"""

from __future__ import annotations

from pathlib import Path

from diffsci.data import addresses
from diffsci.data.catalog_file import parse
from diffsci.data.entry import MISSING, Entry, Source, TimeAxis, Variable
from diffsci.errors import ConfigError, DataError
from diffsci.families import did_you_mean
from diffsci.shipped import shipped_root

__all__ = ["MISSING", "Entry", "Source", "TimeAxis", "Variable", "entries", "load_entry"]

DATA_SUFFIXES = (
    ".nc", ".nc4", ".cdf", ".zarr", ".h5", ".hdf5", ".csv", ".gz", ".grib", ".grib2", ".grb",
    ".grb2", ".mat", ".npy", ".npz", ".png", ".jpg", ".jpeg", ".tif", ".tiff",
)  # fmt: skip


def _folders(roots: tuple[Path, ...]) -> list[Path]:
    return [root / "data_catalog" for root in (*roots, shipped_root())]


def entries(roots: tuple[Path, ...] = ()) -> tuple[str, ...]:
    """Names of all entries, sorted: those under each root, then the shipped ones."""
    return tuple(
        sorted({path.stem for folder in _folders(roots) for path in folder.glob("*.yaml")})
    )


def load_entry(name_or_path: str | Entry, roots: tuple[Path, ...] = ()) -> Entry:
    """An entry by its name, from its own YAML file, or inferred from the bare path of a data file.

    Args:
        name_or_path: Name of an entry, path of a catalog YAML, or path of data; an entry as it is.
        roots: Folders that may hold a `data_catalog` of their own; they come before ours.

    Raises:
        ConfigError: For a name that no catalog has.
        DataError: For a faulty entry, or a path with nothing there.
    """
    if isinstance(name_or_path, Entry):
        return name_or_path
    if not name_or_path:
        raise ConfigError(f"no name of a catalog entry; there are {', '.join(entries(roots))}")
    for folder in _folders(roots):
        path = folder / f"{name_or_path}.yaml"
        if "/" not in name_or_path and path.is_file():
            return parse(path)
    given = Path(name_or_path).expanduser()
    if given.suffix in (".yaml", ".yml") and given.is_file():
        return parse(given)
    if addresses.is_address(name_or_path):
        addresses.require_allowed(name_or_path, "source")
        name = Path(addresses.shown(name_or_path)).name.split(".")[0]
        return Entry(name=name or "data", source=Source(path=name_or_path))
    candidates = [given, *(root / given for root in roots if not given.is_absolute())]
    for path in candidates:
        if path.exists() or (set("*?[") & set(path.name) and any(path.parent.glob(path.name))):
            named = given.parent if set("*?[") & set(given.name) else given
            name = named.name.split(".")[0] or "data"
            return Entry(name=name, source=Source(path=str(path.absolute())))
    if "/" in name_or_path or given.suffix in (*DATA_SUFFIXES, ".yaml", ".yml"):
        if given.is_symlink():
            raise DataError(
                f"{name_or_path}: a link to {given.readlink()}, which leads nowhere; mend the link"
            )
        raise DataError(
            f"{name_or_path}: no such file "
            f"(looked in {', '.join(str(p.parent) for p in candidates)}); "
            "check the path, or write a catalog entry"
        )
    known = entries(roots)
    raise ConfigError(
        f"no catalog entry {name_or_path!r}; there are {', '.join(known)}"
        f"{did_you_mean(name_or_path, known)}; an entry of your own goes to "
        f"data_catalog/{name_or_path}.yaml beside the pipelines folder"
    )
