"""Waiting for what a browser asks of a stream."""

from __future__ import annotations

import asyncio
import time

from marey.errors import StreamClosed
from marey.stream import Frame, Source

_SHORTEST, _LONGEST = 0.001, 0.02  # s between two looks at a stream, growing while it is still
_CLOSED = 2  # state of a stream whose writer has ended in order


async def newer(source: Source, after: int | None, until: float) -> bool:
    """Wait until the stream has an item after the one named.

    Looking again after a growing pause costs a reader's account in the ring less than waiting with
    one for each browser would, and nothing at all while nobody looks.

    Raises:
        StreamClosed: the stream has ended and has none.
    """
    pause = 0.0
    while source.head == 0 or (after is not None and source.head - 1 <= after):
        if source.ring.state == _CLOSED:
            raise StreamClosed(f"stream '{source.name}': has ended")
        if time.monotonic() > until:
            return False
        await asyncio.sleep(pause or _due(source))
        pause = min(_LONGEST, max(_SHORTEST, pause * 1.3))
    return True


def _due(source: Source) -> float:
    """Seconds until the next item, if it comes as long after the last as that one did."""
    published = source.stamps(2)["published"].tolist()
    if len(published) < 2:
        return _SHORTEST
    due = float(2 * published[1] - published[0] - time.monotonic_ns()) / 1e9
    return min(_LONGEST, max(_SHORTEST, due))


async def rows_frame(source: Source, source_seq: int | None, wait: float) -> Frame | None:
    """The item made of `source_seq`, waited for up to `wait` s, else the last one before it.

    Args:
        source_seq: None asks for the newest item.
    """
    if source_seq is None:
        return source.at(source.head - 1) if source.head else None
    until = time.monotonic() + wait
    while True:
        frame = source.find(source_seq)
        if frame is not None and frame.source_seq == source_seq:
            return frame
        newest = source.stamps(1)
        passed = len(newest) and newest["source_seq"][0] >= source_seq
        if passed or time.monotonic() > until or source.ring.state == _CLOSED:
            return frame
        await asyncio.sleep(2 * _SHORTEST)
