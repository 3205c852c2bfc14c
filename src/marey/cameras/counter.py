"""A simulated camera whose pixels tell which frame they are of, and which can fail on purpose.

Layout of a frame, pixels counted in C order (channels of a colour are pixels of their own):

* u8: pixels 0 to 7 are the frame's number in base 256, lowest digit first; every further pixel i
  is (number + i) mod 256.
* u16 and f32: pixels 0 to 3 are the number in base 65,536, lowest digit first; every further
  pixel i is (number + i) mod 65,536. All of these are exact in f32.

`expected` makes such a frame, `read_seq` reads its number and checks every pixel.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any, Literal

import numpy as np
from pydantic import model_validator

from marey._native import fill_counter, sleep_until
from marey.cameras.pacer import Clock, Exposure, Unpaced, host_offset, next_exposure
from marey.cameras.simulated import Shape, SimulatedCamera
from marey.errors import NodeError, StreamError
from marey.node import BlockCamera, EndOfStream, Setting, Stamp
from marey.stream import Spec


class Counter(SimulatedCamera, BlockCamera):
    """Frames that carry their number in every pixel, with knobs for faults.

    The number is the device's own count, before `counter_bits` cuts it: a frame that the device
    lost is missing from it. With `block` above 1 several frames are filled at a time.
    """

    shape: Shape = Setting((64, 64), unit="px", apply="reopen", description="height, width")
    dtype: Literal["u8", "u16", "f32"] = Setting(
        "u8", apply="reopen", description="type of a pixel"
    )
    color: bool = Setting(False, apply="reopen", description="three channels, RGB; u8 only")
    free_running: bool = Setting(
        False, apply="reopen", description="as fast as frames are taken, whatever `rate` says"
    )
    count: int = Setting(
        0, ge=0, unit="frames", apply="reopen", description="end after so many; 0: never"
    )
    counter_bits: Literal[16, 32, 64] = Setting(
        64, apply="reopen", description="width at which the device's counter wraps"
    )
    drop_every: int = Setting(
        0, ge=0, unit="frames", description="the device loses each n-th frame; 0: none"
    )
    repeat_every: int = Setting(
        0, ge=0, unit="frames", description="the device gives each n-th frame twice; 0: none"
    )
    stall_at: int | None = Setting(
        None, ge=0, unit="frame", description="the device stops giving frames before this one"
    )
    stall_for: float = Setting(1.0, ge=0, le=3600, unit="s", description="for so long")
    crash_at: int | None = Setting(
        None, ge=0, unit="frame", description="`grab` raises instead of giving this frame"
    )
    kill_at: int | None = Setting(
        None, ge=0, unit="frame", description="the process kills itself before this frame"
    )

    _delivered: int = 0
    _stalled_until: float | None = None
    _held: Exposure | None = None

    @model_validator(mode="after")
    def _fits(self) -> Counter:
        if self.color and self.dtype != "u8":
            raise ValueError(f"dtype: found '{self.dtype}', expected 'u8' where color is true")
        pixels = self.shape[0] * self.shape[1] * (3 if self.color else 1)
        if pixels < 8:
            raise ValueError(f"shape: found {self.shape}, expected 8 pixels or more for the number")
        return self

    def open(self) -> None:
        """Count from 0 again."""
        super().open()
        self._delivered = 0
        self._stalled_until = None
        self._held = None

    def _new_clock(self, frame: int, origin: int | None) -> Clock:
        if self.free_running and self.trigger == "free":
            return Unpaced(frame, origin)
        return super()._new_clock(frame, origin)

    def describe(self) -> Spec:
        """Frames of `shape`; `meta["counter_bits"]` tells where the device's counter wraps."""
        return self.spec_of(self.shape, self.dtype, self.color, counter_bits=self.counter_bits)

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """Write the next frame's number.

        Raises:
            EndOfStream: `count` frames have been given.
            NodeError: the frame is the one of `crash_at`.
        """
        self._check_end()
        exposure = self._next()
        if exposure is None:
            return None
        fill_counter(out[np.newaxis], np.array([exposure.frame], np.uint64))
        self._delivered += 1
        return Stamp(
            device_frame=exposure.frame % (1 << self.counter_bits),
            device_time=exposure.device_time,
            host_time=exposure.host_time,
            mono_time=exposure.mono_time,
        )

    def grab_block(self, out: np.ndarray[Any, Any], stamps: np.ndarray[Any, Any]) -> int:
        """Write the numbers of up to `len(out)` frames; one by one while a fault is set.

        Raises:
            EndOfStream: `count` frames have been given.
            NodeError: the next frame is the one of `crash_at`.
        """
        self._check_end()
        clock = self.clock
        if self._faulty:
            exposure = self._next()
            if exposure is None:
                return 0
            start, times = exposure.frame, np.array([exposure.mono_time])
        else:
            wanted = min(clock.wait(), len(out))
            if self.count:
                wanted = min(wanted, self.count - self._delivered)
            if wanted == 0:
                return 0
            start, times = clock.frame, clock.take(wanted)
        n = len(times)
        frames = np.arange(start, start + n, dtype=np.uint64)
        if out.flags.c_contiguous:
            fill_counter(out[:n], frames)
        else:  # frames lie further apart in memory than they are long
            for i in range(n):
                fill_counter(out[i : i + 1], frames[i : i + 1])
        self._delivered += n
        stamps["device_frame"][:n] = frames & np.uint64((1 << self.counter_bits) - 1)
        stamps["device_time"][:n] = times - (clock.origin or 0)
        stamps["mono_time"][:n] = times
        stamps["host_time"][:n] = times + host_offset()
        return n

    @property
    def _faulty(self) -> bool:
        knobs = (self.stall_at, self.crash_at, self.kill_at)
        faults = self.drop_every or self.repeat_every or any(k is not None for k in knobs)
        return bool(faults or self._held)

    def _check_end(self) -> None:
        if self.count and self._delivered >= self.count:
            raise EndOfStream

    def _next(self) -> Exposure | None:
        """The next exposure that leaves the device, after all faults; None: none yet."""
        if self._stalled_until is not None and time.monotonic() < self._stalled_until:
            sleep_until(time.monotonic_ns() + 5_000_000)
            return None
        exposure, self._held = self._held, None
        if exposure is not None:
            return exposure
        exposure = next_exposure(self.clock)
        if exposure is None:
            return None
        frame = exposure.frame
        if self.kill_at is not None and frame >= self.kill_at:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        if self.crash_at is not None and frame >= self.crash_at:
            raise NodeError(f"{self.name}: crashes at frame {frame}, as crash_at asks for")
        if self.drop_every and (frame + 1) % self.drop_every == 0:
            return None
        if self.repeat_every and (frame + 1) % self.repeat_every == 0:
            self._held = exposure
        if self.stall_at is not None and frame >= self.stall_at and self._stalled_until is None:
            self._stalled_until = time.monotonic() + self.stall_for
            self._held = exposure
            return None
        return exposure


def expected(number: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    """The frame that a counter of that shape and type makes for `number`."""
    kind = np.dtype(dtype)
    base = 256 if kind.itemsize == 1 else 65536
    pixels = (number + np.arange(int(np.prod(shape)), dtype=np.uint64)) % base
    digits = 8 if base == 256 else 4
    pixels[:digits] = [number // base**k % base for k in range(digits)]
    return pixels.astype(kind).reshape(shape)


def read_seq(frame: np.ndarray[Any, Any]) -> int:
    """The number that a frame carries, after a look at every pixel.

    Raises:
        StreamError: a pixel is not what the number says.
    """
    base = 256 if frame.dtype.itemsize == 1 else 65536
    digits = frame.ravel()[: 8 if base == 256 else 4]
    number: int = sum(int(digit) * base**k for k, digit in enumerate(digits))
    right = expected(number, frame.shape, frame.dtype)
    if not np.array_equal(frame, right):
        where = tuple(int(i) for i in np.argwhere(frame != right)[0])
        raise StreamError(
            f"counter frame {number}: pixel {where}: found {frame[where]}, expected {right[where]}"
        )
    return number
