"""`marey run`: a session from a TOML file."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from marey.cli.account import ledger_of_nodes, print_json, print_ledger
from marey.cli.console import console, show_log
from marey.cli.options import Flag, Seconds
from marey.errors import MareyError, NodeFailed, SettingError
from marey.lab import attach
from marey.node.control import extra
from marey.session import Session


def run(
    file: Path,
    /,
    *settings: Annotated[str, Parameter(name="NODE.SETTING=VALUE")],
    seconds: Seconds = None,
    json: Flag = False,
    verbose: Flag = False,
) -> int:
    """Run the session that a TOML file describes, and print its ledger at the end.

    The file holds one table for each node: `kind = "..."`, then its settings; see `marey list`.
    A table [session] may give the session's name, which is otherwise that of the file, and its
    session-wide settings. The session ends by Ctrl-C, SIGTERM, `marey stop`, when all of its
    cameras have come to an end, or when the time is over; then the readers finish what is left.
    A second Ctrl-C does not wait for them.

    Args:
        file: the TOML file.
        settings: other values than the file has, such as cam.rate=200.
        seconds: end after so many seconds, counted from the moment when all nodes run.
        json: print the ledger as one JSON object on stdout, and nothing else there.
        verbose: log more, also the traceback of a node that cannot start.
    """
    session = Session.from_toml(file, overrides(settings))
    return run_session(session, seconds, json=json, verbose=verbose)


def overrides(settings: Iterable[str]) -> dict[str, str]:
    """`["cam.rate=200"]` as `{"cam.rate": "200"}`.

    Raises:
        SettingError: one of them is written in another way.
    """
    found = {}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals or "." not in name:
            raise SettingError(f"{text}: expected node.setting=value")
        found[name] = value
    return found


def run_session(
    session: Session, seconds: float | None, *, json: bool = False, verbose: bool = False
) -> int:
    """Run a session in the foreground and print its ledger; returns the exit code.

    Raises:
        SettingError: the time is negative or no number.
        NodeError: a node could not start.
        NodeFailed: a node failed for good; the ledger is printed.
    """
    if seconds is not None and not seconds >= 0:
        raise SettingError(f"--for: found {seconds:g}, expected 0 or more seconds")
    starting = _UntilReady()
    handler = show_log(logging.DEBUG if verbose else logging.INFO)
    if not verbose:
        handler.addFilter(starting)

    def ready(name: str) -> None:
        starting.over = True
        if not json:
            print(f"session {name}: {', '.join(session.nodes)}; Ctrl-C ends it")
            for node, place in pages(session, name):
                print(f"{node}: {place}")
            sys.stdout.flush()

    try:
        ledger = session.run(seconds, on_ready=ready)
    except NodeFailed as error:
        _print(error.ledger, json)
        raise
    _print(ledger, json)
    return 0


def pages(session: Session, name: str) -> list[tuple[str, str]]:
    """Where the nodes of a running session can be looked at: those that tell a `url`."""
    found = []
    for node, described in session.nodes.items():
        field = type(described).model_fields.get("url")
        if field is None or not extra(field)["readonly"]:
            continue
        with attach(name) as lab:
            try:
                found.append((node, str(lab[node].get("url"))))
            except MareyError as error:  # it died just now, and will be started again
                found.append((node, str(error)))
    return found


class _UntilReady(logging.Filter):
    """Keeps back errors of nodes that cannot start: the run ends with that very error."""

    over = False

    def filter(self, record: logging.LogRecord) -> bool:
        return self.over or record.levelno < logging.ERROR


def _print(ledger: dict[str, object], json: bool) -> None:
    if json:
        print_json(ledger_of_nodes(ledger))
    else:
        print_ledger(ledger_of_nodes(ledger), console())
