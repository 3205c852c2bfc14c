"""What happened in a session, in words: for the log and for the ledger."""

from __future__ import annotations

import time
from typing import Any


def clock(ns: int) -> str:
    """The time of the day of a Unix time in ns."""
    return time.strftime("%H:%M:%S", time.localtime(ns / 1e9))


def words(kind: str, data: dict[str, Any]) -> str:
    """An event's or incident's data in words; see `marey.command.Event` for the kinds."""
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
            where = "" if data["first"] is None else f" at {data['first']}"
            return f"{data['count']} of {data['stream']}{who}{where}: {data['cause']}"
        case "outage":
            gone = f"{data['seconds']:.3g} s"
            return f"{data['stream']} was away for {gone} before frame {data['seq']}"
    return str(data.get("text", data))
