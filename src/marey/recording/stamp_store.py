"""The stamps of a stream's items as Zarr arrays, for readers that know nothing of the index."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.recording.array_writer import open_array
from marey.recording.layout import INDEX, STAMP_CHUNK, STAMP_NAMES, STAMPS, U8
from marey.recording.zarray import ArrayMeta
from marey.stream.spec import UNKNOWN, UNKNOWN_TIME, Spec

_MEANING = {
    "seq": "number of the item in its stream",
    "source_seq": f"seq of the item that it was made of; {UNKNOWN}: of none",
    "device_frame": f"frame counter of the device; {UNKNOWN}: it has none",
    "device_time": f"ns on the device's clock; {UNKNOWN_TIME}: it tells none",
    "host_time": "ns of Unix time, of the exposure",
    "mono_time": "ns on the host's monotonic clock, of the exposure",
    "published": "ns on the host's monotonic clock, of the publication",
    "epoch": "how many times the stream's writer has been started",
    "shape": "the item's own shape, in the upper left corner of its slot",
    "row_start": "the item's first row in the columns",
    "row_count": "how many rows the item has",
}


Pick = Callable[[NDArray[Any]], NDArray[Any]]


def _fields(spec: Spec) -> dict[str, tuple[ArrayMeta, Pick]]:
    """The arrays of a stream's stamps, each with how its values come out of the index."""
    ndim = len(spec.shape)
    found: dict[str, tuple[ArrayMeta, Pick]] = {
        name: _field(name, INDEX[name], itemgetter(name)) for name in (*STAMP_NAMES, "epoch")
    }
    if spec.is_rows:
        found["row_start"] = _field("row_start", U8, itemgetter("start"))
        found["row_count"] = _field("row_count", U8, lambda r: r["shape"].prod(axis=1, dtype=U8))
    else:
        found["shape"] = _field("shape", np.dtype("u4"), lambda r: r["shape"][:, :ndim], ndim)
    return found


def _field(name: str, dtype: np.dtype[Any], pick: Pick, *axes: int) -> tuple[ArrayMeta, Pick]:
    dims = ("item", "axis") if axes else ("item",)
    return ArrayMeta(dtype, axes, STAMP_CHUNK, dims, {"meaning": _MEANING[name]}), pick


class StampStore:
    """Copies records of the index into one array for each field, many at a time."""

    def __init__(self, folder: Path, spec: Spec, records: NDArray[Any], *, resume: bool) -> None:
        """Create the arrays, or catch up with the `records` that the index has already."""
        self._arrays = [
            (open_array(folder / STAMPS / name, meta, resume=resume), pick)
            for name, (meta, pick) in _fields(spec).items()
        ]
        self._done = min(array.published for array, _ in self._arrays)
        self._waiting = bytearray(records[self._done :].tobytes())

    def add(self, record: bytes) -> None:
        """Take one record of the index."""
        self._waiting += record

    def publish(self) -> None:
        """Write what waits and show it to readers of Zarr.

        Raises:
            OSError: it cannot be written; it goes on waiting.
        """
        records = np.frombuffer(bytes(self._waiting), INDEX)
        if not len(records):
            return
        for array, pick in self._arrays:
            array.write(self._done, np.ascontiguousarray(pick(records)), len(records))
        for array, _ in self._arrays:
            array.publish(self._done + len(records))
        self._done += len(records)
        self._waiting.clear()

    def close(self) -> None:
        """Release the files."""
        for array, _ in self._arrays:
            array.close()
