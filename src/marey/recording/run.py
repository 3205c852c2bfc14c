"""What stands in a run's folder beside the items: `run.json` and one folder for each stream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from marey.errors import RecordingError, StreamError
from marey.recording.layout import FORMAT, META, RUN, VERSION, read_json
from marey.stream.spec import Spec

RECORDING = "recording"
"""State of a run that is being written, or whose writer was killed."""

CLOSED = "closed"
"""State of a run that was ended in order."""


def read_run(path: Path) -> dict[str, Any]:
    """The metadata of a run.

    Raises:
        RecordingError: the folder is no recording, or one of another version, or damaged.
    """
    if not (path / RUN).is_file():
        reason = "has no run.json" if path.is_dir() else "no such folder"
        raise RecordingError(f"{path}: not a recording ({reason})")
    found = read_json(path / RUN)
    if found.get("format") != FORMAT:
        raise RecordingError(
            f"{path}: not a recording (format {found.get('format')!r}, expected {FORMAT!r})"
        )
    if found.get("version") != VERSION:
        raise RecordingError(
            f"{path}: found version {found.get('version')!r} of the format, expected {VERSION}"
        )
    if not isinstance(found.get("streams"), dict):
        raise RecordingError(f"{path / RUN}: damaged (names no streams)")
    return found


def stream_folders(path: Path) -> dict[str, Path]:
    """The folders of a run's streams by the streams' names, in the order of the folders.

    A folder without its description is what a kill left of making it, and holds nothing yet.

    Raises:
        RecordingError: the folder cannot be read, or a description is damaged.
    """
    try:
        entries = sorted(entry for entry in path.iterdir() if (entry / META).is_file())
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error})") from error
    return {read_spec(entry)[0]: entry for entry in entries}


def read_spec(folder: Path) -> tuple[str, Spec]:
    """The name and description of the stream whose folder it is.

    Raises:
        RecordingError: the folder's metadata is damaged.
    """
    path = folder / META
    try:
        found = read_json(path)["attributes"][FORMAT]
        return str(found["stream"]), Spec.from_json(json.dumps(found["spec"]))
    except (KeyError, TypeError, StreamError) as error:
        raise RecordingError(f"{path}: describes no stream ({error!r})") from error
