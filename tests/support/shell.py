"""Running `marey` as a shell does, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

COMMAND = [sys.executable, "-m", "marey.cli"]
_PATIENCE = 60.0  # s, on a machine that is busy


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which must be one JSON value."""
        return json.loads(self.out)


def marey(*arguments: str, **environment: str) -> Ended:
    """Run a command to its end."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
        env=os.environ | environment,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@dataclass
class Running:
    """A session that was started by `marey run` and says that all of its nodes run."""

    process: subprocess.Popen[str]
    name: str
    said: list[str]

    def end(self, *signals: signal.Signals) -> Ended:
        """Send signals, one by one, and wait for the end."""
        for number in signals:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=_PATIENCE)
        return Ended(self.process.returncode, "".join(self.said) + out, err)


@contextmanager
def running(*arguments: str, lines: int = 1, command: str = "run") -> Iterator[Running]:
    """`marey run ...` while the block lasts, from the moment at which its nodes run.

    Args:
        arguments: what stands behind the command.
        lines: how many lines it says when its nodes run.
        command: `run` or `demo`.
    """
    process = subprocess.Popen(
        [*COMMAND, command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = [process.stdout.readline() for _ in range(lines)]
        if not said[0].startswith("session "):
            raise AssertionError(f"it did not start: {said} {process.communicate()}")
        yield Running(process, said[0].split()[1].rstrip(":"), said)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=_PATIENCE)
        process.stdout.close()
        process.stderr.close()
