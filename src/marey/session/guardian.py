"""The guard as its supervisor sees it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from marey.session import guard

log = logging.getLogger("marey.session")

_PATIENCE = 2.0  # s that the guard has to end


class Guardian:
    """Keeps a guard beside the supervisor: starts it, tells it of nodes, replaces it when it dies.

    Args:
        folder: the session's runtime folder.
        tell: told how another process knows the guard (pid and start time), whenever it is
            started.
    """

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell_of = tell
        self._entries: list[str] = []
        self._process = self._start()

    def add(self, pid: int) -> str:
        """Tell it of a node's process; returns the entry by which to take it back."""
        entry = entry_of(pid)
        self._entries.append(entry)
        self._tell(f"+{entry}")
        return entry

    def remove(self, entry: str) -> None:
        """Tell it that a node's process has ended."""
        self._entries.remove(entry)
        self._tell(f"-{entry}")

    def look(self) -> bool:
        """Start another if it has died; whether that was so."""
        if self._process.poll() is None:
            return False
        self._let_go()
        self._process = self._start()
        for entry in self._entries:
            self._tell(f"+{entry}")
        return True

    def done(self) -> None:
        """Tell it that nothing is left to guard, and wait for its end."""
        self._tell("done")
        self._let_go()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:  # somebody stopped it
            self._process.kill()
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__, str(self._folder), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._tell_of(entry_of(process.pid))
        return process

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died; the next look starts another
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def _let_go(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()


def entry_of(pid: int) -> str:
    """A process with what tells it from another of the same pid."""
    return f"{pid} {guard.start_time(pid)}".strip()
