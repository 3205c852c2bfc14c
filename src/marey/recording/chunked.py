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

_BLOCK = 2**18
"""Bytes read at a time where little is asked for, and kept: walking along is then cheap."""

_KEPT = 4
"""Blocks kept."""


class ChunkedArray:
    """An array on disk that is read where it is indexed, and only there.

    Whole frames are read, or of `frames[:, 10:20]` only the rows asked for, into memory of their
    own. Nothing stays open or mapped: a file that is cut or vanishes is an error, never a crash,
    and any number of arrays may be in use. `numpy.asarray` loads all of it.

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
        self._blocks: OrderedDict[int, NDArray[Any]] = OrderedDict()

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
            k = int(picked) % len(self)
            return self._items(k, 1)[(0, *rest)]
        found = np.empty((picked.size, *self.shape[1:]), self.dtype)
        for k, item in enumerate(picked.ravel().tolist()):
            found[k] = self._items(item % len(self), 1)[0]
        return found[(np.arange(picked.size).reshape(picked.shape), *rest)]

    def _slice(self, items: range, rest: list[Any]) -> NDArray[Any]:
        """The items of a range, each indexed further by `rest`."""
        if items and rest and all(isinstance(r, (int, slice)) or r is ... for r in rest):
            # Item by item: a small part of many frames must not need memory for all of them.
            low, high, inner = self._narrow(rest)
            first = self._part(items[0], low, high)[inner]
            found = np.empty((len(items), *np.shape(first)), self.dtype)
            found[0] = first
            for k in range(1, len(items)):
                found[k] = self._part(items[k], low, high)[inner]
            return found
        if items.step == 1 or not items:
            found = self._items(items.start, len(items))
        else:
            found = np.empty((len(items), *self.shape[1:]), self.dtype)
            for k, item in enumerate(items):
                found[k] = self._items(item, 1)[0]
        return found[(slice(None), *rest)] if rest else found

    def _narrow(self, rest: list[Any]) -> tuple[int, int, tuple[Any, ...]]:
        """Which rows of a frame an index needs, and the index into those rows."""
        if self.ndim > 2 and isinstance(rest[0], slice):
            rows = range(*rest[0].indices(self.shape[1]))
            if rows and rows.step > 0:
                return rows[0], rows[-1] + 1, (slice(None, None, rows.step), *rest[1:])
        return 0, self.shape[1] if self.ndim > 1 else 1, tuple(rest)

    def _part(self, item: int, low: int, high: int) -> NDArray[Any]:
        """Some rows of one item."""
        if self.ndim < 2 or high - low == self.shape[1]:
            found: NDArray[Any] = self._items(item, 1)[0]
            return found
        out = np.empty((high - low, *self._meta.item[1:]), self._meta.dtype)
        chunk, k = divmod(item, self._meta.chunk)
        row = self._meta.item_bytes // self._meta.item[0]
        self._read(out, chunk, k * self._meta.item_bytes + low * row)
        return out.view(self.dtype).reshape(high - low, *self.shape[2:])

    def _items(self, first: int, count: int) -> NDArray[Any]:
        """Consecutive items, in memory of their own."""
        out = np.empty((count, *self._meta.item), self._meta.dtype)
        if 0 < 4 * out.nbytes <= _BLOCK:
            size = _BLOCK // self._meta.item_bytes
            for at in range(first // size, (first + count - 1) // size + 1):
                block = self._block(at, size)
                low, high = max(first, at * size), min(first + count, (at + 1) * size)
                out[low - first : high - first] = block[low - at * size : high - at * size]
        else:
            self._load(out, first)
        return out.view(self.dtype).reshape(count, *self.shape[1:])

    def _block(self, at: int, size: int) -> NDArray[Any]:
        """Consecutive small items, read together and kept."""
        if at in self._blocks:
            self._blocks.move_to_end(at)
            return self._blocks[at]
        out = np.empty((min(size, len(self) - at * size), *self._meta.item), self._meta.dtype)
        self._load(out, at * size)
        self._blocks[at] = out
        if len(self._blocks) > _KEPT:
            self._blocks.popitem(last=False)
        return out

    def _load(self, out: NDArray[Any], first: int) -> None:
        """Fill `out` with the items from `first` on, of as many chunks as they stand in."""
        done = 0
        while done < len(out):
            chunk, k = divmod(first + done, self._meta.chunk)
            count = min(len(out) - done, self._meta.chunk - k)
            self._read(out[done : done + count], chunk, k * self._meta.item_bytes)
            done += count

    def _read(self, out: NDArray[Any], chunk: int, offset: int) -> None:
        """Fill `out` with the bytes of a chunk's file from `offset` on."""
        path = self._folder / self._meta.chunk_name(chunk)
        left = out.reshape(-1).view(np.uint8).data
        try:
            with open(path, "rb", buffering=0) as file:
                file.seek(offset)
                while left:
                    got = file.readinto(left)
                    if not got:
                        raise RecordingError(f"{path}: cut short")
                    left = left[got:]
        except OSError as error:
            raise RecordingError(f"{path}: cannot be read ({error})") from error
