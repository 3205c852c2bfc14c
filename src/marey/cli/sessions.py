"""`marey sessions`, `marey ledger` and `marey stop`: what runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from marey._native import is_alive
from marey.cli.account import ledger_of_nodes, print_json, print_ledger
from marey.cli.console import console, table
from marey.cli.options import Flag, Word
from marey.errors import SessionError
from marey.lab import Lab, attach, read_session
from marey.lab import sessions as running
from marey.stream.runtime import session_folder

_LOOK_EACH = 0.05  # s


def sessions(*, json: Flag = False) -> int:
    """Name the sessions of this user that are running.

    Args:
        json: print them as a JSON list.
    """
    found = [facts for name in running() if (facts := read_session(session_folder(name)))]
    if json:
        print_json(found)
        return 0
    if not found:
        print("no session is running")
        return 0
    rows = table("session", ">running for", "nodes")
    for facts in found:
        age = time.time() - facts["started"]
        nodes = ", ".join(f"{node} ({about['kind']})" for node, about in facts["nodes"].items())
        rows.add_row(facts["name"], f"{age:,.0f} s", nodes)
    console().print(rows)
    return 0


def ledger(session: Word = "", /, *, json: Flag = False) -> int:
    """Print the account of every frame so far: made, delivered, lost where and why.

    Args:
        session: which one; may be left out while only one runs.
        json: print it as one JSON object.
    """
    with choose(session) as lab:
        account = ledger_of_nodes(lab.ledger())
    if json:
        print_json(account)
    else:
        print_ledger(account, console())
    return 0


def stop(session: str, /) -> int:
    """Stop a session in order, and wait until it has ended.

    Args:
        session: which one.
    """
    with attach(session) as lab:
        runs = watch(lab)
        lab.stop()
        while runs():
            time.sleep(_LOOK_EACH)
    return 0


def watch(lab: Lab) -> Callable[[], bool]:
    """A function that tells whether this very run of a session still goes on."""
    facts = read_session(lab.folder)

    def runs() -> bool:
        now = read_session(lab.folder)
        return (
            facts is not None
            and now is not None
            and now["owner"] == facts["owner"]
            and is_alive(now["owner"])
        )

    return runs


def choose(session: str) -> Lab:
    """Attach to the session of that name; to the only one that runs where no name is given.

    Raises:
        SessionError: it does not run, or there is no single one.
    """
    if session:
        return attach(session)
    names = running()
    if len(names) != 1:
        raise SessionError(
            f"SESSION: which one? running are: {', '.join(names)}"
            if names
            else "SESSION: no session is running"
        )
    return attach(names[0])
