"""Where the streams and sockets of running sessions live: one private folder for each user."""

from __future__ import annotations

import getpass
import os
import re
import stat
import sys
import tempfile
from pathlib import Path

from marey.errors import SessionError

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
"""What sessions and nodes may be called: names become files and attributes."""


def runtime_folder() -> Path:
    """The user's runtime folder, created with mode 0700 where it does not exist.

    `MAREY_RUNTIME_DIR` names another one. On Linux it lies in /dev/shm, so that streams are shared
    memory; elsewhere in the folder for temporary files, whose mappings are shared all the same.

    Raises:
        SessionError: the folder belongs to another user or others may enter it.
    """
    given = os.environ.get("MAREY_RUNTIME_DIR")
    if given:
        folder = Path(given).absolute()
    elif sys.platform == "linux" and os.access("/dev/shm", os.W_OK):
        folder = Path(f"/dev/shm/marey-{os.getuid()}")
    else:
        folder = Path(tempfile.gettempdir()) / f"marey-{getpass.getuser()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform != "win32":
        found = folder.stat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise SessionError(
                f"runtime folder {folder}: found owner {found.st_uid} and mode "
                f"{stat.S_IMODE(found.st_mode):o}, expected owner {os.geteuid()} and mode 700"
            )
    return folder


def check_name(what: str, name: str) -> str:
    """Return a name that may become a file, or say what is wrong with it.

    Raises:
        SessionError: the name is empty, too long, or holds signs that a file should not.
    """
    if not NAME.fullmatch(name):
        raise SessionError(
            f"{what}: found {name!r}, expected a letter, then up to 31 letters, digits, '-' or '_'"
        )
    return name


def session_folder(session: str) -> Path:
    """The folder of one session; it need not exist."""
    return runtime_folder() / check_name("name of the session", session)
