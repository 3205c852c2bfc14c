"""`marey doctor`: what is installed, what is stale, what is misconfigured."""

from __future__ import annotations

import ctypes
import errno
import platform
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.text import Text

import marey
from marey.cli.console import console, nbytes, table
from marey.cli.demo import stale_recordings
from marey.cli.options import Flag
from marey.errors import MareyError
from marey.lab import sessions
from marey.node.registry import kinds, load
from marey.session.place import remove, stale
from marey.stream.runtime import runtime_folder

_LEAST_FREE = 512 * 2**20  # bytes of shared memory: two streams of `buffer = "auto"`
_FUTEX_WAITV = 449  # the system call's number, on every architecture since Linux 5.16
_FOR_DEVELOPERS = ("dev", "docs", "bench")


class Finding(NamedTuple):
    """One line of the report."""

    what: str
    found: str
    fine: bool = True


def doctor(*, clean: Flag = False) -> int:
    """Tell what is installed, what is stale, what is misconfigured and what runs.

    Lines that begin with a cross need attention: something that marey depends on is missing, a kind
    cannot be loaded, a session that was killed left its folder, others may enter the runtime
    folder, shared memory is short.

    Args:
        clean: remove what dead sessions left.
    """
    out = console()
    parts = {
        "Installed": [*_installed(), *_extras()],
        "Kinds of nodes": list(_kinds()),
        "Machine": list(_machine()),
        "Sessions": list(_sessions(clean)),
    }
    for title, findings in parts.items():
        _print(title, findings, out)
    bad = sum(not finding.fine for findings in parts.values() for finding in findings)
    out.print(f"\n{bad} need attention" if bad else "\nall is fine")
    return 1 if bad else 0


def _print(title: str, findings: list[Finding], out: Console) -> None:
    rows = table("", "", "")
    rows.show_header = False
    for finding in findings:
        sign = Text("✓", "green") if finding.fine else Text("✗", "bold red")
        rows.add_row(sign, finding.what, Text(finding.found))
    out.print(f"\n[bold]{title}[/]")
    out.print(rows)


def _installed() -> Iterator[Finding]:
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}")
    yield Finding("marey", f"{marey.__version__} at {Path(marey.__file__).parent}")
    for name in _requirements()[""]:
        version = _version(name)
        yield Finding(name, version or f"missing: pip install {name}", bool(version))


def _extras() -> Iterator[Finding]:
    for extra, names in _requirements().items():
        if not extra or extra in _FOR_DEVELOPERS:
            continue
        versions = {name: _version(name) for name in names}
        missing = [name for name, version in versions.items() if not version]
        found = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
        if missing:
            found = f"not installed: pip install 'marey[{extra}]' (optional)"
        yield Finding(f"extra {extra}", found)


def _requirements() -> dict[str, list[str]]:
    """What marey depends on: by extra, and without one under the empty name."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in metadata.requires("marey") or []:
        extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", line)
        name = re.match(r"[A-Za-z0-9._-]+", line)
        if name is not None:
            found[extra[1] if extra else ""].append(name[0])
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _kinds() -> Iterator[Finding]:
    for name, point in kinds().items():
        origin = point.dist.name if point.dist is not None else point.value
        try:
            load(name)
        except MareyError as error:
            yield Finding(name, f"{origin}: {error}", False)
        else:
            yield Finding(name, origin)


def _machine() -> Iterator[Finding]:
    from marey.sinks.web import PAGE  # with its server, which no other command needs

    yield Finding("system", f"{platform.system()} {platform.release()} {platform.machine()}")
    if sys.platform == "linux":
        yield _futex()
    built = (PAGE / "index.html").exists()
    yield Finding("web page", str(PAGE) if built else "missing: built with MAREY_PAGE=OFF", built)
    try:
        folder = runtime_folder()
    except (MareyError, OSError) as error:
        yield Finding("runtime folder", str(error), False)
        return
    yield _place(folder)
    disk = shutil.disk_usage(folder)
    text = f"{nbytes(disk.free)} of {nbytes(disk.total)} free"
    if disk.free < _LEAST_FREE:
        text += f", expected {nbytes(_LEAST_FREE)} or more: enlarge it, or set smaller `buffer`s"
    yield Finding("shared memory", text, disk.free >= _LEAST_FREE)


def _place(folder: Path) -> Finding:
    """On a disk, each frame would be written to it in the end."""
    mounts = [(Path(p.mountpoint), p.fstype) for p in psutil.disk_partitions(all=True)]
    around = [mount for mount in mounts if folder.resolve().is_relative_to(mount[0])]
    kind = max(around, key=lambda mount: len(mount[0].parts))[1] if around else ""
    if sys.platform != "linux" or kind in ("tmpfs", "ramfs", ""):
        return Finding("runtime folder", str(folder))
    return Finding(
        "runtime folder",
        f"{folder} lies on a disk ({kind}), expected memory: unset MAREY_RUNTIME_DIR",
        False,
    )


def _futex() -> Finding:
    """Waiting on several streams at once without polling needs futex_waitv (Linux 5.16)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(_FUTEX_WAITV, None, 0, 0, None, 0)  # refused as invalid where it is known
    known = ctypes.get_errno() != errno.ENOSYS
    how = "yes" if known else "no: nodes that read several streams look at them in turns"
    return Finding("futex_waitv", how)


def _sessions(clean: bool) -> Iterator[Finding]:
    try:
        running, left = sessions(), stale()
    except (MareyError, OSError):
        return  # the runtime folder has been named already
    yield Finding("running", ", ".join(running) or "none")
    for folder in [*left, *stale_recordings()]:
        if clean:
            remove(folder)
            yield Finding("stale", f"{folder}: removed")
        else:
            yield Finding("stale", f"{folder}: left by a dead session; marey doctor --clean", False)
