"""The writing side of a stream."""

from __future__ import annotations

import re
import shutil
from math import ceil
from operator import gt
from pathlib import Path
from typing import Any

import numpy as np

from marey._native import Ring, Writer
from marey.errors import StreamError, StreamTooLarge
from marey.stream.closing import Closing
from marey.stream.spec import Spec

_UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_SLOT_BYTES = 128  # beside each item: its stamps and shape
_FEWEST = 8


def slots_for(buffer: str, spec: Spec) -> int:
    """How many items a ring of the given size holds.

    Args:
        buffer: `"2 s"`, `"500 ms"`, `"512 MiB"`, `"64 frames"` or `"auto"`: two seconds of frames
            or sixty of rows, at most 256 MiB or 64 MiB, and 64 items where the rate is unknown.
        spec: the items; a length in seconds needs its `rate`.

    Raises:
        StreamError: the text is none of these, or seconds are asked of an unknown rate.
    """
    each = max(64, spec.nbytes)
    if buffer == "auto":
        seconds, most = (60, 64 * 2**20) if spec.is_rows else (2, 256 * 2**20)
        wanted = ceil(seconds * spec.rate) if spec.rate else 64
        return max(_FEWEST, min(wanted, most // each))
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|ms|KiB|MiB|GiB|frames)", buffer)
    if found is None:
        raise StreamError(
            f"buffer: found {buffer!r}, expected such as '2 s', '512 MiB', '64 frames'"
        )
    size, unit = float(found[1]), found[2]
    if unit in ("s", "ms"):
        if not spec.rate:
            raise StreamError(
                f"buffer: {buffer!r} needs a known rate; give a size such as '256 MiB'"
            )
        wanted = ceil(size * spec.rate / (1000 if unit == "ms" else 1))
    elif unit == "frames":
        wanted = int(size)
    else:
        wanted = int(size * _UNITS[unit] // each)
    return max(_FEWEST, wanted)


class Stream(Closing):
    """The one writer of a stream: creates its ring, resumes one that a dead writer left.

    If a ring of that name exists with another layout, it is replaced and its readers follow; the
    numbers of the items go on in either case.

    Args:
        folder: the session's runtime folder.
        name: the stream's name.
        spec: what it carries.
        slots: how many items the ring holds at least.
        lossless: wait for readers that must see every item instead of overwriting what they have
            not read.

    Raises:
        StreamTooLarge: the ring does not fit into memory; nothing was allocated.
        StreamError: another living process writes this stream.
    """

    def __init__(
        self, folder: Path | str, name: str, spec: Spec, *, slots: int = 64, lossless: bool = False
    ) -> None:
        self.name = name
        self.spec = spec
        _check_fits(Path(folder), name, spec, slots, lossless)
        self._writer = Writer(
            str(folder),
            name,
            spec.to_json(),
            list(spec.shape),
            spec.dtype.itemsize,
            slots,
            lossless,
        )
        self.write = self._writer.write
        self.write_block = self._writer.write_block
        self.lend = self._writer.lend
        self.publish = self._writer.publish
        self.publish_one = self._writer.publish_one
        self.account = self._writer.account
        self.heartbeat = self._writer.heartbeat

    @property
    def head(self) -> int:
        """The number of the next item."""
        return self._writer.head

    @property
    def slots(self) -> int:
        """How many items the ring holds."""
        return self._writer.slots

    @property
    def most(self) -> int:
        """How many items can be lent at a time: all of the ring, or half of a lossless one."""
        return self._writer.most

    @property
    def laggard(self) -> str | None:
        """The reader that a lossless stream last waited for."""
        return self._writer.laggard

    def close(self, *, ended: bool = True) -> None:
        """End the stream in order: its readers finish what is left and then learn of the end.

        Args:
            ended: False hands the stream over instead: its readers wait for the next writer, as
                they do after a crash.
        """
        self._writer.close(ended=ended)


def _check_fits(folder: Path, name: str, spec: Spec, slots: int, lossless: bool) -> None:
    if _resumable(folder, name, spec, slots, lossless):
        return  # its memory is taken already
    needed = slots * (max(64, spec.nbytes) + _SLOT_BYTES)
    free = min(shutil.disk_usage(folder).free, _available_memory())
    if needed > free:
        raise StreamTooLarge(
            f"stream '{name}': {slots} items of {spec.nbytes} bytes need {_mib(needed)}, but only "
            f"{_mib(free)} of shared memory are free; set a smaller `buffer`"
        )


def _resumable(folder: Path, name: str, spec: Spec, slots: int, lossless: bool) -> bool:
    try:
        ring = Ring(str(folder), name)
    except StreamError:
        return False
    facts = ring.facts()
    return (
        ring.spec_json == spec.to_json()
        and facts["lossless"] == lossless
        and facts["slots"] >= slots
    )


def _available_memory() -> int:
    """Bytes that can still be had without swapping."""
    try:
        text = Path("/proc/meminfo").read_text()
        return 1024 * int(text.partition("MemAvailable:")[2].split()[0])
    except (OSError, IndexError, ValueError):  # not Linux
        import psutil  # slow to import, and needed by no other part of a node's process

        return int(psutil.virtual_memory().available)


def _mib(n: int) -> str:
    return f"{n / 2**20:,.0f} MiB"


def as_item(result: Any, spec: Spec) -> np.ndarray[Any, Any]:
    """A node's result as an item of its stream: an array of the stream's dtype.

    Raises:
        StreamError: it is something else.
    """
    if not isinstance(result, np.ndarray):
        raise StreamError(
            f"result: found {type(result).__name__}, expected an array of {spec.dtype}"
        )
    if result.dtype != spec.dtype:
        raise StreamError(f"result: found dtype {result.dtype}, expected {spec.dtype}")
    if spec.is_rows and result.ndim == 0:
        return result.reshape(1)
    shape = result.shape
    if len(shape) != len(spec.shape) or any(map(gt, shape, spec.shape)):
        raise StreamError(f"result: found shape {shape}, expected at most {spec.shape}")
    return result
