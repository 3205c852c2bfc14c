"""What the memory of streams still holds from before a moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from marey.lab import Lab
from marey.stream import Frame, Source


@dataclass
class _Place:
    """How far the backlog of one stream has been given out."""

    source: Source
    first: int
    at: int
    until: int
    began: int | None = None


class Backlog:
    """The items of some streams from some seconds ago up to where a node reads them live.

    The items are looked at where they lie, so the node's own reader and its account do not
    notice. A stream belongs to the backlog (`name in backlog`) until it has been given out up to
    the node's reader, wherever that has come meanwhile: the node passes over live items of it.

    Args:
        lab: the session.
        reader: the node whose readers give the live items.
        streams: the streams' names; none given, all that the node reads.
        seconds: how far back, by the time of the exposure. Where a stream's memory does not
            reach back so far, it begins with the oldest item that will not be overwritten soon.

    Attributes:
        seconds: how far back it was to reach.
        reached: how far back it has reached, by stream, s.
    """

    def __init__(self, lab: Lab, reader: str, streams: list[str], seconds: float) -> None:
        self.seconds = seconds
        self._reader = reader
        self._now = time.monotonic_ns()
        since = self._now - int(seconds * 1e9)
        self._places: dict[str, _Place] = {}
        self.reached: dict[str, float] = {}
        for name in streams or lab.streams:
            source = lab.stream(name)
            until = self._cursor(source) if source.exists() else None
            if until is not None:
                first = min(_first_since(source, since), until)
                self._places[name] = _Place(source, first, first, until)
                self.reached[name] = 0.0

    def __contains__(self, name: object) -> bool:
        return name in self._places

    @property
    def fraction(self) -> float:
        """How much of it has been given out."""
        total = sum(place.until - place.first for place in self._places.values())
        left = sum(place.until - place.at for place in self._places.values())
        return 1 - left / total if total else 1.0

    def __iter__(self) -> Iterator[tuple[str, Frame]]:
        while self._places:
            for name, place in list(self._places.items()):
                if place.at >= place.until:
                    place.until = self._cursor(place.source) or place.at
                if place.at >= place.until:
                    del self._places[name]
                    continue
                frame = place.source.at(place.at)
                if frame is None:
                    place.at = max(place.at + 1, place.source.oldest)
                    continue
                place.at += 1
                if place.began is None:
                    place.began = frame.mono_time
                    self.reached[name] = max(0.0, (self._now - frame.mono_time) / 1e9)
                yield name, frame

    def _cursor(self, source: Source) -> int | None:
        """The next live item that the node will be given; None where it does not read it."""
        cursors = [a["cursor"] for a in source.ring.accounts() if a["name"] == self._reader]
        return int(cursors[0]) if cursors else None


def _first_since(source: Source, since: int) -> int:
    """The first item not exposed before `since` (monotonic, ns) that stays for a while."""
    margin = max(1, source.ring.facts()["slots"] // 32)
    low = source.oldest + margin if source.oldest else 0
    high = source.head
    while low < high:
        middle = (low + high) // 2
        frame = source.at(middle)
        if frame is None or frame.mono_time < since:
            low = middle + 1
        else:
            high = middle
    return low
