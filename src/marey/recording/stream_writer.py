"""Appends the items of one stream to a recording."""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from marey.errors import RecordingError
from marey.recording.frame_store import FrameStore
from marey.recording.gaps import AWAY, TORN, Gap, GapFile
from marey.recording.index import read_index, rows_end
from marey.recording.layout import (
    FORMAT,
    GAPS_FILE,
    INDEX,
    INDEX_FILE,
    META,
    ROWS,
    STAMPS,
    index_record,
    write_json,
)
from marey.recording.row_store import RowStore
from marey.recording.run import read_spec
from marey.recording.stamp_store import StampStore
from marey.recording.zarray import ArrayMeta, group
from marey.stream.ledger import OVERWRITTEN
from marey.stream.spec import Spec


class Item(Protocol):
    """What a recording needs to know of a frame; `marey.stream.Frame` is one."""

    @property
    def data(self) -> NDArray[Any]:
        """The pixels or rows, of the item's own shape."""

    @property
    def stamps(self) -> NDArray[Any]:
        """(1,) of `marey.stream.STAMP`."""

    @property
    def epoch(self) -> int:
        """How many times the stream's writer has been started."""

    @property
    def lost(self) -> range:
        """The `seq` lost just before the item."""

    def valid(self) -> bool:
        """Whether `data` has not been overwritten meanwhile."""


class StreamWriter:
    """The folder of one stream in a recording, while it is written.

    An item is part of the recording once its record stands in the index, which is written last.
    """

    def __init__(self, folder: Path, name: str, spec: Spec, chunk: int) -> None:
        """Create the folder, or go on with one whose writer ended or was killed.

        Args:
            folder: where the stream stands in the run.
            name: the stream's name.
            spec: its description.
            chunk: bytes of one file of pixels; a resumed stream keeps its own.

        Raises:
            OSError: the folder cannot be written.
            RecordingError: what is there is damaged, or of a stream that differs.
        """
        self.name = name
        self.spec = spec
        self._dtype = spec.dtype
        self._shape = spec.shape
        self.expected = OVERWRITTEN
        """Why the next item may not follow the last one."""
        self._epoch = 0
        self._next: int | None = None
        resume = (folder / META).exists()
        records: NDArray[Any] = np.empty(0, INDEX)
        if resume:
            records = self._read(folder)
        elif (folder / INDEX_FILE).exists() and (folder / INDEX_FILE).stat().st_size:
            raise RecordingError(f"{folder}: holds items, but its description {META} is missing")
        self.items = len(records)
        self._rows = rows_end(records) if spec.is_rows else 0
        self._ndim = len(spec.shape)
        with ExitStack() as undo:
            folder.mkdir(parents=True, exist_ok=True)
            store = RowStore if spec.is_rows else FrameStore
            self._data: FrameStore | RowStore = store(folder, spec, chunk, resume=resume)
            undo.callback(self._data.close)
            self._stamps = StampStore(folder, spec, records, resume=resume)
            undo.callback(self._stamps.close)
            if not resume:
                (folder / GAPS_FILE).write_bytes(b"")
            self._gaps = GapFile(folder / GAPS_FILE)
            undo.callback(self._gaps.close)
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
            self._index = os.open(folder / INDEX_FILE, flags, 0o644)
            undo.callback(os.close, self._index)
            os.ftruncate(self._index, self.items * INDEX.itemsize)
            if resume:
                self._continue(records)
            else:
                self._describe(folder)
            self._undo = undo.pop_all()

    @property
    def next(self) -> int:
        """The first item that is neither recorded nor told as missing."""
        return self._next or 0

    @property
    def lost(self) -> int:
        """How many items were published but not recorded."""
        return self._gaps.lost

    @property
    def nbytes(self) -> int:
        """Bytes of the recorded pixels (in slots of the greatest shape) or rows."""
        if self.spec.is_rows:
            return self._rows * self.spec.dtype.itemsize
        return self.items * self.spec.nbytes

    def fits(self, data: NDArray[Any]) -> bool:
        """Whether an item is of the stream's type and not greater than its greatest shape."""
        if data.dtype is not self._dtype and data.dtype != self._dtype:
            return False
        return data.shape == self._shape or (
            data.ndim == self._ndim
            and all(n <= most for n, most in zip(data.shape, self._shape, strict=True))
        )

    def append(self, item: Item) -> bool:
        """Add an item, and the gap before it; returns whether it is in the recording now.

        An item that is there already, by epoch and seq, is passed over. One whose memory was
        overwritten meanwhile becomes a gap.

        Raises:
            OSError: it could not be written; it is not in the recording.
            RecordingError: it is not of the stream's type and shape.
        """
        stamp = item.stamps.tobytes()
        seq = int.from_bytes(stamp[:8], sys.byteorder)
        if not self._is_new(seq, item):
            return False
        data = item.data
        if not self.fits(data):
            raise RecordingError(
                f"{self.name}, item {seq}: found {data.shape} of {data.dtype}, "
                f"expected at most {self._shape} of {self._dtype}"
            )
        if not data.flags.c_contiguous:
            data = np.ascontiguousarray(data)
        rows = self._data.write(self._rows if self.spec.is_rows else self.items, data, seq)
        if not item.valid():
            self.lose(range(seq, seq + 1), TORN)
            return False
        whole = index_record(stamp, self._epoch, self.items, self._rows, data.shape)
        if os.pwrite(self._index, whole, self.items * INDEX.itemsize) < len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._stamps.add(whole)
        self.items += 1
        self._rows += rows
        self._next = seq + 1
        return True

    def refuse(self, item: Item, cause: str) -> None:
        """Enter an item, and the gap before it, as published but not recorded."""
        seq = int(item.stamps["seq"][0])
        if self._is_new(seq, item):
            self.lose(range(seq, seq + 1), cause)

    def lose(self, lost: range, cause: str) -> None:
        """Enter items as published but not recorded."""
        self._gaps.add(Gap(lost, cause, self._epoch, time.time_ns()))
        self._next = lost.stop

    def flush(self) -> None:
        """Show everything that was appended to readers of Zarr, pixels before stamps.

        Raises:
            OSError: it cannot be written; it is tried again at the next call.
        """
        self._gaps.flush()
        self._data.publish(self.items, self._rows)
        self._stamps.publish()

    def close(self) -> None:
        """Flush, and release the files in any case.

        Raises:
            OSError: the flush failed; what was appended is in the recording all the same.
        """
        with self._undo:
            self.flush()

    def _is_new(self, seq: int, item: Item) -> bool:
        """Enter the gap before an item; False if the item was there before."""
        epoch = item.epoch
        if self._next is None:
            self._next = min(item.lost.start, seq) if item.lost else seq
            self._epoch = epoch
        if epoch < self._epoch or (epoch == self._epoch and seq < self._next):
            return False
        if epoch > self._epoch:
            self._epoch, self._next = epoch, min(self._next, seq)
        if seq > self._next:
            self.lose(range(self._next, seq), self.expected)
        self.expected = OVERWRITTEN
        return True

    def _describe(self, folder: Path) -> None:
        """Write what the stream is; from here on the recording has it."""
        write_json(folder / STAMPS / META, group({}))
        if self.spec.is_rows:
            write_json(folder / ROWS / META, group({}))
        attributes = {"stream": self.name, "spec": json.loads(self.spec.to_json())}
        write_json(folder / META, group({FORMAT: attributes}))

    def _read(self, folder: Path) -> NDArray[Any]:
        """The index of a stream that goes on."""
        found = read_spec(folder)[1]
        if (found.shape, found.dtype) != (self.spec.shape, self.spec.dtype):
            raise RecordingError(
                f"{folder}: found items {found.shape} of {found.dtype}, "
                f"expected {self.spec.shape} of {self.spec.dtype} to go on with"
            )
        promised = ArrayMeta.read(folder / STAMPS / "seq")[1]
        records, problem = read_index(folder / INDEX_FILE, found, promised)
        if problem:
            raise RecordingError(problem)
        return np.array(records)

    def _continue(self, records: NDArray[Any]) -> None:
        """Find which item would be the next one."""
        self.expected = AWAY
        ends = [(int(r["epoch"]), int(r["seq"]) + 1) for r in records[-1:]]
        ends += [(gap.epoch, gap.lost.stop) for gap in [self._gaps.last] if gap]
        if ends:
            self._epoch, self._next = max(ends)
