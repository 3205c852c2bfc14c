"""Nodes that the page is tested with: plug-ins like any other, whose every pixel is known."""

from __future__ import annotations

import os
import time
from collections.abc import Generator
from typing import Any, Literal

import numpy as np
from pydantic import field_validator

from marey import Camera, Frame, Processor, Setting, Spec, Stamp, action

HEIGHT, WIDTH = 96, 128
SPOTS = ((20, 16), (100, 30), (64, 80))  # x, y


def pattern(seq: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray[Any, Any]:
    """The pixels of frame `seq`: each value occurs, and each frame differs from the last."""
    y, x = np.mgrid[0:height, 0:width]
    return ((x + 2 * y + 3 * seq) % 256).astype(np.uint8)


class Pattern(Camera):
    """A moving ramp.

    More about it, which lists leave out.
    """

    rate: float = Setting(50.0, ge=0.1, le=1000, unit="Hz", description="frames per second")
    height: int = Setting(HEIGHT, ge=1, apply="start", unit="px")
    width: int = Setting(WIDTH, ge=1, apply="start", unit="px")
    dtype: Literal["u1", "u2", "f4", "rgb"] = Setting("u1", apply="start")
    gain: float = Setting(1.0, gt=0, le=16, description="does nothing to the pixels")
    offset: int = Setting(0, ge=-10, le=10, unit="counts")
    lines: int = Setting(2, ge=0, description="must be even, which no schema tells")
    trigger: Literal["free", "line"] = Setting("free", description="what starts an exposure")
    cooled: bool = Setting(False, description="whether the sensor is cooled")
    corner: tuple[int, int] = Setting((0, 0), description="row, column")
    temperature: float = Setting(21.5, unit="°C", readonly=True)
    seed: int | None = Setting(None, advanced=True)

    _device_frame: int = 0
    _seq: int = 0
    _next: float = 0.0

    @field_validator("lines")
    @classmethod
    def _even(cls, lines: int) -> int:
        if lines % 2:
            raise ValueError("expected an even number")
        return lines

    def describe(self) -> Spec:
        """Ramps."""
        shape = (self.height, self.width, *([3] if self.dtype == "rgb" else []))
        dtype = np.dtype("u1" if self.dtype == "rgb" else self.dtype)
        return Spec(shape, dtype, rate=self.rate, pixel_format={"u1": "Mono8"}.get(self.dtype, ""))

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """The next ramp, when it is time."""
        left = self._next - time.monotonic()
        if left > 0:
            time.sleep(min(left, 0.05))
            if left > 0.05:
                return None
        self._next = max(self._next + 1 / self.rate, time.monotonic())
        ramp = pattern(self._seq, self.height, self.width)
        if self.dtype == "rgb":
            out[:] = np.stack([ramp, 255 - ramp, ramp // 2], 2)
        else:
            out[:] = ramp if self.dtype == "u1" else ramp.astype(out.dtype) * 10
        self._seq += 1
        self._device_frame += 1
        return Stamp(device_frame=self._device_frame)

    @action
    def lose(self, count: int = 1) -> int:
        """Let the device lose frames."""
        self._device_frame += count
        return self._device_frame

    @action
    def sweep(self, steps: int, pause: float = 0.0) -> Generator[tuple[float, str], None, int]:
        """Do something that takes a while."""
        for step in range(steps):
            time.sleep(pause)
            yield (step + 1) / steps, f"step {step + 1}"
        return steps

    @action
    def fail(self) -> None:
        """Raise what a bug would raise."""
        raise ValueError("the shutter is stuck")

    @action
    def crash(self) -> None:
        """End without a word."""
        os._exit(3)


class Spots(Processor):
    """Rows at known places; z counts frames, but for the third, which has none."""

    row = np.dtype([("bead", "u4"), ("x", "f4"), ("y", "f4"), ("z", "f8")])

    rois: list[tuple[float, float]] = Setting(default_factory=list, description="added by hand")

    def describe(self, source: Spec) -> Spec:
        """Rows that are drawn over the frames."""
        return Spec(
            (16,),
            self.row,
            rate=source.rate,
            fields={"x": "px, column", "y": "px, row", "z": "nm, above focus"},
            meta={"overlay": {"x": "x", "y": "y", "label": "bead", "size": 12}},
        )

    def process(self, frame: Frame) -> np.ndarray[Any, Any]:
        """The known places, then those added."""
        places = [*SPOTS, *self.rois]
        rows = np.zeros(len(places), self.row)
        for i, (x, y) in enumerate(places):
            rows[i] = (i, x, y, frame.seq if i != 2 else np.nan)
        return rows

    @action
    def add_roi(self, x: float, y: float) -> int:
        """Add a place."""
        self.rois = [*self.rois, (x, y)]
        return len(SPOTS) + len(self.rois) - 1

    @action
    def move_roi(self, id: int, x: float, y: float) -> None:  # noqa: A002
        """Move a place that was added."""
        at = id - len(SPOTS)
        self.rois = [*self.rois[:at], (x, y), *self.rois[at + 1 :]]

    @action
    def remove_roi(self, id: int) -> None:  # noqa: A002
        """Remove a place that was added."""
        at = id - len(SPOTS)
        self.rois = [*self.rois[:at], *self.rois[at + 1 :]]
