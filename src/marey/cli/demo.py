"""`marey demo`: a camera, a tracker, a recorder and a live page, by one command."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

from marey._native import is_alive, self_owner
from marey.cli.options import Flag, Seconds
from marey.cli.run import run_session
from marey.errors import SettingError
from marey.session import Session
from marey.stream.runtime import runtime_folder

Scene = Literal["beads", "video", "noise"]

_PREFIX = "marey-demo-"
_MIB = 2**20


def demo(
    scene: Scene = "beads",
    /,
    *,
    file: Path | None = None,
    seconds: Seconds = None,
    json: Flag = False,
    port: int = 0,
    folder: Path | None = None,
    limit: str | None = None,
    no_browser: Flag = False,
) -> int:
    """Run a camera with a tracker, a recorder and a live page in the browser.

    beads: a simulated magnetic-tweezers camera, a hundred beads with diffraction rings on 1280 by
    1024 pixels, 200 frames a second; the tracker finds x, y and z of each in every frame.

    video: a film, over and over, with a finder of bright or dark spots.

    noise: random pixels, to see what the machine can carry.

    Everything is recorded from the first frame on: into a folder that you name, or else, up to
    2 GiB, into one that is removed at the end. Ctrl-C ends it and prints the ledger.

    Args:
        scene: beads, video or noise.
        file: the film, for `video`.
        seconds: end after so many seconds.
        json: print the ledger as one JSON object on stdout, and nothing else there.
        port: port of the page; 0 for any free one.
        folder: keep the recording in this folder.
        limit: end the recording after this size or time, such as '200 GiB' or '90 s'.
        no_browser: do not open the page in a browser.
    """
    nodes = _camera(scene, file)
    nodes["cam"]["buffer"] = _buffer()
    for left in stale_recordings():
        shutil.rmtree(left, ignore_errors=True)
    kept = folder or Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{self_owner()}-", dir=_scratch()))
    if limit is None:
        limit = "" if folder else _limit(kept)
    nodes |= {
        "rec": {
            "kind": "recorder",
            "folder": str(kept),
            "autostart": True,
            "limit": limit,
        },
        "web": {
            "kind": "web",
            "port": port,
            "open_browser": not no_browser and _has_display(),
        },
    }
    try:
        return run_session(Session.from_tables(nodes, f"demo-{scene}"), seconds, json=json)
    finally:
        if folder is None:
            shutil.rmtree(kept, ignore_errors=True)


def stale_recordings() -> list[Path]:
    """Recordings of demos that were killed before they could remove them."""
    found = []
    for path in _scratch().glob(f"{_PREFIX}*"):
        owner = path.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and path.owner() == Path.home().owner() and not is_alive(int(owner)):
            found.append(path)
    return found


def _camera(scene: Scene, file: Path | None) -> dict[str, dict[str, Any]]:
    """The tables of the camera and of what processes its frames."""
    if scene != "video" and file is not None:
        raise SettingError(f"--file: found {file}, but only `marey demo video` plays a file")
    match scene:
        case "beads":
            cam = {"kind": "beads", "rate": 200, "beads": 100, "shape": [1024, 1280]}
            return {"cam": cam, "tracks": {"kind": "bead-tracker", "source": "cam"}}
        case "noise":
            return {"cam": {"kind": "noise"}}
        case "video":
            if file is None:
                raise SettingError("--file: must be given: marey demo video --file film.mp4")
            if not file.exists():
                raise SettingError(f"--file: {file}: there is no such file")
            cam = {"kind": "video", "url": str(file), "loop": True}
            return {"cam": cam, "spots": {"kind": "spots", "source": "cam"}}


def _buffer() -> str:
    """Memory of the camera's stream: as much as a disk that pauses asks for and the machine has."""
    return f"{min(512, shutil.disk_usage(runtime_folder()).free // _MIB // 4)} MiB"


def _limit(folder: Path) -> str:
    """Greatest size of a recording that nobody asked to keep: a slow disk takes it in time."""
    return f"{min(2048, shutil.disk_usage(folder).free // _MIB // 4)} MiB"


def _scratch() -> Path:
    """A folder on a disk: /tmp is often held in memory, which the streams need."""
    disk = Path("/var/tmp")
    if "TMPDIR" not in os.environ and disk.is_dir():
        return disk
    return Path(tempfile.gettempdir())


def _has_display() -> bool:
    """Whether a browser can show up; in a bare terminal a text browser would start instead."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
