"""What happened in a session, for its ledger."""

from __future__ import annotations

import time
from typing import Any

from marey.command import Event

_MOST = 10_000


class Chronicle:
    """Incidents in their order: losses, outages, deaths; the newest ten thousand."""

    def __init__(self) -> None:
        self.incidents: list[dict[str, Any]] = []

    def note(self, event: Event) -> None:
        """Note what a node has told of."""
        self._add({"time": event.time, "node": event.node, "what": event.kind, **event.data})

    def tell(self, what: str, node: str, text: str) -> None:
        """Note what was seen from outside."""
        self._add({"time": time.time_ns(), "node": node, "what": what, "text": text})

    def _add(self, incident: dict[str, Any]) -> None:
        self.incidents.append(incident)
        del self.incidents[:-_MOST]
