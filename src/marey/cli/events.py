"""`marey log`: the events of a session as they happen."""

from __future__ import annotations

import time
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from marey.cli.console import console
from marey.cli.sessions import SessionName, choose, watch
from marey.command import Event

Flag = Annotated[bool, Parameter(negative="", show_default=False)]

_LOOK_EACH = 0.5  # s between two looks whether the session is still there
_STYLES = {"error": "bold red", "lost": "red", "outage": "red", "state": "cyan", "setting": "green"}


def log(session: SessionName = "", /, *, json: Flag = False) -> int:
    """Follow what happens in a session until it ends, or Ctrl-C.

    Log lines of its nodes, errors with their traceback, changed settings with the frame from which
    they hold, progress of long actions, states of nodes, and every loss.

    Args:
        session: which one; may be left out while only one runs.
        json: print each event as one line of JSON.
    """
    out = console()
    with choose(session) as lab, lab.events() as events:
        runs = watch(lab)
        try:
            while True:
                event = events.next(_LOOK_EACH)
                if event is not None and json:
                    print(event.model_dump_json(), flush=True)
                elif event is not None:
                    out.print(_line(event), soft_wrap=True)
                elif not runs():
                    return 0
        except KeyboardInterrupt:
            return 0


def _line(event: Event) -> Text:
    clock = time.strftime("%H:%M:%S", time.localtime(event.time / 1e9))
    text = Text(f"{clock} {event.node:12} {event.kind:8} ")
    return text.append(_words(event.kind, event.data), _STYLES.get(event.kind, ""))


def _words(kind: str, data: dict[str, Any]) -> str:
    match kind:
        case "log":
            return f"{data['level']}: {data['text']}"
        case "error":
            return f"{data['text']}\n{data['trace']}".rstrip()
        case "setting":
            values = ", ".join(f"{name} = {value}" for name, value in data["values"].items())
            return values if data["seq"] is None else f"{values} from frame {data['seq']}"
        case "progress":
            return f"{data['action']} {data['fraction']:.0%} {data['text']}"
        case "state":
            error = data.get("error")
            return f"{data['state']}: {error}" if error else str(data["state"])
        case "lost":
            who = f" by {data['reader']}" if data["reader"] else ""
            return f"{data['count']} of {data['stream']}{who} at {data['first']}: {data['cause']}"
        case "outage":
            return (
                f"{data['stream']} was away for {data['seconds']:.3g} s before frame {data['seq']}"
            )
    return str(data)
