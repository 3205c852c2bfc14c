"""The session's events for many browsers: one listener, a short memory, and a queue for each."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from marey.command import Listener
from marey.errors import SessionError
from marey.lab import Lab
from marey.sinks.web.view import hide

_KEEP = 500  # events that a browser is told when it connects
_WAIT = 0.25  # s between two looks whether to end
_SIGN = 10.0  # s between two signs of life, which also show that a browser has gone
_BACKLOG = 2000  # events that wait for one slow browser before it is told to connect again

Told = dict[str, Any]


class Events:
    """Listens to a session and tells each browser what it has not heard yet.

    Args:
        lab: the session.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        # Numbers begin anew with each process; the prefix tells its events from an earlier one's.
        self._life = f"{time.time_ns():x}"
        self._count = 0
        self._kept: deque[Told] = deque(maxlen=_KEEP)
        self._queues: set[asyncio.Queue[Told | None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="web-events", daemon=True)

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening and let all browsers go."""
        self._ending.set()
        with self._lock:
            if self._loop is not None and not self._loop.is_closed():
                with contextlib.suppress(RuntimeError):  # closed between the question and the call
                    self._loop.call_soon_threadsafe(self._let_go)
        if self._thread.is_alive():
            self._thread.join()

    async def follow(self, last: str | None) -> AsyncIterator[Told | None]:
        """Events after `last`, those kept first; None now and then, as a sign of life."""
        queue: asyncio.Queue[Told | None] = asyncio.Queue(_BACKLOG)
        with self._lock:
            self._loop = asyncio.get_running_loop()
            missed = self._after(last)
            self._queues.add(queue)
        try:
            for event in missed:
                yield event
            while not self._ending.is_set():
                try:
                    async with asyncio.timeout(_SIGN):
                        told = await queue.get()
                except TimeoutError:
                    yield None
                    continue
                if told is None:
                    return
                yield told
        finally:
            self._queues.discard(queue)

    def _after(self, last: str | None) -> list[Told]:
        life, _, number = (last or "").partition("-")
        heard = int(number) if life == self._life and number.isdigit() else 0
        return [event for event in self._kept if event["number"] > heard]

    def _listen(self) -> None:
        while not self._ending.is_set():
            try:
                with self._lab.events() as events:
                    self._keep(events)
            except SessionError:  # its supervisor is not there yet, or any more
                self._ending.wait(_WAIT)

    def _keep(self, events: Listener) -> None:
        while not self._ending.is_set():
            event = events.next(_WAIT)
            if event is None and events.over:
                self._ending.wait(_WAIT)
                return
            if event is None or event.kind == "alive":
                continue
            with self._lock:
                self._count += 1
                told = {
                    "id": f"{self._life}-{self._count}",
                    "number": self._count,
                    "kind": event.kind,
                    "node": event.node,
                    "time": event.time / 1e9,
                    "data": hide(event.data),
                }
                # Progress is worth nothing once it is over.
                if event.kind != "progress":
                    self._kept.append(told)
                if self._queues and self._loop is not None and not self._ending.is_set():
                    self._loop.call_soon_threadsafe(self._tell, told)

    def _tell(self, told: Told) -> None:
        for queue in list(self._queues):
            if queue.full():
                self._queues.discard(queue)
                queue.get_nowait()
                queue.put_nowait(None)
            else:
                queue.put_nowait(told)

    def _let_go(self) -> None:
        for queue in list(self._queues):
            if not queue.full():
                queue.put_nowait(None)
