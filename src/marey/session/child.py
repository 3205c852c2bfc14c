"""One node's process as its supervisor sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from marey.command import Line, plain
from marey.node import Node
from marey.node.control import extra, role
from marey.node.registry import kind_of, reference

State = Literal[
    "starting",
    "waiting",
    "opened",
    "ready",
    "running",
    "restarting",
    "ended",
    "stopped",
    "failed",
]

_FIRST_DELAY, _LONGEST_DELAY, _CALM = 0.5, 30.0, 60.0  # s
_LONGEST_LINE = 65536  # bytes


class Child:
    """Starts, watches and ends the process of one node.

    Args:
        name: the node's name.
        node: its class and first settings.
        shared: session-wide settings; the node takes those that it follows and was not given.
    """

    def __init__(self, name: str, node: Node, shared: BaseModel) -> None:
        cls = type(node)
        self.name = name
        self.kind = reference(cls)
        """How its class is found."""
        self.label = kind_of(cls)
        """The registered name of its class."""
        self.role = role(cls)
        self.node = node
        self.follows = {
            field for field, facts in cls.model_fields.items() if extra(facts)["follows"]
        } & type(shared).model_fields.keys()
        self.settings: dict[str, Any] = plain(node.model_dump())
        """As JSON values, kept up to date, for the next start."""
        for field in self.follows - node.model_fields_set:
            self.settings[field] = plain(getattr(shared, field))
        self.owed: dict[str, Any] = {}
        """Settings that changed while the process was not there to hear of it."""
        self.state: State = "starting"
        self.error = ""
        self.restarts = 0
        self.streams: list[str] = []
        self.due: float | None = None
        self.done = False
        """Whether the process has said its last word."""
        self.reported = False
        """Whether the process has said why it fails."""
        self.leaving = False
        """Whether it has been asked to stop and will not be started anew."""
        self.condemned = False
        """Whether it was killed because it did not get on."""
        self.dismissed = False
        """Whether the supervisor ended it on purpose, and its exit code tells nothing."""
        self.entry = ""
        """How the guard knows the process."""
        self.line: Line | None = None
        self._started = self._moved = 0.0
        self._beats = -1
        self._quick = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    @property
    def comes(self) -> bool:
        """Whether there is a process, or will be one again."""
        return self._process is not None or self.due is not None

    def start(
        self,
        session: str,
        folder: Path,
        line: Line,
        output: Callable[[str, str], None],
        ended: Callable[[], None],
    ) -> None:
        """Start the process.

        Args:
            session: the session's name.
            folder: its runtime folder.
            line: on which this process is told what to do.
            output: called with the node's name and each line that it writes to stdout or stderr,
                in a thread.
            ended: called in a thread when the process has ended.
        """
        self.state = "starting"
        self._started = self._moved = time.monotonic()
        self._beats = -1
        self.due = None
        self.done = self.reported = self.dismissed = self.condemned = False
        self.line = line
        config = {
            "session": session,
            "folder": str(folder),
            "name": self.name,
            "kind": self.kind,
            "label": self.label,
            "settings": self.settings,
            "path": [os.path.abspath(part) for part in sys.path],
            "argv": sys.argv,
        }
        # The folder and the name are told once more where `ps` and the guard can see them.
        process = subprocess.Popen(
            [sys.executable, "-m", "marey.node", str(folder), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self._process = process
        self._reader = threading.Thread(
            target=self._follow,
            args=(process, json.dumps(config).encode() + b"\n", output, ended),
            name=f"{self.name}-output",
            daemon=True,
        )
        self._reader.start()

    def _follow(
        self,
        process: subprocess.Popen[bytes],
        config: bytes,
        output: Callable[[str, str], None],
        ended: Callable[[], None],
    ) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError, ValueError):  # it died at once; poll() will tell
            process.stdin.write(config)
            process.stdin.flush()
        with process.stdout:
            while line := process.stdout.readline(_LONGEST_LINE):
                output(self.name, line.decode(errors="replace").rstrip())
        process.wait()
        ended()

    def poll(self) -> int | None:
        """The exit code of a process that has ended; None while it runs or was none."""
        return None if self._process is None else self._process.poll()

    def forget(self) -> None:
        """Let go of a process that has ended; what it started itself is ended with it."""
        process, self._process = self._process, None
        if self.line is not None:
            self.line.close()
            self.line = None
        if process is None:
            return
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        if self._reader is not None:
            self._reader.join(1.0)
        if process.stdin is not None:
            with suppress(BrokenPipeError):  # it never read its configuration
                process.stdin.close()

    def schedule(self) -> float:
        """Plan the next start, later each time it dies soon; returns the delay in s."""
        ran = time.monotonic() - self._started
        self._quick = 0 if ran > _CALM else self._quick + 1
        delay = (
            0.0 if self._quick <= 1 else min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (self._quick - 2))
        )
        self.state = "restarting"
        self.restarts += 1
        self.due = time.monotonic() + delay
        return delay

    def beat(self, beats: int) -> None:
        """Note a sign of life: the rounds of the node's loop so far."""
        if beats != self._beats:
            self._beats = beats
            self.moved()

    def moved(self) -> None:
        """Note that it gets on."""
        self._moved = time.monotonic()

    def overdue(self) -> str:
        """Why the process is to be killed, or nothing."""
        now = time.monotonic()
        starting, hang = self.settings["start_timeout"], self.settings["hang_timeout"]
        # Later on it waits for others: for the stream that it reads, for all to be ready.
        if self.state == "starting" and now - self._started > starting:
            return f"{self.name}: not ready after {starting:g} s"
        if self.state in ("waiting", "opened", "ready", "running") and now - self._moved > hang:
            return f"{self.name}: no sign of life for {hang:g} s"
        return ""

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process, if there is one."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code == 0:
        return "ended without having been asked to"
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"exited with code {code}"
