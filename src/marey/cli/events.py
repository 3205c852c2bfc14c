"""`marey log`: the events of a session as they happen."""

from __future__ import annotations

from contextlib import suppress

from rich.text import Text

from marey.cli.console import console
from marey.cli.options import Flag, Word
from marey.cli.sessions import choose
from marey.cli.words import clock, words
from marey.command import Event

_STYLES = {"error": "bold red", "lost": "red", "outage": "red", "state": "cyan", "setting": "green"}


def log(session: Word = "", /, *, json: Flag = False) -> int:
    """Follow what happens in a session until it ends, or Ctrl-C.

    Log lines of its nodes, errors with their traceback, changed settings with the frame from which
    they hold, progress of long actions, states of nodes, and every loss.

    Args:
        session: which one; may be left out while only one runs.
        json: print each event as one line of JSON.
    """
    out = console()
    with choose(session) as lab, lab.events() as events, suppress(KeyboardInterrupt):
        for event in events:
            if json:
                print(event.model_dump_json(), flush=True)
            else:
                out.print(_line(event), soft_wrap=True)
    return 0


def _line(event: Event) -> Text:
    text = Text(f"{clock(event.time)} {event.node:12} {event.kind:8} ")
    return text.append(words(event.kind, event.data), _STYLES.get(event.kind, ""))
