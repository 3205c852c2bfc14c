"""The process of one node: the only loop of the program.

It builds the node, opens it, shakes hands with the supervisor, deals with one item after the
other, obeys commands between items, and closes in order whatever happened.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import ValidationError

from marey._native import rung
from marey.command import Pending, Server, trace_of
from marey.errors import ActionError, MareyError, SettingError
from marey.node.base import Node
from marey.node.control import setting_message
from marey.node.obey import Obedience
from marey.node.registry import resolve
from marey.node.roles import step_for
from marey.node.steps import Ended, Step

EXIT_FAILED = 1
_LOOK_EACH = 0.01  # s, while the stream to read does not exist yet


class Worker:
    """Runs one node until it ends, fails or is told to stop.

    Args:
        config: `session`, `folder`, `name`, `kind` (a reference), `label`, `settings`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.name: str = config["name"]
        self.config = config
        self.folder = Path(config["folder"])
        self.server = Server(self.folder, self.name, lifeline=sys.stdin.fileno())
        self.stopping = False
        self.opening = False
        self.going = False
        self.attached = False
        self.node: Node | None = None
        self.step: Step | None = None
        self.obedience: Obedience | None = None

    def run(self) -> int:
        """Run the node; returns the exit code of its process."""
        failed = False
        try:
            self._open()
            self._loop()
        except Ended:
            self._tell_state("ended")
        except BaseException as error:  # noqa: BLE001 - the border of the process: all is reported
            failed = True
            self._tell_error(error)
        failed = not self._close(ended=not failed) or failed
        if not failed:
            self._tell_state("stopped")
        self.server.close()
        return EXIT_FAILED if failed else 0

    def stop(self) -> None:
        """End the loop after the present item."""
        self.stopping = True
        self.server.bell.ring()

    def terminate(self, signum: int, frame: FrameType | None) -> None:
        """SIGTERM: as `stop`, but `open`, which may take long, is broken off."""
        self.stop()
        if self.opening:
            self.opening = False
            raise Ended

    # ------------------------------------------------------------ life

    def _open(self) -> None:
        from marey.lab import Lab

        cls = resolve(self.config["kind"], self.config["label"])
        try:
            node = cls.model_validate(self.config["settings"])
        except ValidationError as error:
            raise SettingError(setting_message(self.name, error)) from error
        node._name = self.name
        lab = node._lab = Lab(self.config["session"], self.folder, reader=self.name)
        self.node = node
        self.opening = True
        if self.stopping:
            raise Ended
        node.open()
        self.opening = False
        self.step = step_for(node)(node, self.folder, self.server.bell, self.server.tell)
        obedience = Obedience(node, self.step, self.server.tell, self._tell_error)
        self.obedience = obedience
        self.server.at_once = lambda request: obedience.at_once(request, lab._asker.waiting)
        if not self.step.can_open():
            self._tell_state("waiting")
        while not self.step.can_open():
            before = rung(self.server.bell)
            self._serve()
            if self.stopping:
                raise Ended
            self.step.wait(before, _LOOK_EACH)
        self.step.open()
        obedience.opened = True
        self._tell_state("opened", streams=list(self.step.streams))

    def _loop(self) -> None:
        assert self.step is not None
        # Cameras and devices wait for the word, so that everybody sees their first frame.
        while True:
            before = rung(self.server.bell)
            self._serve()
            if self.stopping:
                return
            if self.going:
                self.step.run(before)
            else:
                self.step.wait(before)

    def _close(self, ended: bool) -> bool:
        step, node, obedience = self.step, self.node, self.obedience
        parts: list[Callable[[], None]] = []
        if obedience is not None:
            parts.append(obedience.close)
        if step is not None:
            parts.append(lambda: step.close(ended))
        if node is not None:
            parts.append(node.close)
        fine = True
        for part in parts:
            try:
                part()
            except BaseException as error:  # noqa: BLE001 - the border of the process: all is reported
                fine = False
                self._tell_error(error)
        for pending in self._taken():
            pending.fail(self.name, ActionError(f"{self.name}: has stopped"))
        if node is not None and node._lab is not None:
            node._lab.close()
        return fine

    # ------------------------------------------------------------ commands

    def _serve(self) -> None:
        """Between two items: obey what was asked, advance what is long."""
        assert self.obedience is not None
        self.server.beats += 1
        if self.server.pending:
            for pending in self._taken():
                self._answer(pending)
        if self.obedience.long:
            self.obedience.advance()
        if self.obedience.touched:
            self.obedience.tell_touched(now=False)
        if self.server.orphaned:
            self.stopping = True

    def _taken(self) -> list[Pending]:
        """What waits now; what comes meanwhile is for the next round."""
        return [self.server.pending.popleft() for _ in range(len(self.server.pending))]

    def _answer(self, pending: Pending) -> None:
        assert self.step is not None
        assert self.obedience is not None
        match pending.request.verb:
            case "attach" if not self.attached and self.obedience.opened:
                self.attached = True
                self.step.attach(pending.request.args["streams"])
                self._tell_state("ready")
            case "go" if self.attached:
                self.going = True
                self._tell_state("running")
            case "stop":
                self.stop()
            case _:
                self.obedience.obey(pending)
                return
        pending.answer()

    # ------------------------------------------------------------ reports

    def _tell_state(self, state: str, **data: Any) -> None:
        self.server.tell("state", state=state, pid=os.getpid(), **data)

    def _tell_error(self, error: BaseException) -> None:
        text = str(error) or type(error).__name__
        if not isinstance(error, MareyError):
            text = f"{type(error).__name__}: {text}"
        if not text.startswith((f"{self.name}:", f"{self.name}.")):
            text = f"{self.name}: {text}"
        known = isinstance(error, MareyError)
        self.server.tell("error", text=text, trace=trace_of(error), known=known)


class _Forward(logging.Handler):
    """Log lines become events."""

    def __init__(self, server: Server) -> None:
        super().__init__(logging.INFO)
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        self._server.tell("log", level=record.levelname.lower(), text=self.format(record))


def main() -> int:
    """Entry of `python -m marey.node`: the configuration comes as one line of JSON on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides what Ctrl-C means
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stdin:
        config = json.loads(_line(stdin.read))
    # What the session's own process can import, this one can import too.
    sys.path[:] = config["path"]
    sys.argv[:] = config["argv"]
    worker = Worker(config)
    signal.signal(signal.SIGTERM, worker.terminate)
    logging.getLogger("marey").setLevel(logging.INFO)
    logging.getLogger().addHandler(_Forward(worker.server))
    return worker.run()


def _line(read: Callable[[int], bytes]) -> bytes:
    """The first line; nothing follows it, so that reading more than a byte at a time is safe."""
    line = bytearray()
    while not line.endswith(b"\n"):
        part = read(65536)
        if not part:
            raise SystemExit("the supervisor has ended before it told what to run")
        line += part
    return bytes(line)
