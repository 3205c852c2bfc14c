"""What happened in a session, for its ledger."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from typing import Any

from marey.command import Event

_MOST = 10_000
_UNTOLD = "known from the account alone: the process died before it could tell"


class Chronicle:
    """Incidents in their order: losses, outages, deaths; the newest ten thousand."""

    def __init__(self) -> None:
        self.incidents: list[dict[str, Any]] = []
        self._told: Counter[tuple[str, str]] = Counter()

    def note(self, event: Event) -> None:
        """Note what a node has told of."""
        if event.kind == "lost":
            self._told[event.data["stream"], event.data["reader"]] += event.data["count"]
        self._add({"time": event.time, "node": event.node, "what": event.kind, **event.data})

    def tell(self, what: str, node: str, text: str) -> None:
        """Note what was seen from outside."""
        self._add({"time": time.time_ns(), "node": node, "what": what, "text": text})

    def untold(self, streams: dict[str, Any], nodes: Collection[str]) -> list[dict[str, Any]]:
        """Losses of nodes that stand in the streams' accounts, but that nobody lived to tell of."""
        found = []
        for stream, facts in streams.items():
            readers = facts["readers"].items()
            lost = {name: account["lost"] for name, account in readers if name in nodes}
            for reader, count in {"": facts["device_lost"], **lost}.items():
                missing = count - self._told[stream, reader]
                if missing > 0:
                    found.append(
                        {
                            "time": time.time_ns(),
                            "node": reader or stream,
                            "what": "lost",
                            "stream": stream,
                            "reader": reader,
                            "first": None,
                            "count": missing,
                            "cause": _UNTOLD,
                        }
                    )
        return found

    def _add(self, incident: dict[str, Any]) -> None:
        self.incidents.append(incident)
        del self.incidents[:-_MOST]
