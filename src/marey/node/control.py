"""How a running node obeys commands: settings are all or nothing, actions are validated."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Generator, Iterable
from typing import Any, cast, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError, validate_call
from pydantic.fields import FieldInfo

from marey.command import plain
from marey.errors import ActionError, SettingError
from marey.node.base import Node

__all__ = [
    "actions_of",
    "assign",
    "call",
    "candidate",
    "describe",
    "describe_class",
    "extra",
    "is_long",
    "plain",
    "role",
    "setting_message",
    "settings_of",
    "unknown",
]


def extra(field: FieldInfo) -> dict[str, Any]:
    """What `Setting` added to a field; defaults for a plain field."""
    given = field.json_schema_extra
    found = {"unit": "", "apply": "live", "readonly": False, "follows": False, "advanced": False}
    return found | (given if isinstance(given, dict) else {})


def role(cls: type[Node]) -> str:
    """`camera`, `processor`, `sink`, `device` or `node`."""
    for base in cls.__mro__:
        if base.__module__.startswith("marey.node.") and base.__name__ in (
            "Camera",
            "Processor",
            "Sink",
            "Device",
        ):
            return base.__name__.lower()
    return "node"


def settings_of(node: Node) -> dict[str, Any]:
    """The values of all settings, as JSON values; of one moment, also in another thread."""
    values = node.__dict__.copy()
    return {name: plain(values[name]) for name in type(node).model_fields}


def actions_of(node: Node) -> dict[str, Callable[..., Any]]:
    """The node's actions by name."""
    return {name: getattr(node, name) for name in _actions(type(node))}


@functools.cache
def _actions(cls: type[Node]) -> tuple[str, ...]:
    marked = [
        name
        for name in dir(cls)
        if getattr(inspect.getattr_static(cls, name, None), "__marey_action__", False)
    ]
    return tuple(sorted(marked))


def describe(node: Node) -> dict[str, Any]:
    """Everything that a form or a help text needs."""
    return describe_class(type(node)) | {"settings": settings_of(node)}


@functools.cache
def describe_class(cls: type[Node]) -> dict[str, Any]:
    """What can be told of a node before it is made: all but the values of its settings."""
    bare = cls.model_construct()  # methods bound to something have no `self` in their schema
    return {
        "kind": cls.kind,
        "role": role(cls),
        "doc": inspect.cleandoc(cls.__doc__ or ""),
        "schema": cls.model_json_schema(),
        "actions": {
            name: {"doc": inspect.getdoc(method) or "", "schema": _adapter(method).json_schema()}
            for name, method in actions_of(bare).items()
        },
    }


def _adapter(method: Callable[..., Any]) -> TypeAdapter[Any]:
    # pydantic would look the names up in this module, not in the one in which the method stands.
    function = getattr(method, "__func__", method)
    function.__annotations__ = get_type_hints(function, include_extras=True)
    return TypeAdapter(cast(Any, method))


def candidate(node: Node, changes: dict[str, Any]) -> tuple[Node, set[str]]:
    """A copy of the node with the changes, and the names that differ. Changes nothing.

    Raises:
        SettingError: a setting is unknown, read-only, fixed at start, or its value is refused.
    """
    cls = type(node)
    for name in changes:
        if name not in cls.model_fields:
            raise SettingError(f"{node.name}.{name}: {unknown(name, cls.model_fields)}")
        if extra(cls.model_fields[name])["readonly"]:
            raise SettingError(f"{node.name}.{name}: is told by the device and cannot be set")
    held = node.__dict__.copy()
    values = {name: held[name] for name in cls.model_fields}
    try:
        wanted = cls.model_validate(values | changes)
    except ValidationError as error:
        raise SettingError(setting_message(node.name, error)) from error
    names = {name for name in values if _differ(getattr(wanted, name), values[name])}
    for name in names & changes.keys():
        if extra(cls.model_fields[name])["apply"] == "start":
            raise SettingError(
                f"{node.name}.{name}: holds from the start of a session; it is now "
                f"{plain(values[name])!r} and cannot be changed while it runs"
            )
    return wanted, names


def _differ(one: Any, other: Any) -> bool:
    try:
        return bool(one != other)
    except ValueError:  # arrays have no single truth
        return bool(plain(one) != plain(other))


def assign(node: Node, wanted: Node, names: set[str]) -> None:
    """Take the named values over from a validated copy, all at one moment."""
    node.__dict__.update({name: getattr(wanted, name) for name in names})


def call(node: Node, name: str, args: dict[str, Any]) -> Any:
    """Call an action with validated arguments; a long action answers with its generator.

    Raises:
        ActionError: there is no such action, an argument is refused, or the action failed.
    """
    cls = type(node)
    if name not in _actions(cls):
        raise ActionError(f"{node.name}.{name}(): {unknown(name, _actions(cls), 'action')}")
    try:
        given, named = _checked(cls, name)(node, **args)
    except ValidationError as error:
        known = list(inspect.signature(getattr(node, name)).parameters)
        problems = [_problem(f"{name}({_path(e['loc'])})", e, known) for e in error.errors()]
        raise ActionError(f"{node.name}.{'; '.join(problems)}") from error
    except TypeError as error:  # an argument named `self`
        raise ActionError(f"{node.name}.{name}(): {error}") from error
    try:
        return getattr(node, name)(*given[1:], **named)
    except ValidationError as error:  # it assigned a value that one of its settings refuses
        raise SettingError(setting_message(node.name, error)) from error


@functools.cache
def _checked(cls: type[Node], name: str) -> Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]:
    """A function that validates the arguments of an action and hands them back."""

    @functools.wraps(getattr(cls, name))
    def collect(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs

    return validate_call(collect)


def is_long(value: Any) -> bool:
    """Whether an action answered with a generator that is to be advanced between frames."""
    return isinstance(value, Generator)


def setting_message(node: str, error: ValidationError) -> str:
    """All refused settings on one line: node, field, what was found, what would be right."""
    return "; ".join(_problem(f"{node}.{_path(e['loc'])}", e) for e in error.errors())


def _problem(where: str, error: Any, known: Iterable[str] | None = None) -> str:
    message = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{where}: must be given"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        if known is None:
            return f"{where}: there is no such setting"
        return f"{where}: {unknown(str(error['loc'][-1]), known, 'argument')}"
    if error["type"] in ("value_error", "assertion_error"):  # what a validator of the node's said
        message = str(error["ctx"]["error"])
    if not error["loc"]:
        return f"{where.rstrip('.')}: {message}"
    found = error["input"]
    shown = repr(found) if not isinstance(found, BaseModel) else type(found).__name__
    return f"{where}: found {shown[:80]}, {message.replace('input should', 'expected to')}"


def _path(place: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in place)


def unknown(name: str, known: Iterable[str], what: str = "setting") -> str:
    """What to say of a name that does not exist: the nearest that does, and all of them."""
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"there is no such {what}; {hint}it has {', '.join(sorted(known)) or 'none'}"
