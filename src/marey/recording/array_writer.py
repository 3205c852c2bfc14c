"""Appends to one Zarr array on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import RecordingError
from marey.recording.layout import META, write_json
from marey.recording.zarray import ArrayMeta


class ArrayWriter:
    """One Zarr array that grows along its first axis.

    Bytes go straight from the caller's memory into the chunk's file. A new chunk file gets its
    full length at once without taking room (a sparse file), so that Zarr's readers, which expect
    whole chunks, can read it at any moment. What `write` stored becomes part of the array for
    them when `publish` advances the shape.
    """

    def __init__(self, folder: Path, meta: ArrayMeta, length: int | None = None) -> None:
        """Create the array, or go on with one that has published `length` items.

        Raises:
            OSError: the folder cannot be written.
        """
        self.meta = meta
        self._folder = folder
        self._item_bytes = meta.item_bytes
        self._chunk = -1
        self._fd = -1
        self.published = length or 0
        if length is None:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / META, meta.to_json(0))

    def write(self, at: int, items: NDArray[Any], count: int = 1) -> None:
        """Store `count` items from position `at` on; `items` is C-contiguous memory of them.

        Raises:
            OSError: not all could be written.
        """
        chunk, first = divmod(at, self.meta.chunk)
        if chunk != self._chunk:
            self._open(chunk)
        if first + count <= self.meta.chunk:
            _write_all(self._fd, items, first * self._item_bytes)
            return
        flat = items.reshape(-1).view(np.uint8)
        fits = self.meta.chunk - first
        self.write(at, flat[: fits * self._item_bytes], fits)
        self.write(at + fits, flat[fits * self._item_bytes :], count - fits)

    def publish(self, length: int) -> None:
        """Advance the array's shape, in one step, to `length` items.

        Raises:
            OSError: the metadata cannot be written; the old length stands.
        """
        if length != self.published:
            write_json(self._folder / META, self.meta.to_json(length))
            self.published = length

    def close(self) -> None:
        """Release the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = self._chunk = -1

    def _open(self, chunk: int) -> None:
        self.close()
        path = self._folder / self.meta.chunk_name(chunk)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(fd, self.meta.chunk * self._item_bytes)
        except OSError:
            os.close(fd)
            raise
        self._fd, self._chunk = fd, chunk


def open_array(folder: Path, meta: ArrayMeta, *, resume: bool) -> ArrayWriter:
    """Create an array, or with `resume` go on with the one that is there, in its own chunks.

    Raises:
        OSError: the folder cannot be written.
        RecordingError: what is there is damaged or of another type or shape.
    """
    if not resume:
        return ArrayWriter(folder, meta)
    found, length = ArrayMeta.read(folder)
    if (found.dtype, found.item) != (meta.dtype, meta.item):
        raise RecordingError(
            f"{folder}: found items {found.item} of {found.dtype}, "
            f"expected {meta.item} of {meta.dtype}"
        )
    return ArrayWriter(folder, found, length)


def _write_all(fd: int, items: NDArray[Any], offset: int) -> None:
    """`os.pwrite` until everything is written: it may stop short at 2 GiB or on a full disk."""
    done = os.pwrite(fd, items.data, offset)
    if done < items.nbytes:
        rest = items.reshape(-1).view(np.uint8)
        while done < items.nbytes:
            done += os.pwrite(fd, rest[done:].data, offset + done)
