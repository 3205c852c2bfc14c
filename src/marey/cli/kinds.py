"""`marey list`: the kinds of nodes, and the settings of one."""

from __future__ import annotations

import inspect
import textwrap
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from marey.cli.account import print_json
from marey.cli.console import console, table
from marey.cli.options import Flag, Word
from marey.cli.schema import default_of, range_of, type_of
from marey.errors import NodeError
from marey.node import Node
from marey.node.control import describe_class, extra, role
from marey.node.registry import kinds as registered
from marey.node.registry import load

_ORDER = ("camera", "device", "processor", "sink", "node", "")
_APPLY = {
    "live": "at once, between two frames",
    "reopen": "at once, by opening the node again",
    "start": "at the start of a session",
}


def kinds(
    kind: Word = "",
    /,
    *,
    all_: Annotated[bool, Parameter(name="--all", negative="", show_default=False)] = False,
    json: Flag = False,
) -> int:
    """Name the kinds of nodes, built-in ones and those of plug-ins; or tell the settings of one.

    Each setting has a type, a range, a unit, a default, and a time at which a change of it holds:
    between two frames, by opening the node again, or from the next start of the session.

    Args:
        kind: tell the settings and actions of this kind.
        all_: also settings that few need.
        json: print JSON: the role and documentation of each kind, or all about one.
    """
    if kind:
        described = describe_class(load(kind))
        if json:
            print_json(described)
        else:
            _print_kind(load(kind), described, console(), everything=all_)
        return 0
    found = _all()
    if json:
        print_json(found)
    else:
        rows = table("kind", "role", "what it is")
        for name, about in sorted(found.items(), key=lambda item: _ORDER.index(item[1]["role"])):
            style = None if about["role"] else "red"
            rows.add_row(name, about["role"], escape(about["doc"].partition("\n")[0]), style=style)
        console().print(rows)
    return 0


def _all() -> dict[str, dict[str, str]]:
    found = {}
    for name in registered():
        try:
            cls = load(name)
        except NodeError as error:
            found[name] = {"role": "", "doc": str(error)}
        else:
            found[name] = {"role": role(cls), "doc": inspect.cleandoc(cls.__doc__ or "")}
    return found


def _print_kind(
    cls: type[Node], described: dict[str, Any], out: Console, *, everything: bool
) -> None:
    out.print(f"[bold]{described['kind']}[/] ({described['role']})\n")
    out.print(described["doc"], markup=False)
    rows = table("setting", "type", "range", "default", "unit", "a change holds", "meaning")
    schema = described["schema"]
    hidden = 0
    for name, info in cls.model_fields.items():
        about, field = extra(info), schema["properties"][name]
        if about["advanced"] and not everything:
            hidden += 1
            continue
        rows.add_row(
            name,
            escape(type_of(schema, field)),
            escape(range_of(schema, field)),
            "" if about["readonly"] else escape(default_of(schema, name)),
            about["unit"],
            "told by the device" if about["readonly"] else about["apply"],
            escape(field.get("description", "")),
        )
    out.print("\n[bold]Settings[/]")
    out.print(rows)
    if hidden:
        out.print(f"and {hidden} that few need: marey list {described['kind']} --all", style="dim")
    out.print(
        "\n" + "; ".join(f"{word}: {meaning}" for word, meaning in _APPLY.items()), style="dim"
    )
    if described["actions"]:
        out.print("\n[bold]Actions[/]")
        for name, action in described["actions"].items():
            _print_action(name, action, out)


def _print_action(name: str, action: dict[str, Any], out: Console) -> None:
    schema = action["schema"]
    arguments = schema.get("properties", {})
    out.print(f"{name}({', '.join(arguments)})", markup=False)
    out.print(textwrap.indent(action["doc"], "  "), markup=False)
    if not arguments:
        return
    rows = table("argument", "type", "range", "default", "meaning")
    for argument, field in arguments.items():
        rows.add_row(
            argument,
            escape(type_of(schema, field)),
            escape(range_of(schema, field)),
            escape(default_of(schema, argument)),
            escape(field.get("description", "")),
        )
    out.print(rows)
