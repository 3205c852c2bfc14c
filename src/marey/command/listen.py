"""The listening side: the events of a session, and messages that want no answer."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq

from marey.command.messages import Event, Request, Verb
from marey.command.serve import WELCOME, command_address, events_address
from marey.errors import SessionError
from marey.stream.closing import Closing

_LOOK = 0.5  # s between two looks whether the session still runs


class Listener(Closing):
    """An iterator over the events of a session; a context manager.

    Args:
        folder: the session's runtime folder.
        running: tells whether the session still runs, so that nobody listens to the dead.
        patience: how long to wait until it is sure that no event is missed, s; 0 not to wait.

    Raises:
        SessionError: the session does not answer.
    """

    def __init__(
        self, folder: Path, running: Callable[[], bool] = lambda: True, patience: float = 5.0
    ) -> None:
        self.over = False
        """Whether the session has ended: no event will come any more."""
        self._running = running
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.connect(events_address(folder))
        # The welcome tells that the subscription stands: no event is missed from here on.
        until = time.monotonic() + patience
        while patience and not self._socket.poll(int(_LOOK * 1000)):
            if not running() or time.monotonic() > until:
                self.close()
                raise SessionError(f"session in {folder}: its supervisor tells no events")

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None when `timeout` seconds passed without one, or the session ended."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self.over:
            left = _LOOK if until is None else min(_LOOK, max(0.0, until - time.monotonic()))
            if not self._socket.poll(int(left * 1000)):
                if until is not None and time.monotonic() >= until:
                    return None
                self.over = not self._running()
                continue
            text = self._socket.recv()
            if text == WELCOME:
                continue
            event = Event.model_validate_json(text)
            self.over = (event.node, event.data.get("state")) == ("session", "stopped")
            return event
        return None

    def __iter__(self) -> Iterator[Event]:
        while (event := self.next()) is not None:
            yield event

    def close(self) -> None:
        """Stop listening."""
        self._socket.close(linger=0)
        self._context.term()


class Line:
    """Tells one process of a node what to do, without waiting for its answers.

    What was told to a process that has died must not reach the one that follows it: a line is
    closed with its process.

    Args:
        context: whose sockets are used.
        folder: the session's runtime folder.
        node: the node.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], folder: Path, node: str) -> None:
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.RECONNECT_IVL, 10)  # ms
        self._socket.connect(command_address(folder, node))
        self._ids = itertools.count(1)

    def tell(self, verb: Verb, args: dict[str, Any] | None = None) -> None:
        """Send a request; what the node answered to earlier ones is let go."""
        while self._socket.poll(0):
            self._socket.recv()
        request = Request(id=next(self._ids), verb=verb, args=args or {})
        with suppress(zmq.Again):  # it takes nothing any more, and will be found out
            self._socket.send(request.model_dump_json().encode(), zmq.DONTWAIT)

    def close(self) -> None:
        """Close it; what was not delivered is dropped."""
        self._socket.close()
