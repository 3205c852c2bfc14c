"""Writes a recording: one folder with the streams of one run."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any, Self

from marey.errors import RecordingError
from marey.recording.gaps import FULL
from marey.recording.layout import (
    DEFAULT_CHUNK,
    EVENTS_FILE,
    FORMAT,
    LOCK,
    META,
    MIB,
    RESERVE,
    RUN,
    VERSION,
    folder_name,
    write_json,
)
from marey.recording.run import CLOSED, RECORDING, read_run, read_spec, stream_folders
from marey.recording.stream_writer import Item, StreamWriter
from marey.recording.zarray import group
from marey.stream.closing import Closing
from marey.stream.spec import Spec

if sys.platform != "win32":
    import fcntl

PUBLISH_INTERVAL = 0.5
"""Seconds after which readers of Zarr see what was appended; marey's own see it at once."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class RecordingWriter(Closing):
    """A recording while it is written; make one with `create` or `resume`.

    Whatever `append` has returned from stays readable, also while writing goes on and after the
    process was killed. Not thread-safe: one thread appends.

    Attributes:
        path: the run's folder.
        streams: the writer of each stream, by the stream's name.
        metadata: what `run.json` tells beside what the writer itself tells there.
    """

    def __init__(self, path: Path, lock: int, metadata: dict[str, Any], chunk: int) -> None:
        self.path = path
        self.streams: dict[str, StreamWriter] = {}
        self._lock = lock
        self.metadata = metadata
        self._chunk = chunk
        self._due = time.monotonic() + PUBLISH_INTERVAL
        self._closed = False

    @classmethod
    def create(
        cls,
        folder: str | Path,
        run: str = "",
        *,
        chunk: int = DEFAULT_CHUNK,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Begin a recording in a new folder; one that exists is never written over.

        Args:
            folder: where the run's folder is made; made itself where it is missing.
            run: name of the run's folder, `2026-11-20T14-03-22` where none is given; `-2`,
                `-3` ... is added where it exists.
            chunk: bytes of one file of pixels.
            metadata: what readers should know of the run (session, settings), as JSON values.

        Raises:
            RecordingError: the name is not one of a folder, or the folder cannot be written.
        """
        run = run or datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
        if run != Path(run).name or run.startswith(".") or "\\" in run or "\0" in run:
            raise RecordingError(f"run: found {run!r}, expected the name of a folder")
        try:
            path = _new_folder(Path(folder), run)
            lock = _take(path)
            try:
                self = cls(path, lock, dict(metadata or {}), chunk)
                (path / RESERVE).write_bytes(bytes(MIB))
                write_json(path / META, group({FORMAT: {"version": VERSION}}))
                self._note(started=time.time_ns())
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            raise RecordingError(f"{folder}: no recording can be made there ({error})") from error
        return self

    @classmethod
    def resume(cls, path: str | Path, *, chunk: int = DEFAULT_CHUNK) -> Self:
        """Go on with a recording whose writer has ended or was killed.

        Raises:
            RecordingError: it is no recording, damaged, or another process is writing it.
        """
        path = Path(path)
        metadata = read_run(path)
        lock = -1
        try:
            lock = _take(path)
            self = cls(path, lock, metadata, chunk)
            listed = {name: path / folder_name(name) for name in metadata["streams"]}
            for name, stream in {**listed, **stream_folders(path)}.items():
                spec = read_spec(stream)[1]
                self.streams[name] = StreamWriter(stream, name, spec, chunk)
            for told_at_the_end in ("ended", "ended_because", "ledger"):
                metadata.pop(told_at_the_end, None)
            self._note(resumed=[*metadata.get("resumed", []), time.time_ns()])
        except (OSError, RecordingError) as error:
            if lock >= 0:
                os.close(lock)
            if isinstance(error, RecordingError):
                raise
            raise RecordingError(f"{path}: cannot be gone on with ({error})") from error
        return self

    @property
    def items(self) -> int:
        """Items recorded, of all streams."""
        return sum(stream.items for stream in self.streams.values())

    @property
    def nbytes(self) -> int:
        """Bytes of the recorded pixels and rows."""
        return sum(stream.nbytes for stream in self.streams.values())

    @property
    def age(self) -> float:
        """Seconds since the recording was begun, by whichever writer."""
        return (time.time_ns() - int(self.metadata.get("started", time.time_ns()))) / 1e9

    def note(self, **notes: Any) -> None:
        """Add to the run's metadata.

        Raises:
            RecordingError: the disk is full or refuses.
        """
        try:
            self._note(**notes)
        except OSError as error:
            raise self._failure(error) from error

    def tell(self, event: str) -> None:
        """Add an event of the session, one JSON object, to the run's logbook.

        Raises:
            RecordingError: the disk is full or refuses.
        """
        try:
            with (self.path / EVENTS_FILE).open("a") as file:
                file.write(event + "\n")
        except OSError as error:
            raise self._failure(error) from error

    def add_stream(self, name: str, spec: Spec) -> StreamWriter:
        """Make room for a stream; one that the recording has already is gone on with.

        Raises:
            RecordingError: it differs from the recorded stream of this name, or the disk refuses.
        """
        if name in self.streams:
            known = self.streams[name].spec
            if (known.shape, known.dtype) != (spec.shape, spec.dtype):
                raise RecordingError(
                    f"{name}: found items {spec.shape} of {spec.dtype}, "
                    f"expected {known.shape} of {known.dtype} as recorded before"
                )
            return self.streams[name]
        try:
            stream = StreamWriter(self.path / folder_name(name), name, spec, self._chunk)
            self.streams[name] = stream
            self._note()
        except OSError as error:
            raise self._failure(error) from error
        return stream

    def append(self, name: str, item: Item) -> bool:
        """Add an item of a stream; returns whether it is in the recording now.

        See `StreamWriter.append`. What is not in the recording is counted in its gaps, unless
        it was there before.

        Raises:
            RecordingError: the disk is full or refuses; earlier items stay readable, and a later
                call may succeed. Or the item is not of the stream's type.
        """
        stream = self.streams[name]
        try:
            if time.monotonic() >= self._due:
                self._publish()
            return stream.append(item)
        except OSError as error:
            stream.refuse(item, FULL if error.errno in _NO_ROOM else str(error))
            raise self._failure(error) from error

    def flush(self) -> None:
        """Show everything that was appended to readers of Zarr, too.

        Raises:
            RecordingError: the disk is full or refuses.
        """
        try:
            self._publish()
        except OSError as error:
            raise self._failure(error) from error

    def close(self, **notes: Any) -> None:
        """End the recording; calling it again does nothing.

        Args:
            notes: further metadata, such as the session's ledger.

        Raises:
            RecordingError: the last metadata cannot be written; all items stay readable.
        """
        if self._closed:
            return
        self._closed = True
        try:
            with ExitStack() as last_first:
                last_first.callback(os.close, self._lock)
                (self.path / RESERVE).unlink(missing_ok=True)
                last_first.callback(self._note, state=CLOSED, ended=time.time_ns(), **notes)
                for stream in self.streams.values():
                    last_first.callback(stream.close)
        except OSError as error:
            raise self._failure(error) from error

    def _publish(self) -> None:
        self._due = time.monotonic() + PUBLISH_INTERVAL
        for stream in self.streams.values():
            stream.flush()

    def _note(self, **changes: Any) -> None:
        """Rewrite `run.json` with some entries changed."""
        self.metadata.update(changes)
        fixed = {
            "format": FORMAT,
            "version": VERSION,
            "state": changes.get("state", RECORDING),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "marey": _marey_version(),
            "streams": {
                name: {"items": stream.items, "lost": stream.lost}
                for name, stream in self.streams.items()
            },
        }
        write_json(self.path / RUN, {**self.metadata, **fixed})

    def _failure(self, error: OSError) -> RecordingError:
        if error.errno in _NO_ROOM:
            return RecordingError(f"{self.path}: {FULL} ({error.strerror})")
        return RecordingError(f"{self.path}: cannot be written ({error})")


def _new_folder(folder: Path, run: str) -> Path:
    """Make the run's folder under the first name that is free."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in count(1):
        path = folder / (run if k == 1 else f"{run}-{k}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise AssertionError("unreachable")


def _take(path: Path) -> int:
    """Become the only writer of a run until the descriptor is closed, by whatever death.

    Raises:
        RecordingError: another process is.
    """
    lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    if sys.platform != "win32":
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise RecordingError(f"{path}: another process is writing this recording") from error
    return lock


def _marey_version() -> str:
    try:
        return version("marey")
    except PackageNotFoundError:
        return "unknown"
