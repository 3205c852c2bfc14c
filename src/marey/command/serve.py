"""The answering side: a node's socket, served by a thread, obeyed by the node's own loop."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq
from pydantic import ValidationError

from marey._native import Doorbell
from marey.command.messages import Answer, Event, Problem, Request

WELCOME = b"welcome"
"""The first message to who subscribes to events: none is missed from here on."""

LATER = object()
"""Answered by `Server.at_once` where a request must wait for the node's loop."""

_BEAT = 0.5  # s between two signs of life
_MOST = 16 * 2**20  # bytes of one message
_WAITING = 10_000  # events that wait for a supervisor that does not take them
_LINGER = 500  # ms that the last words of a process may take


def command_address(folder: Path, node: str) -> str:
    """Where a node answers commands."""
    return f"ipc://{folder}/{node}.cmd"


def inbox_address(folder: Path) -> str:
    """Where the supervisor takes events from its nodes."""
    return f"ipc://{folder}/session.in"


def events_address(folder: Path) -> str:
    """Where the supervisor tells events to everybody."""
    return f"ipc://{folder}/session.events"


class Nudge:
    """Wakes a thread that polls sockets; any thread and any signal handler may give it."""

    def __init__(self) -> None:
        self._give, self._take = socket.socketpair()
        self._give.setblocking(False)
        self._take.setblocking(False)

    def give(self) -> None:
        """Wake the thread."""
        with suppress(OSError):  # it has been woken often enough, or is not there any more
            self._give.send(b"!")

    def take(self) -> None:
        """Forget the nudges so far."""
        with suppress(BlockingIOError):
            self._take.recv(4096)

    def fileno(self) -> int:
        """What to poll."""
        return self._take.fileno()

    def close(self) -> None:
        """Close it."""
        self._give.close()
        self._take.close()


class Pending:
    """A request that waits for its answer."""

    def __init__(self, server: Server, route: list[bytes], request: Request) -> None:
        self._server = server
        self._route = route
        self.request = request

    def answer(self, value: Any = None) -> None:
        """Answer it."""
        self._server.send(self._route, Answer(id=self.request.id, value=value))

    def progress(self, value: Any) -> None:
        """Tell the asker that the answer is under way."""
        self._server.send(self._route, Answer(id=self.request.id, done=False, value=value))

    def fail(self, node: str, error: BaseException) -> None:
        """Answer it with an error."""
        problem = Problem.of(node, error)
        self._server.send(self._route, Answer(id=self.request.id, problem=problem))


class Server:
    """Receives requests and sends answers and events; thread-safe.

    The thread only carries: requests wait in `pending` until the node's loop obeys them between
    two frames, and `bell` rings for each, so that a loop that sleeps on streams wakes.

    Args:
        folder: the session's runtime folder.
        node: the node's name.
        lifeline: a descriptor whose end tells that the supervisor is gone; None for none.
        notify: called for each request that waits, besides ringing the bell.
    """

    def __init__(
        self,
        folder: Path,
        node: str,
        lifeline: int | None = None,
        notify: Callable[[], None] = lambda: None,
    ) -> None:
        self.node = node
        self.bell = Doorbell()
        self.pending: deque[Pending] = deque()
        self.at_once: Callable[[Request], Any] = lambda request: LATER
        """Answers what need not wait for the loop, in the thread that carries."""
        self.orphaned = False
        self.beats = 0
        self._notify = notify
        self._out: deque[tuple[list[bytes] | None, bytes]] = deque()
        self._dropped = 0
        self._nudge = Nudge()
        self._lifeline = lifeline
        self._stop = False
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.LINGER, _LINGER)
        self._router.setsockopt(zmq.MAXMSGSIZE, _MOST)
        path = Path(command_address(folder, node).removeprefix("ipc://"))
        path.unlink(missing_ok=True)  # left by a process that died under this name
        self._router.bind(command_address(folder, node))
        self._events = self._context.socket(zmq.PUSH)
        self._events.setsockopt(zmq.LINGER, _LINGER)
        self._events.setsockopt(zmq.SNDHWM, _WAITING)
        self._events.connect(inbox_address(folder))
        self._thread = threading.Thread(target=self._carry, name=f"{node}-commands", daemon=True)
        self._thread.start()

    def tell(self, kind: Any, **data: Any) -> None:
        """Tell an event to everybody who listens to the session."""
        event = Event(kind=kind, node=self.node, data=data)
        self._queue(None, event.model_dump_json().encode())

    def send(self, route: list[bytes], answer: Answer) -> None:
        """Send an answer on its way."""
        try:
            text = answer.model_dump_json()
        except ValueError as error:  # the value of an action is nothing that JSON knows
            answer = Answer(id=answer.id, problem=Problem.of(self.node, error))
            text = answer.model_dump_json()
        self._queue(route, text.encode())

    def close(self) -> None:
        """Send what is left and end the thread."""
        self._stop = True
        self._nudge.give()
        self._thread.join()
        self._context.term()
        self._nudge.close()

    def _queue(self, route: list[bytes] | None, text: bytes) -> None:
        self._out.append((route, text))
        self._nudge.give()

    def _carry(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._nudge.fileno(), zmq.POLLIN)
        if self._lifeline is not None:
            poller.register(self._lifeline, zmq.POLLIN)
        beat = time.monotonic() + _BEAT
        while True:
            stopping = self._stop
            self._flush()
            if stopping:
                break
            ready = dict(poller.poll(max(0, int((beat - time.monotonic()) * 1000) + 1)))
            if self._router in ready:
                self._receive()
            if self._nudge.fileno() in ready:
                self._nudge.take()
            if self._lifeline in ready and not os.read(self._lifeline or 0, 4096):
                poller.unregister(self._lifeline)
                self.orphaned = True
                self.bell.ring()
            if time.monotonic() >= beat:
                beat = time.monotonic() + _BEAT
                self.tell("alive", beats=self.beats)
        # Nobody is left to hear the last words of an orphan.
        self._router.close(0 if self.orphaned else _LINGER)
        self._events.close(0 if self.orphaned else _LINGER)

    def _flush(self) -> None:
        while self._out:
            route, text = self._out.popleft()
            try:
                if route is not None:
                    self._router.send_multipart([*route, text], zmq.DONTWAIT)
                    continue
                if self._dropped:
                    lost = f"{self._dropped} events were dropped: nobody took them"
                    data = {"level": "warning", "text": lost}
                    event = Event(kind="log", node=self.node, data=data)
                    self._events.send(event.model_dump_json().encode(), zmq.DONTWAIT)
                    self._dropped = 0
                self._events.send(text, zmq.DONTWAIT)
            except zmq.Again:  # an asker or a supervisor that takes nothing any more
                self._dropped += route is None

    def _receive(self) -> None:
        *route, text = self._router.recv_multipart()
        if not route or not text:
            return
        try:
            request = Request.model_validate_json(text)
        except ValidationError as error:
            why = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'JSON'}: {e['msg']}" for e in error.errors()
            )
            problem = Problem(type="ActionError", message=f"{self.node}: malformed request: {why}")
            self.send(route, Answer(id=0, problem=problem))
            return
        pending = Pending(self, route, request)
        try:
            value = self.at_once(request)
        except Exception as error:  # noqa: BLE001 - goes to the asker; the thread must go on
            pending.fail(self.node, error)
            return
        if value is not LATER:
            pending.answer(value)
            return
        self.pending.append(pending)
        self.bell.ring()
        self._notify()
