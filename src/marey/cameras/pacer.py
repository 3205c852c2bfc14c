"""The clocks of a simulated device: paced by a rate, by a call for each frame, or by nothing."""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from marey._native import sleep_until

PATIENCE = 0.05
"""Seconds that `next` waits at most, so that a node can serve its commands."""

_SNAP_POLL = 0.005
"""Seconds that a `OneShot` waits: `snap` itself is a command, served between two waits."""


class Exposure(NamedTuple):
    """One frame of a device.

    Attributes:
        frame: the device's counter, from 0.
        device_time: time on the device's clock, ns; 0 at its first exposure.
        mono_time: `time.monotonic_ns()` of the exposure.
        host_time: Unix time of the exposure, ns.
    """

    frame: int
    device_time: int
    mono_time: int
    host_time: int


class Clock(Protocol):
    """When a device exposes its frames.

    Attributes:
        frame: counter of the frame that comes next.
        origin: `time.monotonic_ns()` at which the device's clock stood at 0; None before the
            first exposure.
    """

    frame: int
    origin: int | None

    def due(self) -> int:
        """Exposures that wait to be read."""

    def wait(self, patience: float = PATIENCE) -> int:
        """Exposures that wait to be read; waits for one for `patience` seconds at most."""

    def take(self, count: int) -> NDArray[np.int64]:
        """Times (`time.monotonic_ns()`) of the next `count` exposures, of those that wait."""


def next_exposure(clock: Clock) -> Exposure | None:
    """Wait for one exposure and take it; None where it is too far off."""
    if not clock.wait():
        return None
    frame = clock.frame
    mono = int(clock.take(1)[0])
    assert clock.origin is not None
    return Exposure(frame, mono - clock.origin, mono, mono + host_offset())


def host_offset() -> int:
    """What must be added to `time.monotonic_ns()` to have Unix time, ns."""
    return time.time_ns() - time.monotonic_ns()


class Pacer:
    """Exposes frame k at start + k / rate and keeps the last `buffer` frames for the reader.

    The schedule is absolute: no frame drifts because the one before was late. The first question
    starts it. A reader that falls behind by more than the buffer loses the oldest frames, as with
    a real camera: the counter jumps.

    Attributes:
        buffer: frames kept.
        lost: frames that the reader was too slow for, so far.
    """

    def __init__(self, rate: float, buffer: int, frame: int = 0, origin: int | None = None) -> None:
        self.frame = frame
        self.origin = origin
        self.buffer = buffer
        self.lost = 0
        self._rate = rate
        # Frame `_anchor` is exposed at `_anchor_time`, those after it at the present rate.
        self._anchor = frame
        self._anchor_time: int | None = None

    @property
    def rate(self) -> float:
        """Exposures per second; a new rate holds from the next exposure on."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        if self._anchor_time is not None and self.frame > self._anchor:
            last = self._time(self.frame - 1)
            self._anchor_time = max(last + round(1e9 / rate), time.monotonic_ns())
            self._anchor = self.frame
        self._rate = rate

    def due(self) -> int:
        """Frames that wait in the device's buffer, after those beyond it are given up."""
        now = time.monotonic_ns()
        if self._anchor_time is None:
            self._anchor_time = now
        newest = self._anchor + int((now - self._anchor_time) * self._rate // 1_000_000_000)
        oldest = newest - self.buffer + 1
        if oldest > self.frame:
            self.lost += oldest - self.frame
            self.frame = oldest
        return max(0, newest + 1 - self.frame)

    def wait(self, patience: float = PATIENCE) -> int:
        """Frames that wait; waits for the next one for `patience` seconds at most."""
        limit = time.monotonic_ns() + int(patience * 1e9)
        while not (waiting := self.due()):
            if time.monotonic_ns() >= limit:
                return 0
            sleep_until(min(self._time(self.frame), limit))
        return waiting

    def take(self, count: int) -> NDArray[np.int64]:
        """Times of the next `count` exposures."""
        if count == 1:
            times = np.array([self._time(self.frame)])
        else:
            steps = np.arange(self.frame - self._anchor, self.frame - self._anchor + count)
            times = self._time(self._anchor) + np.rint(steps * (1e9 / self._rate)).astype(np.int64)
        if self.origin is None:
            self.origin = int(times[0])
        self.frame += count
        return times

    def _time(self, frame: int) -> int:
        assert self._anchor_time is not None
        return self._anchor_time + round((frame - self._anchor) * (1e9 / self._rate))


class OneShot:
    """Exposes one frame for each call of `snap` and keeps those not read yet."""

    def __init__(self, frame: int = 0, origin: int | None = None) -> None:
        self.frame = frame
        self.origin = origin
        self._times: deque[int] = deque()

    def snap(self) -> int:
        """Expose a frame now; returns its counter."""
        self._times.append(time.monotonic_ns())
        return self.frame + len(self._times) - 1

    def due(self) -> int:
        """Frames exposed and not read."""
        return len(self._times)

    def wait(self, patience: float = _SNAP_POLL) -> int:
        """Frames exposed and not read; sleeps for a few milliseconds where there are none."""
        if not self._times:
            sleep_until(time.monotonic_ns() + int(patience * 1e9))
        return len(self._times)

    def take(self, count: int) -> NDArray[np.int64]:
        """Times of the next `count` exposures."""
        times = np.array([self._times.popleft() for _ in range(count)], dtype=np.int64)
        if self.origin is None:
            self.origin = int(times[0])
        self.frame += count
        return times


class Unpaced:
    """Exposes a frame whenever it is asked for one: for tests of throughput."""

    def __init__(self, frame: int = 0, origin: int | None = None) -> None:
        self.frame = frame
        self.origin = origin

    def due(self) -> int:
        """As many as anyone may want."""
        return 1 << 30

    def wait(self, patience: float = PATIENCE) -> int:
        """As many as anyone may want, at once."""
        return self.due()

    def take(self, count: int) -> NDArray[np.int64]:
        """The present time, `count` times."""
        now = time.monotonic_ns()
        if self.origin is None:
            self.origin = now
        self.frame += count
        return np.full(count, now, dtype=np.int64)
