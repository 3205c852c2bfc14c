"""Cleans up after a supervisor that was killed: ends its nodes, removes its folder.

Run as a file, without the package, so that it starts at once and needs next to nothing:
`python -I -S guard.py FOLDER`. On stdin come lines `+PID START` and `-PID START`, and `done` at an
orderly end. When stdin ends without `done`, the nodes have a moment to close by themselves (their
own stdin has ended too), then they are killed; a stopped process (SIGSTOP) dies as well.
"""

import os
import shutil
import signal
import sys
import time

GRACE = 1.2  # s


def start_time(pid: int) -> str:
    """What tells two processes with one pid apart; empty where it cannot be had."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def lives(pid: int, started: str) -> bool:
    """Whether that very process is there."""
    if started:
        return start_time(pid) == started
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def main() -> None:
    """Watch until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    nodes: set[tuple[int, str]] = set()
    for line in sys.stdin:
        if line.strip() == "done":
            return
        pid, _, started = line[1:].strip().partition(" ")
        entry = (int(pid), started)
        if line[0] == "+":
            nodes.add(entry)
        else:
            nodes.discard(entry)
    until = time.monotonic() + GRACE
    while time.monotonic() < until and any(lives(*node) for node in nodes):
        time.sleep(0.02)
    for pid, started in nodes:
        if lives(pid, started):
            os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + GRACE
    while time.monotonic() < until and any(lives(*node) for node in nodes):
        time.sleep(0.01)
    shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
