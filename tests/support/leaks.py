"""What a test may leave behind, and finding it."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

_GRACE = 3.0  # what is being torn down may take this long to go, s
_LASTING = ("zarr_io", "asyncio_")  # threads that zarr keeps for the whole process


@dataclass(frozen=True)
class Leaks:
    """What this process held at one moment, to be compared with what it holds later."""

    mark_of_test: str
    processes: frozenset[int]
    threads: frozenset[threading.Thread]
    descriptors: frozenset[tuple[int, str]]

    @classmethod
    def mark(cls, monkeypatch: pytest.MonkeyPatch) -> Leaks:
        """Note what there is; child processes are known by a variable that they inherit."""
        mark = f"marey-test-{uuid.uuid4().hex}"
        monkeypatch.setenv("MAREY_TEST", mark)
        children = frozenset(child.pid for child in psutil.Process().children())
        return cls(mark, children, frozenset(threading.enumerate()), _descriptors())

    def found(self) -> list[str]:
        """What is left over after a moment of grace."""
        until = time.monotonic() + _GRACE
        while left := self._look():
            if time.monotonic() > until:
                return left
            gc.collect()
            time.sleep(0.01)
        return []

    def _look(self) -> list[str]:
        left = [f"process {p.pid} ({_command(p)})" for p in self._processes()]
        left += [
            f"thread {t.name}"
            for t in threading.enumerate()
            if t not in self.threads and not t.name.startswith(_LASTING)
        ]
        left += [f"descriptor {fd} ({what})" for fd, what in _descriptors() - self.descriptors]
        left += [
            f"folder {folder}"
            for parent in (Path("/dev/shm"), Path("/tmp"))
            for folder in parent.glob(f"marey-test-{os.getpid()}-*")
        ]
        return left

    def _processes(self) -> list[psutil.Process]:
        """New children, and whatever the test started that has lost its parent."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.pid == os.getpid() or process.pid in self.processes:
                    continue
                child = process.ppid() == os.getpid()
                if child or process.environ().get("MAREY_TEST") == self.mark_of_test:
                    found.append(process)
            except psutil.Error:
                continue
        return found


def mappings_of(folder: Path) -> set[str]:
    """Files below the folder that this process still has mapped."""
    try:
        maps = Path("/proc/self/maps").read_text()
    except FileNotFoundError:  # no /proc: nothing to see
        return set()
    return {
        line.split(maxsplit=5)[5].removeprefix(f"{folder}/")
        for line in maps.splitlines()
        if f"{folder}/" in line
    }


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:120] or process.name()
    except psutil.Error:
        return "gone meanwhile"


def _listens(number: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(number)) as found:
            return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def _descriptors() -> frozenset[tuple[int, str]]:
    """Open files, pipes and listening sockets; what event loops keep for themselves is no leak."""
    found = set()
    try:
        numbers = os.listdir("/proc/self/fd")
    except FileNotFoundError:
        return frozenset()
    for number in numbers:
        try:
            what = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # the descriptor of this very listing
        if what.startswith("socket:") and not _listens(int(number)):
            continue
        if not what.startswith(("anon_inode:", "/dev/")):
            found.add((int(number), what))
    return frozenset(found)
