"""Images: the files of a folder, or the pages of a TIFF, shown as if a camera took them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import psutil

from marey.cameras.picture_files import PictureFiles
from marey.errors import NodeError
from marey.node import BlockCamera, EndOfStream, Setting, Stamp
from marey.stream import Spec

_PATIENCE = 0.1
"""Seconds for which `grab` may wait, so that commands are served."""

_FORMATS = {
    (2, "u1"): "Mono8",
    (2, "u2"): "Mono16",
    (2, "f4"): "Data32f",
    (3, "u1"): "RGB8",
    (3, "u2"): "RGB16",
    (3, "f4"): "Data32f",
}
"""PFNC names of the pixels by dimensions and type."""

Array = np.ndarray[Any, Any]


class Images(BlockCamera):
    """The image files of a folder, or the pages of a TIFF, at a given rate.

    Files come in the natural order of their names (2 before 10). Pixels arrive exactly as stored:
    u8, u16 or f32, gray or RGB; an alpha channel is left out. All must be of one size and type.

    `device_frame` counts the frames from 0 and `device_time` is that count over the rate (ns);
    both go on when the files are shown again. With `lossless` the frames come as fast as the
    readers take them.
    """

    path: str = Setting(
        ...,
        apply="start",
        min_length=1,
        description="a folder of PNG, JPEG, BMP or TIFF files, or one such file",
    )
    rate: float = Setting(25.0, ge=0.1, le=200_000, unit="Hz", description="frames per second")
    loop: bool = Setting(False, description="begin again after the last one")
    color: bool | None = Setting(
        None,
        apply="start",
        description="false makes gray of RGB, true RGB of gray; none: as stored",
    )
    preload: bool = Setting(
        False,
        apply="start",
        description="read all files into memory first, for rates at which a disk is too slow",
    )

    _show: _Show | None = None

    def open(self) -> None:
        """Find the files and read the first, or all.

        Raises:
            NodeError: there are none, or one cannot be read, or all do not fit into memory.
            DriverMissing: their compression needs a library that is not installed.
        """
        files = PictureFiles(self.path, self.color, f"{self.name}: path {self.path!r}")
        self._show = _Show(files, _stacked(files) if self.preload else None, self.rate)

    def describe(self) -> Spec:
        """Frames of the shape and type of the files."""
        first = self._opened.first
        meta = {"counter_bits": 64, "path": self.path}
        pixel_format = _FORMATS[first.ndim, first.dtype.str[1:]]
        return Spec(first.shape, first.dtype, self.rate, pixel_format, meta=meta)

    def grab(self, out: Array) -> Stamp | None:
        """Write the next picture, when its time has come.

        Raises:
            EndOfStream: it was the last.
            NodeError: its file is missing, damaged, or unlike the first.
        """
        show = self._opened
        if not self.lossless and not show.due():
            return None
        number = show.number
        if show.fill(out[None], self.loop) == 0:
            raise EndOfStream
        return Stamp(device_frame=number, device_time=int(show.time(number)))

    def grab_block(self, out: Array, stamps: Array) -> int:
        """Write those pictures whose time has come, one at least, when it has.

        Raises:
            EndOfStream: there are no more.
            NodeError: a file is missing, damaged, or unlike the first.
        """
        show = self._opened
        due = len(out) if self.lossless else show.due()
        if not due:
            return 0
        number = show.number
        count = show.fill(out[:due], self.loop)
        if count == 0:
            raise EndOfStream
        numbers = np.arange(number, number + count)
        stamps["device_frame"][:count] = numbers
        stamps["device_time"][:count] = show.time(numbers)
        stamps["host_time"][:count] = time.time_ns()
        stamps["mono_time"][:count] = time.monotonic_ns()
        return count

    def changed(self, names: set[str]) -> None:
        """Let a new rate hold from the next frame on."""
        if "rate" in names and self._show is not None:
            self._show.play_at(self.rate)

    def close(self) -> None:
        """Let go of the files."""
        self._show = None

    @property
    def _opened(self) -> _Show:
        assert self._show is not None, "the node is open"
        return self._show


class _Show:
    """What is shown, how far it has come, and when the next picture is due."""

    def __init__(self, files: PictureFiles, loaded: Array | None, rate: float) -> None:
        self._files = files
        self._loaded = loaded
        self._source = iter(files)
        self.first: Array = loaded[0] if loaded is not None else next(self._source)
        self._held: Array | None = self.first
        self.number = 0
        self._rate = rate
        self._base = (0, 0)
        self._begun: int | None = None

    def play_at(self, rate: float) -> None:
        """Go on at another rate."""
        self._base = (self.number, int(self.time(self.number)))
        self._rate, self._begun = rate, None

    def time(self, number: Any) -> Any:
        """Nominal time of a frame (or of an array of them), ns."""
        first, moment = self._base
        return moment + np.rint((number - first) * (1e9 / self._rate)).astype(np.int64)

    def due(self) -> int:
        """How many pictures should have been shown by now; waits for one, but not for long."""
        first, _ = self._base
        now = time.monotonic_ns()
        if self._begun is None:
            self._begun = now
        since = now - self._begun
        due = 1 + int(since * self._rate / 1e9) - (self.number - first)
        if due > 0:
            return due
        wait = (self.number - first) / self._rate - since / 1e9
        time.sleep(min(wait, _PATIENCE))
        return int(wait <= _PATIENCE)

    def fill(self, out: Array, loop: bool) -> int:
        """Write the next pictures; how many there were, 0 at the end."""
        if self._loaded is None:
            return self._fill_one(out[0], loop)
        count = 0
        while count < len(out):
            start = self.number % len(self._loaded)
            if start == 0 and self.number > 0 and not loop:
                break
            part = self._loaded[start : start + len(out) - count]
            out[count : count + len(part)] = part
            count += len(part)
            self.number += len(part)
        return count

    def _fill_one(self, out: Array, loop: bool) -> int:
        """Write the next picture of the files."""
        picture = self._held if self._held is not None else next(self._source, None)
        self._held = None
        if picture is None and loop:
            self._source = iter(self._files)
            picture = next(self._source, None)
        if picture is None:
            return 0
        np.copyto(out, picture)
        self.number += 1
        return 1


def _stacked(files: PictureFiles) -> Array:
    """All pictures as one array, (n, height, width ...).

    Raises:
        NodeError: they do not fit into memory.
    """
    # Half of the memory: the list of pictures becomes one array, beside the ring to come.
    limit = psutil.virtual_memory().available // 2
    pictures: list[Array] = []
    for picture in files:
        needed = max(len(files.files), len(pictures) + 1) * picture.nbytes
        if needed > limit:
            raise NodeError(
                f"{files.label}: preload: found at least {needed / 2**20:,.0f} MiB of pictures, "
                f"expected at most {limit / 2**20:,.0f} MiB, half of the free memory"
            )
        pictures.append(picture)
    return np.stack(pictures)
