"""The sink `recorder`: keeps streams on disk, from a moment before it was asked to."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import PrivateAttr

from marey.command import Asker, Listener
from marey.errors import MareyError, RecordingError, StreamMissing
from marey.lab import stream_accounts
from marey.node import Setting, Sink, action
from marey.recording import RecordingWriter
from marey.recording.layout import MIB, write_json
from marey.sinks.backlog import Backlog
from marey.stream import Frame, Spec
from marey.stream.ledger import PURGED

_PATIENCE = 0.5  # s for a node to tell its settings; recording does not wait for a hung one
_SLICE = 0.1  # s of catching up between two rounds of the node's loop
_LISTEN = 0.2  # s between two looks what happened in the session
_KEPT = {"setting", "log", "error", "state", "lost", "outage"}
_SILENCE = 5.0  # s between two log lines about a disk that stays full
_UNITS = {"s": 1, "min": 60, "h": 3600, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class Recorder(Sink):
    """Keeps streams on disk: frames and rows with stamps, seq and gaps, in standard Zarr arrays.

    `start` begins a recording in a new folder, `stop` ends it; items that come in between are
    kept. What was kept can be read at any time with `marey.open_recording`, also while it is
    written and after any death of the process. A recorder that is started again by its
    supervisor goes on with the recording that it was making, without doubles.
    """

    folder: str = Setting(
        "data", follows=True, description="where the folders of recordings are made"
    )
    run: str = Setting(
        "",
        follows=True,
        description="name of the next recording's folder; none given: named after the time. "
        "One that exists is never written over: -2, -3 ... is added",
    )
    recording: bool = Setting(
        False, description="whether items are being kept; set it to start and stop"
    )
    autostart: bool = Setting(
        False, apply="start", description="begin to record when the session starts"
    )
    chunk: float = Setting(
        64.0,
        gt=0,
        le=2048,
        unit="MiB",
        advanced=True,
        description="greatest size of one file of pixels",
    )
    limit: str = Setting(
        "",
        pattern=r"^(\d+(\.\d+)? ?(s|min|h|MiB|GiB|TiB))?$",
        description="end a recording by itself after this time or size: '90 s', '200 GiB'",
    )
    when_full: Literal["stop", "go on"] = Setting(
        "stop",
        description="on a disk that is full or refuses: end the recording, or go on trying and "
        "count what could not be kept",
    )
    path: str = Setting("", readonly=True, description="folder of the present or last recording")

    _writer: RecordingWriter | None = None
    _streams: dict[str, tuple[str, int]] = PrivateAttr(default_factory=dict)
    _backlog: Backlog | None = None
    _purged: set[str] = PrivateAttr(default_factory=set)
    _asked: bool = False
    _until: float | None = None
    _most: float | None = None
    _complained: float = 0.0
    _events: Listener | None = None
    _listened: float = 0.0

    def open(self) -> None:
        """Begin to record, or go on with what was being recorded when the process died.

        Raises:
            RecordingError: the folder cannot be written.
        """
        self._events = self.lab.events(patience=0)  # frames do not wait
        told = self._recall()
        if told is None:
            if self.autostart or self.recording:
                self._begin("")
        elif told:
            self._go_on(Path(told))
        else:
            self.recording = False

    def taken(self, name: str) -> int:
        """Where a recording that goes on ends."""
        if self._writer is None:
            return 0
        known = [s for n, s in self._writer.streams.items() if n.partition("@")[0] == name]
        return max((stream.next for stream in known), default=0)

    def append(self, name: str, frame: Frame) -> bool | None:
        """Keep an item, if a recording is being made."""
        if time.monotonic() - self._listened > _LISTEN:
            self._note_events()
        if self._writer is None or (self._backlog is not None and name in self._backlog):
            return None
        try:
            return self._keep(name, frame) or None
        except RecordingError as error:
            self._fail(error)
            return None

    def changed(self, names: set[str]) -> None:
        """Start or stop when `recording` was set."""
        if "recording" in names and self.recording != (self._writer is not None):
            if self.recording:
                self._begin("")
            else:
                self._end()
        if "limit" in names:
            self._set_limit()

    def close(self) -> None:
        """End the recording; a restarted recorder goes on with it."""
        self._note_events()
        if self._events is not None:
            self._events.close()
            self._events = None
        if self._writer is not None:
            self._finish(self._writer)

    @action
    def start(
        self, before: float = 0.0, name: str = ""
    ) -> dict[str, Any] | Generator[tuple[float, str], None, dict[str, Any]]:
        """Begin a recording.

        Args:
            before: seconds before this call that are kept, too, as far as the streams' memory
                reaches back (their setting `buffer`).
            name: name of the recording's folder; none given: the setting `run`.

        Returns:
            `path`: the recording's folder; `before`: seconds that were kept, by stream.

        Raises:
            RecordingError: it is recording already, or the folder cannot be written.
        """
        if self._writer is not None:
            raise RecordingError(f"{self.name}.start(): is recording to {self.path} already")
        if not 0 <= before < 86400:
            raise RecordingError(f"{self.name}.start(before={before}): expected 0 to 86400 seconds")
        backlog = Backlog(self.lab, self.name, self.sources, before) if before else None
        self._begin(name)
        if backlog is None:
            return {"path": self.path, "before": {}}
        self._backlog = backlog
        return self._catch_up(backlog)

    @action
    def stop(self) -> dict[str, Any]:
        """End the recording.

        Returns:
            `path`; by stream the number of `items` kept and of those `lost`; `bytes` of data.

        Raises:
            RecordingError: it is not recording.
        """
        if self._writer is None:
            raise RecordingError(f"{self.name}.stop(): is not recording")
        return self._end()

    @action
    def purge(self) -> dict[str, int]:
        """Pass over what waits to be read; a recording under way has a gap for it.

        Returns:
            By stream, how many items were passed over: lost, with the cause "purged".
        """
        passed = super().purge()
        self._purged |= {name for name, n in passed.items() if n}
        return passed

    # ------------------------------------------------------------ items

    def _keep(self, name: str, frame: Frame) -> bool:
        """Keep an item; whether it is in the recording."""
        writer = self._writer
        assert writer is not None
        known, epoch = self._streams.get(name, ("", -1))
        if epoch != frame.epoch:
            known = self._open_stream(writer, name, frame)
            self._streams[name] = known, frame.epoch
        if name in self._purged:
            self._purged.discard(name)
            writer.streams[known].expected = PURGED
        taken = writer.append(known, frame)
        full = self._most is not None and writer.nbytes >= self._most
        if full or (self._until is not None and time.monotonic() >= self._until):
            self._end(f"its limit of {self.limit} was reached")
        return taken

    def _note_events(self) -> None:
        """Keep what was told in the session since the last look, if a recording is being made."""
        self._listened = time.monotonic()
        while self._events is not None and (event := self._events.next(0)) is not None:
            if self._writer is not None and event.kind in _KEPT:
                with suppress(RecordingError):  # on a full disk, which the next item tells of
                    self._writer.tell(event.model_dump_json())

    def _open_stream(self, writer: RecordingWriter, name: str, frame: Frame) -> str:
        """Make room for what the stream's writer now makes; returns the name in the recording.

        A camera that was opened again with other frames goes on as `cam@2`, 2 being its epoch.
        """
        if not self._asked:
            self._asked = True
            writer.note(settings=self._ask_settings())
        try:
            spec = self.lab.stream(name).spec
        except StreamMissing:  # it ended and was removed while its last items waited
            spec = Spec(frame.data.shape, frame.data.dtype)
        if spec.dtype != frame.data.dtype or len(spec.shape) != frame.data.ndim:
            spec = Spec(frame.data.shape, frame.data.dtype)
        known = writer.streams.get(name)
        if known and (known.spec.shape, known.spec.dtype) != (spec.shape, spec.dtype):
            name = f"{name}@{frame.epoch}"
        writer.add_stream(name, spec)
        return name

    def _catch_up(self, backlog: Backlog) -> Generator[tuple[float, str], None, dict[str, Any]]:
        """Keep what lies before the live items; those wait in the streams' memory meanwhile."""
        pause = time.monotonic() + _SLICE
        try:
            for name, frame in backlog:
                self._keep(name, frame)
                if time.monotonic() >= pause and self._backlog is backlog:
                    yield backlog.fraction, f"keeping what was before: {name}"
                    pause = time.monotonic() + _SLICE
                if self._backlog is not backlog:
                    raise RecordingError(f"{self.name}.start(): was stopped")
        except RecordingError as error:
            if self._backlog is backlog:
                self._backlog = None
                self._fail(error)
            raise
        self._backlog = None
        for name, seconds in backlog.reached.items():
            if seconds < 0.9 * backlog.seconds:
                self.log.warning(
                    "%s: its memory reached back only %.2g s of %.2g s; enlarge its `buffer`",
                    name,
                    seconds,
                    backlog.seconds,
                )
        return {"path": self.path, "before": backlog.reached}

    # ------------------------------------------------------------ recordings

    def _begin(self, name: str) -> None:
        self._note_events()  # what was before is not of this recording
        about = {"session": self.lab.name, "node": self.name, "nodes": self.lab.nodes}
        chunk = int(self.chunk * MIB)
        self._take(
            RecordingWriter.create(self.folder, name or self.run, chunk=chunk, metadata=about)
        )
        self.log.info("records to %s", self.path)

    def _go_on(self, path: Path) -> None:
        """Resume after a death; where the recording is damaged, begin another."""
        try:
            self._take(RecordingWriter.resume(path, chunk=int(self.chunk * MIB)))
        except RecordingError as error:
            self.log.error("cannot go on with the recording, begins another: %s", error)
            self._begin("")
        else:
            self.log.info("goes on recording to %s", self.path)

    def _take(self, writer: RecordingWriter) -> None:
        self._writer = writer
        self._streams = {}
        self._asked = "settings" in writer.metadata
        self._set_limit()
        self.path = str(writer.path.resolve())
        self.recording = True
        self._remember(self.path)

    def _end(self, reason: str = "") -> dict[str, Any]:
        self._note_events()
        writer = self._writer
        assert writer is not None
        self._writer = self._backlog = None
        self._remember("")
        told = {
            "path": self.path,
            "items": {name: stream.items for name, stream in writer.streams.items()},
            "lost": {name: stream.lost for name, stream in writer.streams.items()},
            "bytes": writer.nbytes,
        }
        try:
            self._finish(writer, reason)
        finally:
            self.recording = False  # who sees this finds the recording closed
        why = f": {reason}" if reason else ""
        self.log.info("recorded %d items to %s%s", writer.items, self.path, why)
        return told

    def _finish(self, writer: RecordingWriter, reason: str = "") -> None:
        notes: dict[str, Any] = {"ended_because": reason} if reason else {}
        writer.close(ledger={"streams": stream_accounts(self.lab.folder)}, **notes)

    def _fail(self, error: RecordingError) -> None:
        """A disk that is full or refuses: end the recording, or say so now and then."""
        now = time.monotonic()
        if self.when_full == "stop":
            self.log.error("%s; the recording ends", error)
            try:
                if self._writer is not None:
                    self._end(str(error))
            except RecordingError as second:
                self.log.error("the recording could not be closed in order: %s", second)
        elif now - self._complained > _SILENCE:
            self._complained = now
            self.log.error("%s; items are being lost", error)

    def _set_limit(self) -> None:
        """Find the size or the moment at which the recording ends by itself."""
        self._most = self._until = None
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(\w+)", self.limit)
        if found is None or self._writer is None:
            return
        amount = float(found[1]) * _UNITS[found[2]]
        if found[2].endswith("iB"):
            self._most = amount
        else:
            self._until = time.monotonic() + amount - self._writer.age

    # ------------------------------------------------------------ the session

    @property
    def _memory(self) -> Path:
        """Where the present recording is noted: the folder lives as long as the session."""
        return self.lab.folder / f"{self.name}.recorder.json"

    def _remember(self, path: str) -> None:
        write_json(self._memory, {"path": path})

    def _recall(self) -> str | None:
        """What the recorder was recording to before it was started again; None at first."""
        try:
            return str(json.loads(self._memory.read_text())["path"])
        except FileNotFoundError:
            return None

    def _ask_settings(self) -> dict[str, Any]:
        """The settings of all nodes, as far as they tell them at once."""
        found = {self.name: self.model_dump(mode="json")}
        asker = Asker(self.lab.folder, who=self.name)
        try:
            for node in self.lab.nodes:
                if node == self.name:
                    continue
                try:
                    found[node] = asker.ask(node, "get", timeout=_PATIENCE)
                except MareyError as error:
                    self.log.warning("recorded without the settings of %s: %s", node, error)
        finally:
            asker.close()
        return found
