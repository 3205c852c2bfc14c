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
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import ValidationError

from marey._native import rung
from marey.command import Pending, Server, trace_of
from marey.errors import ActionError, MareyError, SettingError
from marey.node import control
from marey.node.base import Node
from marey.node.registry import resolve
from marey.node.steps import Ended, Step, step_for

EXIT_FAILED = 1
_LOOK_EACH = 0.01  # s, while the stream to read does not exist yet


class Worker:
    """Runs one node until it ends, fails or is told to stop.

    Args:
        config: `session`, `folder`, `name`, `kind` (a reference), `settings`.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.name: str = config["name"]
        self.config = config
        self.folder = Path(config["folder"])
        self.server = Server(self.folder, self.name, lifeline=sys.stdin.fileno())
        self.stopping = False
        self.going = False
        self.attached = False
        self.node: Node | None = None
        self.step: Step | None = None
        self.long: dict[str, tuple[Pending, Any]] = {}

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
        failed = not self._close() or failed
        if not failed:
            self._tell_state("stopped")
        self.server.close()
        return EXIT_FAILED if failed else 0

    def stop(self, signum: int = 0, frame: FrameType | None = None) -> None:
        """End the loop after the present item."""
        self.stopping = True
        self.server.bell.ring()

    # ------------------------------------------------------------ life

    def _open(self) -> None:
        from marey.lab import Lab

        cls = resolve(self.config["kind"])
        try:
            node = cls.model_validate(self.config["settings"])
        except ValidationError as error:
            raise SettingError(control.setting_message(self.name, error)) from error
        node._name = self.name
        node._lab = Lab(self.config["session"], self.folder, reader=self.name)
        self.node = node
        node.open()
        self.step = step_for(node)(node, self.folder, self.server.bell, self.server.tell)
        while not self.step.can_open():
            before = rung(self.server.bell)
            self._serve()
            if self.stopping:
                raise Ended
            self.step.wait(before, _LOOK_EACH)
        self.step.open()
        self._tell_state("opened", streams=list(self.step.streams))

    def _loop(self) -> None:
        assert self.step is not None
        # Cameras and devices wait for the word, so that everybody sees their first frame.
        while True:
            before = rung(self.server.bell)
            self._serve()
            if self.stopping:
                return
            if self.attached and self.going:
                self.step.run(before)
            else:
                self.step.wait(before)

    def _close(self) -> bool:
        fine = True
        for part in (self.step, self.node):
            if part is None:
                continue
            try:
                part.close()
            except BaseException as error:  # noqa: BLE001 - the border of the process: all is reported
                fine = False
                self._tell_error(error)
        for request, _ in self.long.values():
            request.fail(self.name, ActionError(f"{self.name}: was stopped"))
        if self.node is not None and self.node._lab is not None:
            self.node._lab.close()
        return fine

    # ------------------------------------------------------------ commands

    def _serve(self) -> None:
        """Between two items: obey what was asked, advance what is long."""
        self.server.beats += 1
        if self.server.pending:
            self._obey()
        if self.long:
            self._advance()
        if self.server.orphaned:
            self.stopping = True

    def _obey(self) -> None:
        while self.server.pending:
            request = self.server.pending.popleft()
            try:
                self._answer(request)
            except MareyError as error:
                request.fail(self.name, error)
            except Exception as error:  # noqa: BLE001 - reported to the asker and to all listeners
                request.fail(self.name, error)
                self._tell_error(error)

    def _answer(self, pending: Pending) -> None:
        request = pending.request
        node, step = self.node, self.step
        assert node is not None
        assert step is not None
        match request.verb:
            case "describe":
                pending.answer(control.describe(node) | {"streams": list(step.streams)})
            case "get":
                pending.answer(self._get(request.name))
            case "check":
                control.candidate(node, request.args)
                pending.answer()
            case "set":
                pending.answer(self._set(request.args))
            case "do":
                self._do(pending)
            case "attach":
                step.attach(request.args["streams"])
                self.attached = True
                pending.answer()
                self._tell_state("ready")
            case "go":
                self.going = True
                pending.answer()
            case "stop":
                pending.answer()
                self.stop()
            case other:
                raise ActionError(f"{self.name}: a node does not know '{other}'")

    def _get(self, name: str) -> Any:
        assert self.node is not None
        values = control.settings_of(self.node)
        if not name:
            return values
        if name not in values:
            control.candidate(self.node, {name: None})  # raises, naming what there is
        return values[name]

    def _set(self, changes: dict[str, Any]) -> dict[str, Any]:
        node, step = self.node, self.step
        assert node is not None
        assert step is not None
        wanted, names = control.candidate(node, changes)
        fields = type(node).model_fields
        before = node.model_copy()
        reopen = any(control.extra(fields[name])["apply"] == "reopen" for name in names)
        if reopen:
            node.close()
        control.assign(node, wanted, names)
        try:
            if reopen:
                node.open()
                step.open()
            elif names:
                node.changed(names)
        except Exception as error:
            control.assign(node, before, names)
            if reopen:
                node.open()
                step.open()
            else:
                node.changed(names)
            if isinstance(error, MareyError):
                raise
            raise SettingError(f"{self.name}: {error}") from error
        values = {name: control.plain(getattr(node, name)) for name in names}
        if names:
            self.server.tell("setting", values=values, seq=step.seq)
        return {name: control.plain(getattr(node, name)) for name in changes}

    def _do(self, pending: Pending) -> None:
        assert self.node is not None
        name = pending.request.name
        if name in self.long:
            raise ActionError(f"{self.name}.{name}(): is running already")
        before = control.settings_of(self.node)
        value = control.call(self.node, name, pending.request.args)
        if control.is_long(value):
            self.long[name] = (pending, value)
            return
        pending.answer(control.plain(value))
        self._tell_changes(before)

    def _tell_changes(self, before: dict[str, Any]) -> None:
        """Actions may change settings; listeners and the next start must know."""
        assert self.node is not None
        assert self.step is not None
        after = control.settings_of(self.node)
        values = {name: value for name, value in after.items() if value != before[name]}
        if values:
            self.server.tell("setting", values=values, seq=self.step.seq)

    def _advance(self) -> None:
        assert self.node is not None
        for name, (pending, action) in list(self.long.items()):
            before = control.settings_of(self.node)
            try:
                fraction, text = next(action)
            except StopIteration as end:
                del self.long[name]
                pending.answer(control.plain(end.value))
                self._tell_changes(before)
            except Exception as error:  # noqa: BLE001 - reported to the asker and to all listeners
                del self.long[name]
                pending.fail(self.name, error)
                if not isinstance(error, MareyError):
                    self._tell_error(error)
            else:
                pending.progress([fraction, text])
                self.server.tell("progress", action=name, fraction=fraction, text=text)

    # ------------------------------------------------------------ reports

    def _tell_state(self, state: str, **data: Any) -> None:
        self.server.tell("state", state=state, pid=os.getpid(), **data)

    def _tell_error(self, error: BaseException) -> None:
        text = str(error) or type(error).__name__
        if not isinstance(error, MareyError):
            text = f"{type(error).__name__}: {text}"
        if not text.startswith(self.name):
            text = f"{self.name}: {text}"
        self.server.tell(
            "error", text=text, trace=trace_of(error), known=isinstance(error, MareyError)
        )


class _Forward(logging.Handler):
    """Log lines become events."""

    def __init__(self, server: Server) -> None:
        super().__init__(logging.INFO)
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        self._server.tell("log", level=record.levelname.lower(), text=self.format(record))


def main() -> int:
    """Entry of `python -m marey.node`: the configuration comes as one line of JSON on stdin."""
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as stdin:
        worker = Worker(json.loads(stdin.readline()))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides what Ctrl-C means
    signal.signal(signal.SIGTERM, worker.stop)
    logging.getLogger("marey").setLevel(logging.INFO)
    logging.getLogger().addHandler(_Forward(worker.server))
    return worker.run()
