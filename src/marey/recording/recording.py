"""Opens recordings for reading."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from marey.errors import RecordingError
from marey.recording.layout import EVENTS_FILE, RUN, folder_name
from marey.recording.run import CLOSED, read_run, stream_folders
from marey.recording.stream import RecordedStream
from marey.stream.closing import Closing


class Recording(Closing):
    """A recording as it was when it was opened, maybe still being written: streams by name.

    Attributes:
        path: the run's folder.
        metadata: what `run.json` tells of the run: session, settings, host, times, state ...
    """

    def __init__(self, path: Path, *, rescue: bool = False) -> None:
        self.path = path
        self.metadata: Mapping[str, Any] = read_run(path)
        self._rescue = rescue
        folders = stream_folders(path)
        listed = {name: path / folder_name(name) for name in self.metadata["streams"]}
        self._folders = {**listed, **folders}
        self._streams: dict[str, RecordedStream] = {}

    def __repr__(self) -> str:
        return f"<Recording {str(self.path)!r}: {', '.join(self._folders) or 'no streams'}>"

    @property
    def streams(self) -> list[str]:
        """Names of the recorded streams."""
        return list(self._folders)

    @property
    def complete(self) -> bool:
        """Whether the recording was ended in order; otherwise it goes on, or its writer died."""
        return self.metadata.get("state") == CLOSED

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened in the session meanwhile, in its order.

        Each has `time` (Unix, ns), `node`, `kind` and `data`: changed settings with the `seq` from
        which they hold, log lines, errors, losses, states of nodes.
        """
        file = self.path / EVENTS_FILE
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        # A writer that was killed may have left half a line.
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def __len__(self) -> int:
        return len(self._folders)

    def __iter__(self) -> Iterator[str]:
        return iter(self._folders)

    def __contains__(self, name: object) -> bool:
        return name in self._folders

    def __getitem__(self, name: str) -> RecordedStream:
        """A stream by its name.

        Raises:
            RecordingError: there is none of this name, or it is damaged.
        """
        if name not in self._folders:
            names = ", ".join(self._folders) or "none"
            raise RecordingError(f"{self.path}: has no stream {name!r}, expected one of: {names}")
        if name not in self._streams:
            self._streams[name] = RecordedStream(self._folders[name], rescue=self._rescue)
        return self._streams[name]

    def close(self) -> None:
        """Forget the streams; files stay mapped only as long as arrays of them are in use."""
        self._streams.clear()


def open_recording(path: str | Path, *, rescue: bool = False) -> Recording:
    """Open a recording: `open_recording("data/run")["cam"][0]` is the first frame of `cam`.

    It may be opened at any time, also while it is written (open it again to see more) and after
    its writer was killed: everything that was appended so far is there.

    Args:
        path: the run's folder, or a folder of runs, whose newest is opened.
        rescue: of a stream whose index is damaged, read what stands before the damage instead of
            raising.

    Raises:
        RecordingError: the folder is no recording, or damaged; says where and why.
    """
    path = Path(path)
    runs = [] if (path / RUN).exists() else list(path.glob(f"*/{RUN}"))
    if runs:
        path = max(runs, key=lambda run: run.stat().st_mtime_ns).parent
    return Recording(path, rescue=rescue)
