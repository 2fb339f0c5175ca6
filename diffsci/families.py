"""Families: a folder is a family, a file in it is a member, and the file's name is the YAML word.

No registry and no list of members: `names` reads the folder (and the entry points of installed
packages), `load` imports the one file that was asked for. A module named by `--plugin` counts as
one more file: its last name is the word. Where words clash, our own file wins, then the plugin.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
from collections.abc import Iterable
from dataclasses import is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from diffsci.errors import ConfigError

FAMILIES = {
    "domains": ("diffsci.data.domains", "Domain"),
    "tasks": ("diffsci.data.tasks", "Task"),
    "schedules": ("diffsci.diffusion.schedules", "Schedule"),
    "objectives": ("diffsci.diffusion.objectives", "Objective"),
    "samplers": ("diffsci.diffusion.samplers", "Sampler"),
    "guidance": ("diffsci.diffusion.guidance", "Guidance"),
    "operators": ("diffsci.diffusion.operators", "Operator"),
    "constraints": ("diffsci.constraints", "Constraint"),
    "noises": ("diffsci.diffusion.noises", "NoiseShape"),
    "networks": ("diffsci.networks", "Network"),
    "scores": ("diffsci.evaluation.scores", "Score"),
    "baselines": ("diffsci.evaluation.baselines", "Baseline"),
    "solvers": ("diffsci.solvers", "Solver"),
}
"""Family name -> (package, name of the abstract class in its base.py)."""


_plugins: dict[tuple[str, str], type] = {}
_words: dict[type, str] = {}


def _folder(family: str) -> Path:
    package = FAMILIES[family][0]
    return Path(__file__).parent.joinpath(*package.split(".")[1:])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'ddim'?` when a known word is near, else an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


@cache
def _foreign(family: str) -> dict[str, list[EntryPoint]]:
    """Entry points of installed packages, by word; all packages are read once."""
    found: dict[str, list[EntryPoint]] = {}
    for point in _all_entry_points():
        if point.group == f"diffsci.{family}":
            found.setdefault(point.name, []).append(point)
    return found


@cache
def _all_entry_points() -> tuple[EntryPoint, ...]:
    points = entry_points()
    groups = [group for group in points.groups if group.startswith("diffsci.")]
    return tuple(point for group in groups for point in points.select(group=group))


def names(family: str) -> tuple[str, ...]:
    """All words of one family, sorted: its files, then what installed packages add.

    Raises:
        ConfigError: For an unknown family.
    """
    if family not in FAMILIES:
        raise ConfigError(
            f"no family {family!r}; there are {', '.join(FAMILIES)}{did_you_mean(family, FAMILIES)}"
        )
    own = {
        path.stem
        for path in _folder(family).glob("*.py")
        if path.stem != "base" and not path.stem.startswith("_")
    }
    plugged = {word for group, word in _plugins if group == family}
    return tuple(sorted(own | plugged | set(_foreign(family))))


def summary(family: str, name: str) -> str:
    """First line of a member's class docstring, read without importing it."""
    path = _folder(family) / f"{name}.py"
    if not path.exists():
        if (family, name) in _plugins:
            return (inspect.getdoc(_plugins[family, name]) or "").split("\n")[0]
        return f"from {', '.join(point.value for point in _foreign(family).get(name, []))}"
    found = _parsed(family, name)
    return (found and ast.get_docstring(found) or "").split("\n")[0]


def keys(family: str, name: str) -> dict[str, str] | None:
    """Fields of one of our own members with their annotations, read without importing it."""
    found = _parsed(family, name)
    if found is None:
        return None
    # A kind may have fields of its own, which come first; one told again keeps its place.
    kinds = _derived(_folder(family) / "base.py", {FAMILIES[family][1]})
    above = {base.id for base in found.bases if isinstance(base, ast.Name)}
    classes = [kind for kind in kinds if kind.name in above and kind.decorator_list]
    body = [line for one in (*classes, found) for line in one.body]
    lines = [line for line in body if isinstance(line, ast.AnnAssign)]
    named = [(line.target, ast.unparse(line.annotation)) for line in lines]
    return {
        target.id: annotation
        for target, annotation in named
        if isinstance(target, ast.Name) and not annotation.startswith("ClassVar")
    }


@cache
def _parsed(family: str, name: str) -> ast.ClassDef | None:
    """The syntax tree of the class of one of our own members."""
    path = _folder(family) / f"{name}.py"
    if not path.exists():
        return None
    contracts = {FAMILIES[family][1]}
    # A base may hold kinds of its contract; a member is of one of them.
    contracts |= {node.name for node in _derived(_folder(family) / "base.py", contracts)}
    return next(iter(_derived(path, contracts)), None)


def _derived(path: Path, bases: set[str]) -> list[ast.ClassDef]:
    """The classes of a file that name one of these as their base."""
    return [
        node
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id in bases for base in node.bases)
    ]


def base(family: str) -> type:
    """The abstract class that every member of a family implements."""
    package, name = FAMILIES[family]
    found: type = getattr(importlib.import_module(f"{package}.base"), name)
    return found


def load(family: str, name: str) -> type:
    """The one class of a family's member, imported now.

    Raises:
        ConfigError: When there is no such member, or its class does not implement the base.
    """
    known = names(family)
    if name not in known:
        near = did_you_mean(name, known)
        raise ConfigError(f"no {name!r} among the {family}; there are {', '.join(known)}{near}")
    if (_folder(family) / f"{name}.py").exists():
        found = _own(family, name)
    elif (family, name) in _plugins:
        found = _plugins[family, name]
    else:
        found = _from_package(family, name)
    _words[found] = name
    return found


def _own(family: str, name: str) -> type:
    contract = base(family)
    module = importlib.import_module(f"{FAMILIES[family][0]}.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and issubclass(value, contract)
    ]
    assert len(found) == 1, (
        f"{module.__name__} must define exactly one {contract.__name__}, has {found}"
    )
    return found[0]


def _from_package(family: str, name: str) -> type:
    points = _foreign(family)[name]
    if len(points) > 1:
        raise ConfigError(
            f"{family} {name!r} comes from several packages: {', '.join(p.value for p in points)}; "
            "uninstall all but one"
        )
    try:
        found: type = points[0].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{family} {name!r}: cannot load {points[0].value}: {error}") from error
    contract = base(family)
    if not (inspect.isclass(found) and issubclass(found, contract)):
        raise ConfigError(
            f"{family} {name!r} from {points[0].value} does not implement "
            f"{contract.__module__}.{contract.__name__}"
        )
    _check_dataclass(found, points[0].value)
    return found


def _check_dataclass(found: type, source: str) -> None:
    if not is_dataclass(found):
        raise ConfigError(f"{source}: {found.__name__} is no dataclass; decorate it, frozen")


def plugin(module: str) -> tuple[str, ...]:
    """Import a module and add its member to the family whose base its class implements.

    Args:
        module: Import name; its last part is the member's word.

    Returns:
        The families that got a member.

    Raises:
        ConfigError: When it cannot be imported, or holds no member, or two of one family.
    """
    try:
        loaded = importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"--plugin {module}: cannot be imported: {error}") from error
    word = module.rsplit(".", 1)[-1]
    contracts = {(f"{package}.base", name): family for family, (package, name) in FAMILIES.items()}
    found: dict[str, type] = {}
    for value in vars(loaded).values():
        if not (inspect.isclass(value) and value.__module__ == module):
            continue
        bases = [(each.__module__, each.__name__) for each in value.__mro__]
        for family in {contracts[each] for each in bases if each in contracts}:
            if found.setdefault(family, value) is not value:
                raise ConfigError(
                    f"--plugin {module}: both {found[family].__name__} and {value.__name__} are "
                    f"{family}; put each in its own module, whose name is its word"
                )
            _check_dataclass(value, f"--plugin {module}")
    if not found:
        raise ConfigError(f"--plugin {module}: no class in it implements the base of a family")
    for family, value in found.items():
        if (_folder(family) / f"{word}.py").exists():
            raise ConfigError(f"--plugin {module}: {family} {word!r} exists; rename the module")
        _plugins[family, word] = value
    return tuple(sorted(found))


def plugged() -> tuple[str, ...]:
    """Import names of the modules that `plugin` added."""
    return tuple(sorted({each.__module__ for each in _plugins.values()}))


def name_of(member: object) -> str:
    """The YAML word of a member object: as it was loaded, else the name of its class's file."""
    return _words.get(type(member), type(member).__module__.rsplit(".", 1)[-1])
