"""The rows of a stream of results, on their way to disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.recording.array_writer import open_array
from marey.recording.layout import ROWS, chunk_items, folder_name
from marey.recording.zarray import ArrayMeta, stored
from marey.stream.spec import Spec


@dataclass(frozen=True)
class Column:
    """One field of a stream's rows as a Zarr array of its own.

    Attributes:
        name: the field's name.
        dtype: its type in the rows.
        meta: the array.
    """

    name: str
    dtype: np.dtype[Any]
    meta: ArrayMeta

    @property
    def folder(self) -> str:
        """Folder of the array inside `rows`."""
        return folder_name(self.name)


def stamp_name(name: str, fields: tuple[str, ...]) -> str:
    """Name of a column that repeats a stamp for each row: `item_` before it if a field has it."""
    return f"item_{name}" if name in fields else name


def columns(spec: Spec, chunk: int) -> list[Column]:
    """The columns of a stream of rows, without that of `seq`."""
    found = []
    for name in spec.dtype.names or ():
        dtype = spec.dtype[name]
        kind, axes = stored(dtype)
        attributes: dict[str, Any] = {"field": name}
        if name in spec.fields:
            attributes["meaning"] = spec.fields[name]
        if (dtype.subdtype or (dtype,))[0] != kind:
            attributes["dtype"] = str(dtype)
        meta = ArrayMeta(kind, axes, chunk_items(dtype.itemsize, chunk), ("row",), attributes)
        found.append(Column(name, dtype, meta))
    return found


class RowStore:
    """Writes rows into one Zarr array for each field, and the item's `seq` beside each row."""

    def __init__(self, folder: Path, spec: Spec, chunk: int, *, resume: bool) -> None:
        self._columns = [
            (column, open_array(folder / ROWS / column.folder, column.meta, resume=resume))
            for column in columns(spec, chunk)
        ]
        seq = stamp_name("seq", spec.dtype.names or ())
        meta = ArrayMeta(np.dtype("u8"), (), chunk_items(8, chunk), ("row",))
        self._seq = open_array(folder / ROWS / folder_name(seq), meta, resume=resume)

    def write(self, start: int, rows: NDArray[Any], seq: int) -> int:
        """Store an item's rows from row `start` on; returns how many they are.

        Raises:
            OSError: they cannot be written.
        """
        count = rows.size
        if count:
            rows = rows.reshape(-1)
            for column, array in self._columns:
                values = np.ascontiguousarray(rows[column.name])
                if values.dtype != column.meta.dtype:
                    values = values.view(column.meta.dtype)
                array.write(start, values, count)
            self._seq.write(start, np.full(count, seq, np.uint64), count)
        return count

    def publish(self, items: int, rows: int) -> None:
        """Show the first `rows` to readers of Zarr.

        Raises:
            OSError: the metadata cannot be written.
        """
        for _, array in self._columns:
            array.publish(rows)
        self._seq.publish(rows)

    def close(self) -> None:
        """Release the files."""
        for _, array in self._columns:
            array.close()
        self._seq.close()
