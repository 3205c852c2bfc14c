"""The asking side: requests to the nodes of a session."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

from marey.command.listen import Listener
from marey.command.messages import Answer, Request, Verb, plain
from marey.command.serve import command_address
from marey.errors import ActionError, NoAnswer, SessionError

_LOOK = 0.25  # s between two looks whether the session still runs


class Asker:
    """Asks nodes of one session; may be used by several threads.

    Args:
        folder: the session's runtime folder.
        who: the node in whose process this is; empty for anybody else.
        running: tells whether the session still runs, so that nobody waits for the dead.
    """

    def __init__(
        self, folder: Path, who: str = "", running: Callable[[], bool] = lambda: True
    ) -> None:
        self.waiting = ""
        """The node for whose answer the main thread is waiting."""
        self._folder = folder
        self._who = who
        self._running = running
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._closed = False
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
            progress: called with [fraction, text] while a long action runs.

        Raises:
            NoAnswer: the node did not answer in time.
            SessionError: the session has ended.
            ActionError: a node asked itself, or an argument is nothing that can be sent.
            MareyError: what the node answered, as the same error.
        """
        loop = threading.current_thread() is threading.main_thread()
        if loop and node == self._who and verb in ("set", "do"):
            raise ActionError(
                f"{node}: asks itself, and would wait for ever; call its own method, or assign to "
                "its own setting, instead"
            )
        try:
            sent = plain(args or {})
        except ValueError as error:
            raise ActionError(f"{node}.{name or verb}: {error}") from error
        request = Request(id=next(self._ids), verb=verb, name=name, args=sent, asker=self._who)
        complaint = f"{node}: no answer to '{f'{verb} {name}'.rstrip()}'"
        socket = self._take(node)
        before = self.waiting
        try:
            if loop:
                self.waiting = node
            socket.send(request.model_dump_json().encode())
            answer = self._answer(socket, request.id, complaint, timeout, progress)
        except BaseException:
            socket.close(linger=0)  # a late answer must not meet the next question
            raise
        finally:
            if loop:
                self.waiting = before
        self._give_back(node, socket)
        if answer.problem is not None:
            raise answer.problem.error()
        return answer.value

    def _answer(
        self,
        socket: zmq.Socket[bytes],
        number: int,
        complaint: str,
        timeout: float,
        progress: Callable[[Any], None] | None,
    ) -> Answer:
        until = time.monotonic() + timeout
        while True:
            left = until - time.monotonic()
            if left <= 0:
                raise NoAnswer(f"{complaint} within {timeout:g} s")
            if not socket.poll(int(min(left, _LOOK) * 1000) + 1):
                if not self._running():
                    raise SessionError(f"{complaint}: the session has ended")
                continue
            answer = Answer.model_validate_json(socket.recv())
            if answer.id != number:
                if answer.id == 0 and answer.problem is not None:  # it could not read the request
                    raise answer.problem.error()
                continue
            if answer.done:
                return answer
            until = time.monotonic() + timeout
            if progress is not None and answer.value is not None:
                progress(answer.value)

    def _take(self, node: str) -> zmq.Socket[bytes]:
        with self._lock:
            if self._closed:
                raise SessionError(f"{node}: cannot be asked through a lab that was closed")
            idle = self._idle.get(node)
            if idle:
                return idle.pop()
            if self._context is None:
                self._context = zmq.Context()
            socket = self._context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)  # ms; a node that is starting anew
        socket.connect(command_address(self._folder, node))
        return socket

    def _give_back(self, node: str, socket: zmq.Socket[bytes]) -> None:
        with self._lock:
            if not self._closed:
                self._idle.setdefault(node, []).append(socket)
                return
        socket.close()

    def listen(self, patience: float) -> Listener:
        """Listen to the session's events from now on; see `Listener`."""
        return Listener(self._folder, self._running, patience)

    def close(self) -> None:
        """Close all sockets; a question that still waits for its answer is waited for."""
        with self._lock:
            self._closed = True
            for socket in itertools.chain.from_iterable(self._idle.values()):
                socket.close()
            self._idle.clear()
        if self._context is not None:
            self._context.term()
