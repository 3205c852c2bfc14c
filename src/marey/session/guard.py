"""Cleans up after a supervisor that was killed: ends its nodes, removes its folder.

Run as a file, without the package, so that it starts at once and needs next to nothing:
`python -I -S guard.py FOLDER PID`, PID being the supervisor's. On stdin come lines `+PID START` and
`-PID START`, and `done` at an orderly end. When stdin ends without `done`, or the supervisor is
gone, the nodes have a moment to close by themselves (their own stdin has ended too), then they are
killed with all that they started; a stopped process (SIGSTOP) dies as well.
"""

import contextlib
import os
import select
import shutil
import signal
import sys
import time

GRACE = 1.0  # s
_LOOK = 0.5  # s between two looks whether the supervisor lives: a fork of it may hold our stdin
_LAST = "session.json"


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
    return not os.path.exists(f"/proc/{pid}/stat")  # a zombie is not


def nodes_in(folder: str) -> set[tuple[int, str]]:
    """Processes of nodes whose session has that folder, by their command line; Linux only."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.listdir("/proc"):
            if not entry.isdecimal():
                continue
            with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
                if b"marey.node" in words and os.fsencode(folder) in words:
                    found.add((int(entry), start_time(int(entry))))
    return found


def kill(pid: int) -> None:
    """Kill a node's process and whatever it started: nodes lead process groups of their own."""
    for how in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            how(pid, signal.SIGKILL)


def end(nodes: set[tuple[int, str]], grace: float) -> None:
    """Wait for processes to end, then kill them."""
    until = time.monotonic() + grace
    while time.monotonic() < until and any(lives(*node) for node in nodes):
        time.sleep(0.01)
    left = [node for node in nodes if lives(*node)]
    for pid, _ in left:
        kill(pid)
    until = time.monotonic() + GRACE
    while time.monotonic() < until and any(lives(*node) for node in left):
        time.sleep(0.01)


def empty(folder: str, where: int) -> None:
    """Remove a folder and all in it, even if another has taken its name meanwhile.

    Args:
        folder: its path.
        where: a descriptor of the folder itself.
    """
    names = sorted(os.listdir(where), key=lambda name: name == _LAST)
    for name in names:
        try:
            os.unlink(name, dir_fd=where)
        except IsADirectoryError:
            shutil.rmtree(name, ignore_errors=True, dir_fd=where)
        except OSError:
            pass
    with contextlib.suppress(OSError):
        ours, there = os.fstat(where), os.stat(folder)
        if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino):
            os.rmdir(folder)  # another session's is never empty


def watch(parent: int) -> set[tuple[int, str]] | None:
    """Follow what the supervisor says; the nodes that it left behind, None at an orderly end."""
    nodes: set[tuple[int, str]] = set()
    text = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], _LOOK)[0]:
            continue
        part = os.read(0, 65536)
        if not part:
            break
        *lines, text = (text + part).split(b"\n")
        for line in lines:
            if line == b"done":
                return None
            pid, _, started = line[1:].decode().partition(" ")
            entry = (int(pid), started)
            if line[:1] == b"+":
                nodes.add(entry)
            else:
                nodes.discard(entry)
    return nodes


def main() -> None:
    """Watch until the supervisor has ended."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    folder = sys.argv[1]
    try:
        where = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:  # the session ended while this process started
        return
    nodes = watch(int(sys.argv[2]))
    if nodes is None:
        return
    # One that was started in the very moment of the supervisor's death was not told to us.
    end(nodes | nodes_in(folder), GRACE)
    end(nodes_in(folder), 0)
    empty(folder, where)


if __name__ == "__main__":
    main()
