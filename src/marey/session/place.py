"""A session's runtime folder: claimed by creating it, named after the session."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from marey._native import is_alive, self_owner
from marey.errors import SessionError
from marey.lab import SESSION_FILE, read_session
from marey.session import guard
from marey.stream.runtime import check_name, runtime_folder

_HIDDEN = ".marey-"
_BEING_MADE = 5.0  # s that a folder may be without its session file
_GUARDED = 4.0  # s that the guard of a dead session has to clean up
_LONGEST = 100  # bytes of a socket's path: its address has room for 103 (macOS) or 107 (Linux)


def claim(name: str, nodes: dict[str, dict[str, Any]]) -> tuple[str, Path]:
    """Create the folder of a new session; while the name is taken, `name-2` and so on is tried.

    The folder appears whole, with its session file: nobody meets a half-made one.

    Returns:
        The name that the session has now, and its folder.

    Raises:
        SessionError: the runtime folder's path is too long for sockets.
    """
    check_name("name of the session", name)
    root = runtime_folder()
    for left in root.glob(f"{_HIDDEN}*"):
        if _is_stale(left):
            shutil.rmtree(left, ignore_errors=True)
    made = root / _unseen()
    made.mkdir(mode=0o700)
    facts = {"name": name, "owner": self_owner(), "nodes": nodes, "started": time.time()}
    try:
        for number in range(1, 1000):
            candidate = name if number == 1 else f"{name[:28]}-{number}"
            folder = root / candidate
            _check_length(folder, nodes)
            if _is_stale(folder):
                _clear(folder)
            _write(made, {**facts, "name": candidate})
            try:
                made.rename(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                continue
            return candidate, folder
    except BaseException as error:
        shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError):
            raise SessionError(f"runtime folder {root}: cannot be used: {error}") from error
        raise
    raise SessionError(f"session '{name}': a thousand of that name are running")


def tell_guard(folder: Path, guard: str) -> None:
    """Note in a session's file who guards it: pid and start time."""
    facts = read_session(folder)
    if facts is not None:
        _write(folder, facts | {"guard": guard})


def _write(folder: Path, facts: dict[str, Any]) -> None:
    temporary = folder / (SESSION_FILE + ".new")
    temporary.write_text(json.dumps(facts))
    temporary.rename(folder / SESSION_FILE)


def stale() -> list[Path]:
    """Folders of sessions whose supervisor is gone."""
    return [path for path in sorted(runtime_folder().iterdir()) if _is_stale(path)]


def remove(folder: Path) -> None:
    """Remove a stale folder, after its nodes have ended or were killed."""
    guard.end(guard.nodes_in(str(folder)), guard.GRACE)
    give_up(folder)


def give_up(folder: Path) -> None:
    """Remove a session's folder; its name is free at once."""
    gone = folder.with_name(_unseen())  # nobody meets a half-removed one
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def _unseen() -> str:
    """A name that no session has, for a folder that is being made or removed."""
    return f"{_HIDDEN}{uuid.uuid4().hex[:12]}"


def _clear(folder: Path) -> None:
    """Wait for the guard of a dead session to clean up, or do it where there is none."""
    facts = read_session(folder)
    pid, _, started = str((facts or {}).get("guard", "")).partition(" ")
    until = time.monotonic() + _GUARDED
    while pid and guard.lives(int(pid), started) and time.monotonic() < until:
        if read_session(folder) is None:
            break
        time.sleep(0.01)
    if _is_stale(folder):
        remove(folder)


def _is_stale(folder: Path) -> bool:
    """Whether a folder is a dead session's; one that bears no sign of marey's never is."""
    facts = read_session(folder)
    if facts is not None:
        return not is_alive(facts.get("owner", 0))
    if not folder.name.startswith(_HIDDEN):
        return False
    with contextlib.suppress(FileNotFoundError):
        return time.time() - folder.stat().st_mtime > _BEING_MADE
    return False


def _check_length(folder: Path, nodes: dict[str, Any]) -> None:
    longest = max((len(name) for name in nodes), default=0)
    length = len(os.fsencode(folder)) + max(longest + len("/.cmd"), len("/session.events"))
    if length > _LONGEST:
        raise SessionError(
            f"runtime folder {folder}: its sockets' paths would have {length} bytes, expected at "
            f"most {_LONGEST}; set MAREY_RUNTIME_DIR to a shorter one, or shorten the names"
        )
