"""How a running node obeys commands: settings are all or nothing, actions are validated."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Generator
from typing import Any, cast

from pydantic import BaseModel, TypeAdapter, ValidationError, validate_call
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from marey.errors import ActionError, SettingError
from marey.node.base import Node


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
    """The values of all settings, as JSON values."""
    return {name: plain(getattr(node, name)) for name in type(node).model_fields}


def plain(value: Any) -> Any:
    """A value as JSON has it: models as objects, arrays as lists, NaN as None."""
    return to_jsonable_python(value, inf_nan_mode="null", fallback=_as_list)


def _as_list(value: Any) -> Any:
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return value.tolist()
    raise ValueError(f"a {type(value).__name__} is nothing that can be sent")


def actions_of(node: Node) -> dict[str, Callable[..., Any]]:
    """The node's actions by name."""
    return {
        name: getattr(node, name)
        for name, member in inspect.getmembers(type(node), inspect.isfunction)
        if getattr(member, "__marey_action__", False)
    }


def describe(node: Node) -> dict[str, Any]:
    """Everything that a form or a help text needs."""
    cls = type(node)
    return {
        "kind": cls.kind,
        "role": role(cls),
        "doc": inspect.cleandoc(cls.__doc__ or ""),
        "schema": cls.model_json_schema(),
        "settings": settings_of(node),
        "actions": {
            name: {"doc": inspect.getdoc(method) or "", "schema": _adapter(method).json_schema()}
            for name, method in actions_of(node).items()
        },
    }


def _adapter(method: Callable[..., Any]) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, method))


def candidate(node: Node, changes: dict[str, Any]) -> tuple[Node, set[str]]:
    """A copy of the node with the changes, and the names that differ. Changes nothing.

    Raises:
        SettingError: a setting is unknown, read-only, fixed at start, or its value is refused.
    """
    cls = type(node)
    for name in changes:
        if name not in cls.model_fields:
            raise SettingError(f"{node.name}.{name}: {_unknown(name, list(cls.model_fields))}")
        facts = extra(cls.model_fields[name])
        if facts["readonly"]:
            raise SettingError(f"{node.name}.{name}: is told by the device and cannot be set")
    values = {name: getattr(node, name) for name in cls.model_fields}
    try:
        wanted = cls.model_validate(values | changes)
    except ValidationError as error:
        raise SettingError(setting_message(node.name, error)) from error
    names = {name for name in changes if getattr(wanted, name) != values[name]}
    for name in names:
        if extra(cls.model_fields[name])["apply"] == "start":
            raise SettingError(
                f"{node.name}.{name}: holds from the start of a session; it is now "
                f"{plain(values[name])!r} and cannot be changed while it runs"
            )
    return wanted, names


def assign(node: Node, wanted: Node, names: set[str]) -> None:
    """Take the named values over from a validated copy."""
    for name in names:
        node.__dict__[name] = getattr(wanted, name)


def call(node: Node, name: str, args: dict[str, Any]) -> Any:
    """Call an action with validated arguments; a long action answers with its generator.

    Raises:
        ActionError: there is no such action, an argument is refused, or the action failed.
    """
    actions = actions_of(node)
    if name not in actions:
        raise ActionError(f"{node.name}.{name}(): {_unknown(name, list(actions), 'action')}")
    try:
        return validate_call(actions[name])(**args)
    except ValidationError as error:
        problems = "; ".join(_problem(f"{name}({_path(e['loc'])})", e) for e in error.errors())
        raise ActionError(f"{node.name}.{problems}") from error


def is_long(value: Any) -> bool:
    """Whether an action answered with a generator that is to be advanced between frames."""
    return isinstance(value, Generator)


def setting_message(node: str, error: ValidationError) -> str:
    """All refused settings on one line: node, field, what was found, what would be right."""
    return "; ".join(_problem(f"{node}.{_path(e['loc'])}", e) for e in error.errors())


def _problem(where: str, error: Any) -> str:
    message = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == "missing":
        return f"{where}: must be given"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{where}: there is no such setting or argument"
    found = error["input"]
    shown = repr(found) if not isinstance(found, BaseModel) else type(found).__name__
    return f"{where}: found {shown[:80]}, {message.replace('input should', 'expected to')}"


def _path(place: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in place)


def _unknown(name: str, known: list[str], what: str = "setting") -> str:
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"there is no such {what}; {hint}it has {', '.join(sorted(known)) or 'none'}"
