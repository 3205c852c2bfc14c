"""The asking side: requests to nodes, and the events of a session."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq

from marey.command.messages import Answer, Event, Request, Verb
from marey.command.serve import command_address, events_address
from marey.errors import NoAnswer

_WELCOME = 2  # s


class Asker:
    """Asks nodes of one session; may be used by several threads.

    Args:
        folder: the session's runtime folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._context = zmq.Context()
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._idle: dict[str, list[zmq.Socket[bytes]]] = {}

    def ask(
        self,
        node: str,
        verb: Verb,
        name: str = "",
        args: dict[str, Any] | None = None,
        *,
        timeout: float = 10.0,
        progress: Callable[[Any], None] | None = None,
    ) -> Any:
        """Ask a node and wait for its answer.

        Args:
            timeout: how long to wait for the answer, or for the next sign of progress, s.
            progress: called with each sign of progress of a long action.

        Raises:
            NoAnswer: the node did not answer in time.
            MareyError: what the node answered, as the same error.
        """
        request = Request(id=next(self._ids), verb=verb, name=name, args=args or {})
        socket = self._take(node)
        socket.send(request.model_dump_json().encode())
        until = time.monotonic() + timeout
        while True:
            left = until - time.monotonic()
            if left <= 0 or not socket.poll(int(left * 1000) + 1):
                socket.close(linger=0)  # a late answer must not meet the next question
                raise NoAnswer(
                    f"{node}: no answer to '{verb} {name}'".rstrip() + f" within {timeout:g} s"
                )
            answer = Answer.model_validate_json(socket.recv())
            if answer.id != request.id:
                continue
            if not answer.done:
                until = time.monotonic() + timeout
                if progress is not None:
                    progress(answer.value)
                continue
            self._give_back(node, socket)
            if answer.problem is not None:
                raise answer.problem.error()
            return answer.value

    def _take(self, node: str) -> zmq.Socket[bytes]:
        with self._lock:
            idle = self._idle.get(node)
            if idle:
                return idle.pop()
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(command_address(self._folder, node))
        return socket

    def _give_back(self, node: str, socket: zmq.Socket[bytes]) -> None:
        with self._lock:
            self._idle.setdefault(node, []).append(socket)

    def listen(self) -> Listener:
        """Listen to the session's events from now on."""
        return Listener(self._folder)

    def close(self) -> None:
        """Close all sockets."""
        with self._lock:
            for socket in itertools.chain.from_iterable(self._idle.values()):
                socket.close(linger=0)
            self._idle.clear()
        self._context.term()


class Listener:
    """An iterator over the events of a session; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.connect(events_address(folder))
        # The welcome tells that the subscription stands: no event is missed from here on.
        if self._socket.poll(_WELCOME * 1000):
            self._socket.recv()

    def next(self, timeout: float | None = None) -> Event | None:
        """The next event; None when `timeout` seconds passed without one."""
        if not self._socket.poll(None if timeout is None else int(timeout * 1000)):
            return None
        return Event.model_validate_json(self._socket.recv())

    def __iter__(self) -> Iterator[Event]:
        while (event := self.next()) is not None:
            yield event

    def close(self) -> None:
        """Stop listening."""
        self._socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
