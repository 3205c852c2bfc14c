"""Everything that reaches the supervisor, in one place that it can sleep on."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Iterator
from pathlib import Path

import zmq
from pydantic import ValidationError

from marey.command import (
    WELCOME,
    Event,
    Line,
    Nudge,
    Pending,
    Server,
    events_address,
    inbox_address,
)

log = logging.getLogger("marey.session")

_AT_A_TIME = 1000  # of anything, so that a flood of one kind does not hide the others
_LINES = 10_000  # of output that wait; a node that writes more loses some
_LAST_WORDS = 0.02  # s of silence after which a process that has ended has said all
_LONGEST_LAST_WORDS = 0.5  # s


class Post:
    """The supervisor's sockets: events of nodes come in, events for everybody go out.

    Args:
        folder: the session's runtime folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nudge = Nudge()
        self._lines: queue.Queue[tuple[str, str]] = queue.Queue(_LINES)
        self._lost_lines = 0
        self._context = zmq.Context()
        self._inbox = self._context.socket(zmq.PULL)
        self._inbox.setsockopt(zmq.RCVHWM, 100_000)
        self._inbox.setsockopt(zmq.MAXMSGSIZE, 16 * 2**20)
        self._inbox.bind(inbox_address(folder))
        self._listeners = self._context.socket(zmq.XPUB)
        self._listeners.setsockopt(zmq.LINGER, 200)
        self._listeners.setsockopt(zmq.SNDHWM, 10_000)
        self._listeners.setsockopt(zmq.XPUB_WELCOME_MSG, WELCOME)
        self._listeners.bind(events_address(folder))
        self._server = Server(folder, "session", notify=self.nudge)
        self._poller = zmq.Poller()
        self._poller.register(self._inbox, zmq.POLLIN)
        self._poller.register(self._listeners, zmq.POLLIN)
        self._poller.register(self._nudge.fileno(), zmq.POLLIN)

    def nudge(self) -> None:
        """End the present sleep."""
        self._nudge.give()

    def line(self, node: str) -> Line:
        """A line to the process of a node that is about to start."""
        return Line(self._context, self._folder, node)

    def sleep(self, seconds: float) -> None:
        """Sleep until something came, or the time is over."""
        self._poller.poll(int(seconds * 1000))
        self._nudge.take()
        while self._listeners.poll(0):
            self._listeners.recv()  # who subscribes and leaves

    def events(self) -> Iterator[Event]:
        """What nodes have told; what is no event is passed over."""
        for _ in range(_AT_A_TIME):
            try:
                parts = self._inbox.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            try:
                yield Event.model_validate_json(parts[-1])
            except ValidationError as error:
                log.warning("something that is no event came in: %s", error.errors()[0]["msg"])

    def last_words(self) -> Iterator[Event]:
        """What came from a process before it ended."""
        until = time.monotonic() + _LONGEST_LAST_WORDS
        while self._inbox.poll(int(_LAST_WORDS * 1000)) and time.monotonic() < until:
            yield from self.events()

    def requests(self) -> Iterator[Pending]:
        """What the supervisor is asked."""
        while self._server.pending:
            yield self._server.pending.popleft()

    def put_line(self, node: str, text: str) -> None:
        """Hand over a line that a node wrote to its stdout or stderr; called by threads."""
        try:
            self._lines.put_nowait((node, text))
        except queue.Full:
            self._lost_lines += 1
        self.nudge()

    def lines(self) -> Iterator[Event]:
        """Such lines, as events."""
        for _ in range(_AT_A_TIME):
            try:
                node, text = self._lines.get_nowait()
            except queue.Empty:
                break
            yield Event(kind="log", node=node, data={"level": "stderr", "text": text})
        if self._lost_lines:
            log.warning("%d lines of output were dropped: too many at once", self._lost_lines)
            self._lost_lines = 0

    def publish(self, event: Event) -> None:
        """Tell an event to everybody who listens."""
        self._listeners.send(event.model_dump_json().encode())

    def close(self) -> None:
        """Close all sockets; lines to nodes must have been closed before."""
        self._server.close()
        self._inbox.close(linger=0)
        self._listeners.close()
        self._context.term()
        self._nudge.close()
