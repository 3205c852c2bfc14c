"""Programs that tests run as processes of their own, told what to do through pipes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO


def python(code: str, *arguments: object) -> list[str]:
    """The command that runs a piece of Python; warnings are errors there as well."""
    return [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *map(str, arguments)]


class Child:
    """A process that answers lines with lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def tell(self, line: object) -> None:
        """Send it a line."""
        _open(self.process.stdin).write(f"{line}\n")

    def hear(self) -> str:
        """The next line that it prints; waits for it."""
        line = _open(self.process.stdout).readline()
        if not line:
            raise AssertionError(f"{self.pid} ended with {self.process.wait()} and said no more")
        return line.rstrip("\n")

    def ask(self, line: object) -> str:
        """Send it a line and wait for its answer."""
        self.tell(line)
        return self.hear()

    def end(self, expected: int | None = 0) -> str:
        """Close its input and wait for its end; the rest of what it printed."""
        _open(self.process.stdin).close()
        rest = _open(self.process.stdout).read()
        code = self.process.wait()
        assert expected is None or code == expected, f"{self.pid} ended with {code}"
        return rest

    def kill(self) -> None:
        """SIGKILL it and wait until it is gone."""
        self.process.kill()
        self.process.wait()


@contextmanager
def child(code: str, *arguments: object) -> Iterator[Child]:
    """Run a piece of Python beside the test; it is killed at the end where it still runs."""
    process = subprocess.Popen(
        python(code, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,
    )
    try:
        yield Child(process)
    finally:
        with suppress(ProcessLookupError):  # it, and whatever it started
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            _close(pipe)


def _open(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe


def _close(pipe: IO[str] | None) -> None:
    with suppress(BrokenPipeError):  # a line that nobody reads any more
        _open(pipe).close()
