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

from marey.session.guard import start_time

State = Literal[
    "starting", "opened", "ready", "running", "restarting", "ended", "stopped", "failed"
]

_FIRST_DELAY, _LONGEST_DELAY, _CALM = 0.5, 30.0, 60.0  # s


class Child:
    """Starts, watches and ends the process of one node.

    Args:
        name: the node's name.
        kind: how its class is found (`marey.node.registry.reference`).
        settings: its settings as JSON values; kept up to date, for the next start.
        role: camera, device, processor or sink.
    """

    def __init__(
        self, name: str, kind: str, settings: dict[str, Any], role: str, label: str
    ) -> None:
        self.name = name
        self.kind = kind
        self.settings = settings
        self.role = role
        self.label = label
        self.state: State = "starting"
        self.error = ""
        self.restarts = 0
        self.streams: list[str] = []
        self.started = 0.0
        self.due: float | None = None
        self.beats = -1
        self.moved = 0.0
        self.reported = False
        self._quick = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return None if self._process is None else self._process.pid

    @property
    def entry(self) -> str:
        """How the guard knows the process."""
        return f"{self.pid} {start_time(self.pid or 0)}".strip()

    def start(self, session: str, folder: Path, stderr: Callable[[str, str], None]) -> None:
        """Start the process; lines that it writes to stderr go to `stderr(name, line)`."""
        self.state = "starting"
        self.started = self.moved = time.monotonic()
        self.beats = -1
        self.due = None
        self.reported = False
        process = subprocess.Popen(
            [sys.executable, "-m", "marey.node"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        config = {
            "session": session,
            "folder": str(folder),
            "name": self.name,
            "kind": self.kind,
            "settings": self.settings,
        }
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once; poll() will tell
            process.stdin.write(json.dumps(config).encode() + b"\n")
            process.stdin.flush()
        self._process = process
        self._reader = threading.Thread(target=self._read, args=(process, stderr), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[bytes], stderr: Callable[[str, str], None]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                stderr(self.name, line.decode(errors="replace").rstrip())

    def poll(self) -> int | None:
        """The exit code of a process that has ended; None while it runs or was none."""
        return None if self._process is None else self._process.poll()

    def forget(self) -> None:
        """Let go of a process that has ended."""
        process, self._process = self._process, None
        if self._reader is not None:
            self._reader.join(1.0)
        if process is not None and process.stdin is not None:
            with suppress(BrokenPipeError):  # it never read its configuration
                process.stdin.close()

    def schedule(self) -> float:
        """Plan the next start, later each time it dies soon; returns the delay in s."""
        ran = time.monotonic() - self.started
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
        if beats != self.beats:
            self.beats = beats
            self.moved = time.monotonic()

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process, if there is one."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(how)


def describe_exit(code: int) -> str:
    """An exit code in words."""
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"exited with code {code}"
