"""A session's runtime folder: claimed by creating it, named after the session."""

from __future__ import annotations

import json
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from marey._native import is_alive, self_owner
from marey.lab import SESSION_FILE, read_session
from marey.stream.runtime import check_name, runtime_folder

_BEING_MADE = 5.0  # s that a folder may be without its session file


def claim(name: str) -> tuple[str, Path]:
    """Create the folder of a new session; while the name is taken, `name-2` and so on is tried.

    Returns:
        The name that the session has now, and its folder.
    """
    check_name("name of the session", name)
    for number in range(1, 1000):
        candidate = name if number == 1 else f"{name[:28]}-{number}"
        folder = runtime_folder() / candidate
        if _is_stale(folder):
            remove(folder)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return candidate, folder
    raise RuntimeError("a thousand sessions of one name")


def write_session(folder: Path, name: str, nodes: dict[str, dict[str, Any]]) -> None:
    """Tell who runs here."""
    facts = {"name": name, "owner": self_owner(), "nodes": nodes, "started": time.time()}
    temporary = folder / (SESSION_FILE + ".new")
    temporary.write_text(json.dumps(facts))
    temporary.rename(folder / SESSION_FILE)


def stale() -> list[Path]:
    """Folders of sessions whose supervisor is gone."""
    return [
        path for path in sorted(runtime_folder().iterdir()) if path.is_dir() and _is_stale(path)
    ]


def _is_stale(folder: Path) -> bool:
    facts = read_session(folder)
    if facts is not None:
        return not is_alive(facts["owner"])
    try:
        return time.time() - folder.stat().st_mtime > _BEING_MADE
    except FileNotFoundError:
        return False


def remove(folder: Path) -> None:
    """Remove a stale folder; nodes that were left see their supervisor gone and end."""
    # Under another name nobody meets a half-removed folder.
    gone = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)
