"""`marey get`, `marey set`, `marey do`: settings and actions of a running session."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any

from cyclopts import Parameter
from rich.markup import escape

from marey.cli.account import print_json
from marey.cli.console import console, table
from marey.cli.options import Flag, Word
from marey.cli.schema import is_text, toml, unit_of
from marey.errors import ActionError, SettingError
from marey.lab import attach
from marey.session.session import toml_value
from marey.session.shared import SharedSettings

_SESSION = "session"  # as a node: the settings of the whole session


def get(
    session: str,
    node: str,
    setting: Word = "",
    /,
    *,
    json: Flag = False,
) -> int:
    """Print the settings of a node, or the value of one.

    Args:
        session: which session.
        node: which node; `session` has the settings of the whole session.
        setting: which setting; left out, all are printed with their units.
        json: print JSON.
    """
    with attach(session) as lab:
        if node == _SESSION:
            values, schema = lab.get(), SharedSettings.model_json_schema()
            if setting and setting not in values:
                raise SettingError(
                    f"session.{setting}: there is no such setting; it has {', '.join(values)}"
                )
            found = values[setting] if setting else values
        elif setting:
            found, schema = lab[node].get(setting), {}
        else:
            described = lab[node].describe()
            found, schema = described["settings"], described["schema"]
    if json:
        print_json(found)
    elif setting:
        _print_value(found)
    else:
        _print_settings(found, schema)
    return 0


def set_(
    session: str,
    node: str,
    /,
    *values: Annotated[str, Parameter(name="SETTING=VALUE")],
    json: Flag = False,
) -> int:
    """Set live settings of a node, all of them or none, between two frames.

    A value is written as in TOML; text needs no quotes. What is refused is said with what would be
    right, and then nothing was changed.

    Args:
        session: which session.
        node: which node; `session` has those that all nodes follow which declare them.
        values: which settings, such as exposure=0.002.
        json: print what the node has now as JSON.
    """
    if not values:
        raise SettingError("SETTING=VALUE: none given, expected at least one such as gain=2")
    with attach(session) as lab:
        if node == _SESSION:
            schema = SharedSettings.model_json_schema()
            told: dict[str, Any] = lab.set(**_parsed(values, schema))
        else:
            schema = lab[node].describe()["schema"]
            told = lab[node].set(**_parsed(values, schema))
    if json:
        print_json(told)
    elif node == _SESSION:
        for follower, values_now in told.items():
            for name, value in values_now.items():
                print(f"{follower}.{name} = {toml(value)}")
    else:
        _print_settings(told, schema)
    return 0


def do(
    session: str,
    node: str,
    action: str,
    /,
    *values: Annotated[str, Parameter(name="NAME=VALUE")],
    timeout: float = 10.0,
    json: Flag = False,
) -> int:
    """Call an action of a node, and print what it answers.

    Args:
        session: which session.
        node: which node.
        action: which action; `marey list KIND` names them.
        values: its arguments, such as before=5.
        timeout: how long to wait for the answer, or for the next sign of progress, s.
        json: print the answer as JSON, also where it is nothing or text.
    """
    from rich.progress import Progress

    with attach(session) as lab:
        handle = lab[node]
        known = handle.describe()["actions"]
        schema = known[action]["schema"] if action in known else {}
        try:
            args = _parsed(values, schema)
        except SettingError as error:
            raise ActionError(f"{node}.{action}(): {error}") from error
        shown = console(sys.stderr)
        with Progress(console=shown, transient=True, disable=not shown.is_terminal) as progress:
            task = progress.add_task(f"{node}.{action}", total=1.0, visible=False)

            def advance(told: Any) -> None:
                fraction, text = told
                words = f"{node}.{action} {text}"
                progress.update(task, completed=fraction, description=words, visible=True)

            answer = lab.call(node, action, args, timeout, advance)
    if json:
        print_json(answer)
    else:
        _print_value(answer)
    return 0


def _parsed(values: Iterable[str], schema: dict[str, Any]) -> dict[str, Any]:
    """`["gain=2"]` as `{"gain": 2}`; text stays text even where it looks like a number."""
    found = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SettingError(f"{text}: expected name=value")
        found[name] = toml_value(value, wants_text=is_text(schema, name))
    return found


def _print_value(value: Any) -> None:
    if isinstance(value, str):
        print(value)
    elif value is not None:
        print_json(value)


def _print_settings(values: dict[str, Any], schema: dict[str, Any]) -> None:
    rows = table("setting", "value", "unit")
    for name, value in values.items():
        rows.add_row(name, escape(toml(value)), unit_of(schema, name))
    console().print(rows)
