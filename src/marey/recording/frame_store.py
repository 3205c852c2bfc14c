"""The pixels of a stream of frames, on their way to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.recording.array_writer import ArrayWriter, open_array
from marey.recording.layout import FRAMES, chunk_items
from marey.recording.zarray import ArrayMeta, stored
from marey.stream.spec import Spec

_DIMS = {
    1: ("item", "x"),
    2: ("item", "y", "x"),
    3: ("item", "y", "x", "channel"),
}


def frames_meta(spec: Spec, chunk: int) -> ArrayMeta:
    """The array `frames`: (items, *shape), in chunks of at most `chunk` bytes."""
    dtype, axes = stored(spec.dtype)
    attributes: dict[str, Any] = {"pixel_format": spec.pixel_format} if spec.pixel_format else {}
    if axes:
        attributes["dtype"] = spec.dtype.str
    dims = _DIMS.get(len(spec.shape), ("item",))
    return ArrayMeta(dtype, (*spec.shape, *axes), chunk_items(spec.nbytes, chunk), dims, attributes)


class FrameStore:
    """Writes frames into the Zarr array `frames`, one slot of the greatest shape for each."""

    def __init__(self, folder: Path, spec: Spec, chunk: int, *, resume: bool) -> None:
        self._shape = spec.shape
        self._array: ArrayWriter = open_array(
            folder / FRAMES, frames_meta(spec, chunk), resume=resume
        )
        self._slot = np.zeros(0, spec.dtype)

    def write(self, item: int, frame: NDArray[Any], seq: int) -> int:
        """Store the item's pixels; returns how many rows they are, which is none.

        A frame of the greatest shape goes to disk from where it lies. A smaller one stands in
        the upper left corner of its slot, the rest of which is zero.

        Raises:
            OSError: it cannot be written.
        """
        if frame.shape != self._shape:
            if not self._slot.size:
                self._slot = np.zeros(self._shape, frame.dtype)
            self._slot.fill(0)
            self._slot[tuple(slice(n) for n in frame.shape)] = frame
            frame = self._slot
        if frame.dtype != self._array.meta.dtype:
            frame = frame.view(self._array.meta.dtype)
        self._array.write(item, frame)
        return 0

    def publish(self, items: int, rows: int) -> None:
        """Show the first `items` to readers of Zarr.

        Raises:
            OSError: the metadata cannot be written.
        """
        self._array.publish(items)

    def close(self) -> None:
        """Release the files."""
        self._array.close()
