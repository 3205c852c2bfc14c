"""One stream of a recording, for reading."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import RecordingError
from marey.recording.chunked import ChunkedArray
from marey.recording.gaps import UNTOLD, Gap, joined, read_gaps, untold
from marey.recording.index import read_index, rows_end
from marey.recording.item import RecordedItem
from marey.recording.layout import FRAMES, GAPS_FILE, INDEX_FILE, MIB, ROWS, STAMP_NAMES, STAMPS
from marey.recording.pandas_table import to_pandas
from marey.recording.row_store import columns, stamp_name
from marey.recording.run import read_spec
from marey.recording.zarray import ArrayMeta, stored
from marey.stream.spec import STAMP

if TYPE_CHECKING:
    import pandas

_REPEATED = ("seq", "source_seq", "host_time", "mono_time")
"""Stamps that stand beside each row in `RecordedStream.rows`."""


class RecordedStream:
    """The items of one stream as they were when the recording was opened.

    `stream[i]` is the data of one item in its own shape; `stream[a:b]` are frames as one
    (n, H, W) array. Iteration gives `RecordedItem`s in order.

    Attributes:
        name: the stream's name.
        spec: its description.
    """

    def __init__(self, folder: Path, *, rescue: bool = False) -> None:
        """Read the index of a stream.

        Args:
            folder: where the stream stands in its run.
            rescue: of a damaged index, take what stands before the damage.

        Raises:
            RecordingError: the index or the description is damaged.
        """
        self.name, self.spec = read_spec(folder)
        self._folder = folder
        promised = ArrayMeta.read(folder / STAMPS / "seq")[1]
        self._index, problem = read_index(folder / INDEX_FILE, self.spec, promised)
        if problem and not rescue:
            raise RecordingError(
                f"{problem}; open_recording(..., rescue=True) reads the items before it"
            )
        self._shapes = self._index["shape"][:, : len(self.spec.shape)]
        self._gaps = read_gaps(folder / GAPS_FILE)[0]

    def __repr__(self) -> str:
        what = f"rows {self.spec.dtype.names}" if self.spec.is_rows else f"{self.frames!r}"
        return f"<RecordedStream {self.name!r}: {len(self)} items, {what}>"

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[RecordedItem]:
        return (self.item(i) for i in range(len(self)))

    def __getitem__(self, key: int | slice) -> NDArray[Any]:
        """The data of one item in its own shape, or of a slice of items as one array.

        A slice of frames is (n, H, W ...), smaller frames in the upper left corner and zero
        around them; a slice of results is all their rows, (rows,).

        Raises:
            IndexError: there is no such item.
            RecordingError: its files are damaged.
        """
        if not isinstance(key, slice):
            return self.item(key).data
        if not self.spec.is_rows:
            found: NDArray[Any] = self.frames[key]
            return found
        items = range(*key.indices(len(self)))
        if items.step == 1 and items:
            return self._rows_at(slice(self._span(items[0])[0], self._span(items[-1])[1]))
        wanted = [np.arange(*self._span(i)) for i in items]
        return self._rows_at(np.concatenate(wanted)) if wanted else self._rows_at(slice(0))

    @cached_property
    def stamps(self) -> NDArray[Any]:
        """(n,) of `marey.stream.STAMP`, read-only: `stamps["seq"]`, `stamps["host_time"]` ..."""
        stamps = np.empty(len(self), STAMP)
        for name in STAMP_NAMES:
            stamps[name] = self._index[name]
        stamps.flags.writeable = False
        return stamps

    @property
    def epochs(self) -> NDArray[np.uint64]:
        """(n,), how many times the stream's writer had been started when it made each item."""
        found: NDArray[np.uint64] = self._index["epoch"]
        return found

    @cached_property
    def frames(self) -> ChunkedArray:
        """All frames as one array on disk, (n, H, W) or (n, H, W, channels).

        Raises:
            RecordingError: the stream has rows, or the array's metadata is damaged.
        """
        if self.spec.is_rows:
            raise RecordingError(f"{self.name}: found rows, expected frames (use .rows)")
        return self._array(f"{FRAMES}", len(self), self.spec.dtype, self.spec.shape)

    @cached_property
    def rows(self) -> NDArray[Any]:
        """All rows, (rows,), with the item's seq, source_seq, host_time and mono_time before them.

        A stamp whose name the rows use themselves is called `item_seq` and so on.

        Raises:
            RecordingError: the stream has frames, or a column's files are damaged.
        """
        if not self.spec.is_rows:
            raise RecordingError(f"{self.name}: found frames, expected rows (use .frames)")
        fields = self.spec.dtype.names or ()
        names = {stamp_name(stamp, fields): stamp for stamp in _REPEATED}
        stamps = [(name, STAMP[stamp]) for name, stamp in names.items()]
        rows = np.empty(
            rows_end(self._index), np.dtype([*stamps, *((f, self.spec.dtype[f]) for f in fields)])
        )
        counts = self._shapes.prod(axis=1, dtype=np.int64)
        for name, stamp in names.items():
            rows[name] = np.repeat(self._index[stamp], counts)
        data = self._rows_at(slice(None))
        for field in fields:
            rows[field] = data[field]
        return rows

    @cached_property
    def gaps(self) -> list[Gap]:
        """Items that were published but are not here, each range with its cause, in order."""
        told = sorted(self._gaps, key=_order)
        jumps = np.flatnonzero(self._index["seq"][1:] > self._index["seq"][:-1] + np.uint64(1))
        missing = [
            Gap(self._lost_before(i), UNTOLD, int(record["epoch"]), int(record["host_time"]))
            for i, record in zip((jumps + 1).tolist(), self._index[jumps + 1], strict=True)
        ]
        return sorted([*joined(told), *untold(missing, told)], key=_order)

    def item(self, i: int) -> RecordedItem:
        """The i-th item with its stamps; negative i count from the end.

        Raises:
            IndexError: there is no such item.
            RecordingError: its files are damaged.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"{self.name}: item {i} of {len(self)}")
        i %= len(self)
        shape = tuple(self._shapes[i].tolist())
        if self.spec.is_rows:
            data = self._rows_at(slice(*self._span(i))).reshape(shape)
            data.flags.writeable = False
        else:
            data = self.frames[i][tuple(slice(n) for n in shape)]
        return RecordedItem(
            data, self.stamps[i : i + 1], int(self._index["epoch"][i]), self._lost_before(i)
        )

    def by_seq(self, seq: int) -> RecordedItem | None:
        """The item of this `seq`, None where it is not recorded.

        If the stream began anew, so that a `seq` occurs twice, the later one.
        """
        found = self._index["seq"]
        if self._in_order:
            i = int(np.searchsorted(found, np.uint64(seq)))
            return self.item(i) if i < len(self) and found[i] == seq else None
        places = np.flatnonzero(found == seq)
        return self.item(int(places[-1])) if len(places) else None

    def to_pandas(self) -> pandas.DataFrame:
        """Rows with their stamps, or for frames the stamps, as a table.

        Stamps that are unknown are missing values; a field of n numbers becomes n columns
        `field_0`, `field_1` ...

        Raises:
            RecordingError: pandas is not installed, or files are damaged.
        """
        return to_pandas(self.rows if self.spec.is_rows else self.stamps)

    @cached_property
    def _in_order(self) -> bool:
        return bool((self._index["seq"][1:] > self._index["seq"][:-1]).all())

    @cached_property
    def _columns(self) -> list[tuple[str, ChunkedArray]]:
        total = rows_end(self._index)
        return [
            (c.name, self._array(f"{ROWS}/{c.folder}", total, *(c.dtype.subdtype or (c.dtype, ()))))
            for c in columns(self.spec, MIB)
        ]

    def _array(
        self, folder: str, length: int, dtype: np.dtype[Any], item: tuple[int, ...]
    ) -> ChunkedArray:
        """An array of the stream, if it is as the description wants it."""
        meta, _ = ArrayMeta.read(self._folder / folder)
        kind, axes = stored(np.dtype((dtype, item)))
        if (meta.dtype, meta.item) != (kind, axes):
            raise RecordingError(
                f"{self._folder / folder}: found items {meta.item} of {meta.dtype}, "
                f"expected {axes} of {kind}"
            )
        return ChunkedArray(self._folder / folder, meta, length, dtype, item)

    def _span(self, i: int) -> tuple[int, int]:
        """First row of an item and the row behind its last."""
        start = int(self._index["start"][i])
        return start, start + prod(self._shapes[i].tolist())

    def _rows_at(self, where: slice | NDArray[np.intp]) -> NDArray[Any]:
        """Some rows, put together from their columns."""
        values = {name: column[where] for name, column in self._columns}
        rows = np.empty(len(next(iter(values.values()))), self.spec.dtype)
        for name, column in values.items():
            rows[name] = column
        return rows

    def _lost_before(self, i: int) -> range:
        seq = int(self._index["seq"][i])
        if i:
            before = int(self._index["seq"][i - 1]) + 1
            return range(min(before, seq), seq)
        ends = [gap.lost for gap in self._gaps if gap.lost.stop == seq]
        return ends[0] if ends else range(seq, seq)


def _order(gap: Gap) -> tuple[int, int]:
    return gap.epoch, gap.lost.start
