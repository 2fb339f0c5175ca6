"""Values with places into frozen dataclasses, by their type hints, and back into plain values.

Strict: nothing is converted but a whole number where any number will do. Two rounds: `fill` builds
the sections with a `Pending` in place of each family member, having checked all that needs no
import; `finish` then imports the members' modules and builds those.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, replace
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from diffsci import families
from diffsci.errors import ConfigError, DiffsciError, FieldError
from diffsci.messages import SIMPLE, Hint, describe, fault, key_of, show, unknown, wrong
from diffsci.yamltext import Node, Plain, join

T = TypeVar("T")


@dataclass(frozen=True)
class Pending:
    """A family member that is named but not yet built."""

    family: str
    node: Node


_LONGEST_LIST = 150
"""Letters of a list of words in a message."""


def hints(cls: type) -> dict[str, Any]:
    """Type hints of a dataclass; families' bases, imported for type checking, count as `object`."""
    module = vars(sys.modules[cls.__module__])
    bases = {base: object for _, base in families.FAMILIES.values() if base not in module}
    return get_type_hints(cls, localns=bases)


def value(hint: Hint, node: Node) -> Plain:
    """A node's value as the type asks.

    Raises:
        ConfigError: With place, full key, what was found and what was expected.
    """
    origin: Hint = get_origin(hint)
    args, found = get_args(hint), node.value
    if hint is Any:
        return found
    if origin in (Union, UnionType):
        return _union(hint, node)
    if origin is Literal:
        if any(type(found) is type(word) and found == word for word in args):
            return found
        near = families.did_you_mean(found, map(str, args)) if isinstance(found, str) else ""
        raise fault(node, f"got {show(found)}, expected {describe(hint)}{near}")
    if hint is float and type(found) is int:
        return float(found)
    if hint in SIMPLE and type(found) is hint:
        return found
    if origin is tuple and isinstance(found, list):
        hints = [args[0]] * len(found) if args[-1] is Ellipsis else args
        if len(hints) == len(found):
            return tuple(value(arg, item) for arg, item in zip(hints, node.items(), strict=True))
    if origin is dict and isinstance(found, dict):
        return {name: value(args[1], node.child(name)) for name in found}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(found, dict):
        return fill(hint, node, lazy=False)
    raise wrong(node, hint)


def _union(hint: Hint, node: Node) -> Plain:
    arms = [arm for arm in get_args(hint) if arm is not NoneType]
    if node.value is None and len(arms) < len(get_args(hint)):
        return None
    if len(arms) == 1:
        return value(arms[0], node)
    # Prefer the arm of exactly this type, so that 3 stays whole in `float | int`.
    for arm in sorted(arms, key=lambda arm: arm is not type(node.value)):
        try:
            return value(arm, node)
        except ConfigError:
            continue
    raise wrong(node, hint)


def fill(cls: type[T], node: Node, *, lazy: bool = True) -> T:
    """An object of a dataclass from a mapping.

    Args:
        cls: The dataclass.
        node: A mapping of its fields.
        lazy: Leave `Pending` in place of family members, at any depth of sections.

    Raises:
        ConfigError: For unknown, missing, mistyped keys, and from the dataclass's own checks.
    """
    assert dataclasses.is_dataclass(cls)
    if not isinstance(node.value, dict):
        raise fault(node, f"got {show(node.value)}, expected {describe(cls)}")
    known = {key_of(field): field for field in dataclasses.fields(cls) if field.init}
    for name in node.value:
        if name not in known:
            raise unknown(node, name, known, _elsewhere(cls, name))
    types, given = hints(cls), {}
    for name, field in known.items():
        present, full = name in node.value, join(node.key, name)
        item = node.child(name) if present else Node(None, {"": node.where}, full)
        hint = types[field.name]
        if "family" in field.metadata:
            given[field.name] = _members(field.metadata, item, present, lazy)
        elif present:
            section = _dataclass_in(hint)
            if lazy and section and isinstance(item.value, dict):
                given[field.name] = fill(section, item)
            else:
                given[field.name] = value(hint, item)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise fault(item, f"required key is missing, expected {describe(hint)}")
    return construct(cls, given, node)


def _elsewhere(cls: type, name: str) -> list[str]:
    """Keys of that name one level deeper."""
    sections = {key: _dataclass_in(hint) for key, hint in hints(cls).items()}
    return [
        join(key, name)
        for key, section in sections.items()
        if section and name in {key_of(field) for field in dataclasses.fields(section)}
    ]


def _dataclass_in(hint: Hint) -> type | None:
    """The dataclass of `X` or `X | None`."""
    arms = [arm for arm in (get_args(hint) or (hint,)) if arm is not NoneType]
    only = arms[0] if len(arms) == 1 else None
    return only if isinstance(only, type) and dataclasses.is_dataclass(only) else None


def construct(cls: type[T], given: dict[str, Any], node: Node) -> T:
    """The object, its own checks' errors told with place and full key."""
    try:
        return cls(**given)
    except FieldError as error:
        text = f"got {show(error.value)}, expected {error.expected}"
        at = node.nearest(error.field)
        raise fault(at, text, key=join(node.key, error.field)) from error
    except DiffsciError as error:
        raise fault(node, str(error)) from error
    except (ValueError, TypeError) as error:
        raise fault(node, f"{cls.__name__} refused its keys: {error}") from error


def _members(meta: Mapping[str, Any], node: Node, present: bool, lazy: bool) -> object:
    """What the metadata of a field made by `members.member` or `members.members` asks for."""
    family, default = meta["family"], meta.get("default")
    if meta.get("many"):
        if not present:
            return ()
        if not isinstance(node.value, list):
            wanted = f"a list of {family}, such as [{families.names(family)[0]}]"
            raise fault(node, f"got {show(node.value)}, expected {wanted}")
        _check_twice(node)
        return tuple(_member(family, None, each, lazy) for each in node.items())
    if meta["optional"] and node.value is None and (present or default is None):
        return None
    if not present and default is None:
        wanted = f"one of the {family}: {', '.join(families.names(family))}"
        raise fault(node, f"required key is missing, expected {wanted}")
    return _member(family, default, node if present else replace(node, value={}), lazy)


def _check_twice(node: Node) -> None:
    """Refuse the same word twice: tables name their rows by it."""
    words: list[Plain] = []
    for each in node.items():
        word = each.value.get("use") if isinstance(each.value, dict) else each.value
        if isinstance(word, str) and word in words:
            raise fault(each, f"got {show(word)} a second time")
        words.append(word)


def _member(family: str, default: str | None, node: Node, lazy: bool) -> object:
    """One member from a bare name or a mapping with `use`; checked by name, built unless `lazy`."""
    content = {"use": node.value} if isinstance(node.value, str) else node.value
    known = families.names(family)
    if not isinstance(content, dict):
        wanted = f"a name or a mapping with `use`, of the {family}: {', '.join(known)}"
        raise fault(node, f"got {show(node.value)}, expected {wanted}")
    node = replace(node, value={"use": default, **content})
    use = node.child("use")
    if "use" not in content and default is None:
        wanted = f"the name of one of the {family}: {', '.join(known)}"
        raise fault(use, f"required key is missing, expected {wanted}")
    if use.value not in known:
        near = families.did_you_mean(use.value, known) if isinstance(use.value, str) else ""
        # Of a large family the near ones are enough.
        listed = ", ".join(known)
        if len(listed) > _LONGEST_LIST:
            listed = f"`diffsci list {family}` shows all {len(known)}"
        text = f"got {show(use.value)}, expected one of the {family}: {listed}{near}"
        if isinstance(use.value, str) and not use.value.isidentifier():
            text += " (a bare name: a file never imports code; see `--plugin`)"
        raise fault(use, text, key=node.key)
    pending = Pending(family, node)
    if not lazy:
        return _build(pending)
    _check_keys(node, families.keys(family, use.value))
    return pending


def _check_keys(node: Node, known: dict[str, str] | None) -> None:
    """Refuse unknown keys and plain mistypes before anything is imported, which takes a second."""
    simple = {"bool": bool, "int": int, "float": float, "str": str}
    if known is None:
        return
    for name in node.value:
        if name != "use" and name not in known:
            raise unknown(node, name, known)
        if name != "use" and known[name] in simple:
            value(simple[known[name]], node.child(name))


def _build(pending: Pending) -> object:
    rest = dict(pending.node.value)
    cls: type[Any] = families.load(pending.family, rest.pop("use"))
    return fill(cls, replace(pending.node, value=rest), lazy=False)


def finish(section: T) -> T:
    """The same section with every `Pending` replaced by the member, imported and built now."""
    assert dataclasses.is_dataclass(section) and not isinstance(section, type)
    changed = {}
    # The domain last: it alone brings xarray, and errors of other members need not wait for that.
    for field in sorted(dataclasses.fields(section), key=lambda f: f.name in ("data", "domain")):
        old = getattr(section, field.name)
        if isinstance(old, Pending):
            changed[field.name] = _build(old)
        elif isinstance(old, tuple) and any(isinstance(item, Pending) for item in old):
            changed[field.name] = tuple(_build(item) for item in old)
        elif "family" not in field.metadata and dataclasses.is_dataclass(old):
            changed[field.name] = finish(old)
    return replace(section, **changed)


def plain_of(item: object) -> Plain:
    """Plain values that `fill` takes back: a section, or anything inside one."""
    if isinstance(item, tuple | list):
        return [plain_of(each) for each in item]
    if isinstance(item, dict):
        return {name: plain_of(each) for name, each in item.items()}
    if not dataclasses.is_dataclass(item):
        return item
    plain = {}
    for field in dataclasses.fields(item):
        content = getattr(item, field.name)
        if "family" in field.metadata:
            plain[key_of(field)] = _plain_member(content)
        elif field.init:
            plain[key_of(field)] = plain_of(content)
    return plain


def _plain_member(content: object) -> Plain:
    if content is None:
        return None
    if isinstance(content, tuple):
        return [_plain_member(each) for each in content]
    return {"use": families.name_of(content), **plain_of(content)}
