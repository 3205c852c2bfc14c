"""Names and numbers of the recording format, version 1 (docs/reference/recording-format.md)."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from operator import mul
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from marey.errors import RecordingError
from marey.stream.spec import MAX_DIMS, STAMP

FORMAT = "marey-recording"
VERSION = 1

RUN = "run.json"
"""What the run is: session, settings, host, times, state. Its presence makes a folder a run."""

EVENTS_FILE = "events.jsonl"
"""What happened in the session meanwhile, one JSON object a line."""

LOCK = ".lock"
"""Held by the writer (flock), so that two never append to one run."""

RESERVE = ".reserve"
"""Room kept so that a full disk still lets the recording be closed in order."""

META = "zarr.json"
INDEX_FILE = "index.bin"
GAPS_FILE = "gaps.jsonl"
FRAMES = "frames"
ROWS = "rows"
STAMPS = "stamps"

MIB = 2**20
DEFAULT_CHUNK = 64 * MIB
"""Bytes of one file of pixels: few files even at a GB/s, small enough to copy one by one."""

MAX_CHUNK_ITEMS = 2**18
"""Rows or small frames in a chunk: some MiB a column, some seconds of a hundred beads at 200 Hz."""

STAMP_CHUNK = 2**14
"""Items in a chunk of stamps: 128 KiB, small also where a copy loses its holes."""

U8 = np.dtype("u8")
STAMP_NAMES: tuple[str, ...] = STAMP.names or ()

INDEX = np.dtype(
    [
        *STAMP.descr,
        ("epoch", "u8"),
        ("item", "u8"),
        ("start", "u8"),
        ("shape", "u4", (MAX_DIMS,)),
        ("reserved", "u8", (3,)),
        ("check", "u8"),
    ]
)
"""One record of `index.bin`: an item is part of the recording once its record is whole.

`start` is its first row in the columns of a stream of rows, `shape` its own shape. 128 bytes, so
that no record straddles two pages: a kill leaves it written or not.
"""

WORDS = INDEX.itemsize // 8
SEED = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio, the odd constant of SplitMix64 (Steele, Lea, Flood 2014)."""

_FACTORS = [pow(SEED, k + 1, 2**64) for k in range(WORDS - 1)]
_FACTOR_ARRAY = np.array(_FACTORS, np.uint64)
_AS_WORDS = struct.Struct(f"<{WORDS - 1}Q")
_AFTER_STAMP = struct.Struct(f"<QQQ{MAX_DIMS}I24x")


def checksums(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The check word of each record: `SEED + sum(word[k] * SEED**(k + 1))` modulo 2**64.

    All factors are odd, so a change of any single word is always found; a record of zeros, as a
    hole in a file reads, is never right. It needs no loop over records, unlike a CRC.

    Args:
        words: (n, 16), the records as 64-bit words.

    Returns:
        (n,)
    """
    sums: NDArray[np.uint64] = words[:, :-1] @ _FACTOR_ARRAY
    return sums + np.uint64(SEED)


def index_record(stamp: bytes, epoch: int, item: int, start: int, shape: tuple[int, ...]) -> bytes:
    """One record of the index; plain Python is faster here than NumPy on one record."""
    full = (*shape, *(1,) * (MAX_DIMS - len(shape)))
    body = stamp + _AFTER_STAMP.pack(epoch, item, start, *full)
    check: int = SEED + sum(map(mul, _AS_WORDS.unpack(body), _FACTORS))
    return body + (check % 2**64).to_bytes(8, "little")


def folder_name(name: str) -> str:
    """The folder of a stream or column: its name, with everything unfit for a path as %XX."""
    folder = quote(name, safe=" +-_@=")
    if folder[:1] in (".", "_", "") or folder in (META, RUN, INDEX_FILE, GAPS_FILE):
        folder = f"%{ord(name[0]):02X}{folder[1:]}" if name else "%"
    return folder


def chunk_items(nbytes: int, chunk: int) -> int:
    """How many items of `nbytes` go into one chunk of at most `chunk` bytes (at least one)."""
    return max(1, min(MAX_CHUNK_ITEMS, chunk // max(nbytes, 1)))


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file in one step: whoever reads sees the old text or the new one.

    Raises:
        OSError: the file cannot be written; the old one stands.
    """
    fresh = path.with_name(path.name + ".new")
    try:
        fresh.write_text(json.dumps(value, default=str), encoding="utf-8")
        os.replace(fresh, path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RecordingError: it is missing, unreadable or not an object.
    """
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise RecordingError(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise RecordingError(f"{path}: found {type(found).__name__}, expected a JSON object")
    return found
