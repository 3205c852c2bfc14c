"""The answering side: a node's socket, served by a thread, obeyed by the node's own loop."""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq
from pydantic import ValidationError

from marey._native import Doorbell
from marey.command.messages import Answer, Event, Problem, Request

_BEAT = 500  # ms between two signs of life


def command_address(folder: Path, node: str) -> str:
    """Where a node answers commands."""
    return f"ipc://{folder}/{node}.cmd"


def inbox_address(folder: Path) -> str:
    """Where the supervisor takes events from its nodes."""
    return f"ipc://{folder}/session.in"


def events_address(folder: Path) -> str:
    """Where the supervisor tells events to everybody."""
    return f"ipc://{folder}/session.events"


class Pending:
    """A request that waits for its answer."""

    def __init__(self, server: Server, route: bytes, request: Request) -> None:
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
    """

    def __init__(self, folder: Path, node: str, lifeline: int | None = None) -> None:
        self.node = node
        self.bell = Doorbell()
        self.pending: deque[Pending] = deque()
        self.orphaned = False
        self.beats = 0
        self._out: deque[tuple[bytes | None, bytes]] = deque()
        self._kick, self._kicked = socket.socketpair()
        self._kick.setblocking(False)
        self._kicked.setblocking(False)
        self._lifeline = lifeline
        self._folder = folder
        self._stop = False
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.LINGER, 500)
        self._router.setsockopt(zmq.MAXMSGSIZE, 16 * 2**20)
        path = Path(command_address(folder, node).removeprefix("ipc://"))
        path.unlink(missing_ok=True)  # left by a process that died under this name
        self._router.bind(command_address(folder, node))
        self._events = self._context.socket(zmq.PUSH)
        self._events.setsockopt(zmq.LINGER, 500)
        self._events.connect(inbox_address(folder))
        self._thread = threading.Thread(target=self._carry, name=f"{node}-commands", daemon=True)
        self._thread.start()

    def tell(self, kind: Any, **data: Any) -> None:
        """Tell an event to everybody who listens to the session."""
        event = Event(kind=kind, node=self.node, data=data)
        self._queue(None, event.model_dump_json().encode())

    def send(self, route: bytes, answer: Answer) -> None:
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
        self._wake()
        self._thread.join()
        self._context.term()
        self._kick.close()
        self._kicked.close()

    def _queue(self, route: bytes | None, text: bytes) -> None:
        self._out.append((route, text))
        self._wake()

    def _wake(self) -> None:
        with suppress(BlockingIOError):  # it has been woken often enough
            self._kick.send(b"!")

    def _carry(self) -> None:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        poller.register(self._kicked, zmq.POLLIN)
        if self._lifeline is not None:
            poller.register(self._lifeline, zmq.POLLIN)
        while True:
            stopping = self._stop
            self._flush()
            if stopping:
                break
            ready = dict(poller.poll(_BEAT))
            if self._router in ready:
                self._receive()
            if self._kicked.fileno() in ready:
                self._kicked.recv(4096)
            if self._lifeline in ready and not os.read(self._lifeline or 0, 4096):
                poller.unregister(self._lifeline)
                self.orphaned = True
                self.bell.ring()
            if not ready:
                self.tell("alive", beats=self.beats)
        self._router.close()
        self._events.close()

    def _flush(self) -> None:
        while self._out:
            route, text = self._out.popleft()
            try:
                if route is None:
                    self._events.send(text, zmq.DONTWAIT)
                else:
                    self._router.send_multipart([route, text], zmq.DONTWAIT)
            except zmq.Again:
                pass  # nobody takes events any more: the supervisor is gone

    def _receive(self) -> None:
        route, text = self._router.recv_multipart()
        try:
            request = Request.model_validate_json(text)
        except ValidationError as error:
            problem = Problem(
                type="ActionError", message=f"{self.node}: malformed request: {error}"
            )
            self.send(route, Answer(id=0, problem=problem))
            return
        self.pending.append(Pending(self, route, request))
        self.bell.ring()
