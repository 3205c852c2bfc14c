"""The index of a stream's items, which decides what is part of a recording."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import RecordingError
from marey.recording.layout import INDEX, WORDS, checksums
from marey.stream.spec import Spec

_MAPPED = 2**20
"""Records from which on an index is mapped instead of loaded."""


def read_index(path: Path, spec: Spec, promised: int) -> tuple[NDArray[Any], str]:
    """The whole records of an `index.bin` and, where others are damaged, what is wrong.

    Records behind the last whole one are what a kill left of an append, unless the arrays'
    metadata `promised` more items, or whole records follow: then the file was damaged later.

    Args:
        path: the file; a long one is mapped, not loaded.
        spec: the stream's description, which items must fit.
        promised: the number of items that the Zarr metadata tells.

    Returns:
        (n,) of `INDEX`, read-only; and the reason why there are not more, "" where there is none.

    Raises:
        RecordingError: the file cannot be read at all.
    """
    try:
        count = path.stat().st_size // INDEX.itemsize
        # A mapping holds a descriptor, which many small streams must not cost.
        if count < _MAPPED:
            found: NDArray[Any] = np.fromfile(path, INDEX, count)
        else:
            found = np.memmap(path, INDEX, "r", shape=(count,)).view(np.ndarray)
    except (OSError, ValueError) as error:
        raise RecordingError(f"{path}: cannot be read ({error})") from error
    words = found.view(np.uint64).reshape(count, WORDS)
    good = (words[:, -1] == checksums(words)) & (found["item"] == np.arange(count, dtype="u8"))
    bad = np.flatnonzero(~good)
    whole = int(bad[0]) if len(bad) else count
    records = found[:whole]
    if good[whole:].any():
        return records, f"{path}: the record of item {whole} is damaged, others follow it"
    if whole < promised:
        return records, f"{path}: holds {whole} items where {promised} were recorded"
    return records, _misfit(path, records, spec)


def _misfit(path: Path, records: NDArray[Any], spec: Spec) -> str:
    """What in the records cannot be, given the stream's description."""
    ndim = len(spec.shape)
    shapes = records["shape"]
    if (shapes[:, :ndim] > spec.shape).any() or (shapes[:, ndim:] != 1).any():
        return f"{path}: an item is greater than the stream's {spec.shape}"
    if spec.is_rows:
        ends = np.cumsum(shapes.astype("u8").prod(axis=1), dtype="u8")
        if (records["start"][1:] != ends[:-1]).any() or records["start"][:1].any():
            return f"{path}: the rows of an item do not follow those of the one before it"
    return ""


def rows_end(records: NDArray[Any]) -> int:
    """The number of rows that the items of a stream of rows have together."""
    if not len(records):
        return 0
    last = records[-1]
    return int(last["start"]) + prod(int(n) for n in last["shape"])
