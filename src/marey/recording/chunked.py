"""Reads one Zarr array of a recording lazily, like a NumPy array."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from marey.errors import RecordingError
from marey.recording.zarray import ArrayMeta

_MAPPED = 64
"""Chunks kept mapped: enough to walk back and forth, few enough for any limit of a process."""


class ChunkedArray:
    """An array on disk that is read where it is indexed, and only there.

    One item and slices inside one chunk are read-only views of the file; anything else is a copy
    in memory. `numpy.asarray` loads all of it.

    Attributes:
        shape: (n, ...), as many items as the recording had when it was opened.
        dtype: type of one element.
    """

    def __init__(
        self,
        folder: Path,
        meta: ArrayMeta,
        length: int,
        dtype: np.dtype[Any] | None = None,
        item: tuple[int, ...] | None = None,
    ) -> None:
        """Show `length` items, as elements of `dtype` and items of shape `item` where stored so."""
        self.dtype = dtype or meta.dtype
        self.shape = (length, *(meta.item if item is None else item))
        self._folder = folder
        self._meta = meta
        self._chunks: OrderedDict[int, NDArray[Any]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.shape} of {self.dtype}>"

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[k] for k in range(len(self)))

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype=dtype, copy=copy)

    def __getitem__(self, key: Any) -> Any:
        """Index like a NumPy array; the first index decides what is read from disk.

        Raises:
            IndexError: as NumPy does.
            RecordingError: a chunk's file is missing or cut short.
        """
        first, *rest = key if isinstance(key, tuple) and key else (key,)
        if isinstance(first, slice):
            return self._slice(range(*first.indices(len(self))), rest)
        if first is None or first is Ellipsis or isinstance(first, (bool, np.bool_, tuple)):
            return self[:][key]
        picked = np.asarray(first)
        if picked.dtype == bool:
            if picked.shape != self.shape[: picked.ndim]:
                raise IndexError(f"mask of shape {picked.shape} for an array of {self.shape}")
            if picked.ndim != 1:
                return self[:][key]
            picked = np.flatnonzero(picked)
        if picked.size and picked.dtype.kind not in "iu":
            raise IndexError(f"index of an item: found {first!r}, expected a whole number")
        if ((picked < -len(self)) | (picked >= len(self))).any():
            raise IndexError(f"item {first} of {len(self)}")
        if picked.ndim == 0:
            chunk, k = divmod(int(picked) % len(self), self._meta.chunk)
            return self._map(chunk)[(k, *rest)]
        found = self._new(picked.size)
        for k, item in enumerate(picked.ravel().tolist()):
            found[k] = self[item]
        return found[(np.arange(picked.size).reshape(picked.shape), *rest)]

    def _slice(self, items: range, rest: list[Any]) -> NDArray[Any]:
        """The items of a range, each indexed further by `rest`."""
        if not items:
            return self._new(0)[(slice(None), *rest)]
        if items.step < 0:
            return self._slice(items[::-1], [])[(slice(None, None, -1), *rest)]
        if not all(isinstance(part, (int, np.integer, slice)) or part is ... for part in rest):
            return self._slice(items, [])[(slice(None), *rest)]
        parts = []
        size = self._meta.chunk
        for k in range(items[0] // size, items[-1] // size + 1):
            first = -((k * size - items.start) // -items.step) if k * size > items.start else 0
            local = range(first * items.step + items.start, min(items.stop, (k + 1) * size))
            if local:
                begin = local[0] - k * size
                part = slice(begin, local[-1] - k * size + 1, items.step)
                parts.append(self._map(k)[(part, *rest)])
        return parts[0] if len(parts) == 1 else np.concatenate(parts, dtype=self.dtype)

    def _new(self, count: int) -> NDArray[Any]:
        return np.empty((count, *self.shape[1:]), self.dtype)

    def _map(self, chunk: int) -> NDArray[Any]:
        """One chunk, mapped from its file."""
        found = self._chunks.get(chunk)
        if found is not None:
            self._chunks.move_to_end(chunk)
            return found
        path = self._folder / self._meta.chunk_name(chunk)
        shape = (self._meta.chunk, *self._meta.item)
        try:
            mapped = np.memmap(path, self._meta.dtype, "r", shape=shape)
        except (OSError, ValueError) as error:
            raise RecordingError(f"{path}: missing or cut short ({error})") from error
        found = mapped.view(np.ndarray)
        if self.dtype != self._meta.dtype:
            found = found.view(self.dtype)
        found = found.reshape(self._meta.chunk, *self.shape[1:])
        self._chunks[chunk] = found
        if len(self._chunks) > _MAPPED:
            self._chunks.popitem(last=False)
        return found
