"""What every program of `stream.py` shares: the case to measure, the pace, the tally."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

Told = dict[str, float | None]
FORK = multiprocessing.get_context("fork")
MEMORY = 2**28
"""Bytes of a ring: more than the processor's caches hold."""


@dataclass(frozen=True)
class Case:
    """What a program is to do.

    Attributes:
        shape: height and width of a frame, pixels.
        dtype: type of a pixel.
        rate: frames per second; 0 is free running.
        seconds: how long.
        readers: how many readers (`marey` only; the peers have one).
        block: frames published and read at a time (`marey` only).
    """

    shape: tuple[int, int]
    dtype: str
    rate: float
    seconds: float
    readers: int = 1
    block: int = 1

    @property
    def nbytes(self) -> int:
        """Bytes of a frame."""
        return self.shape[0] * self.shape[1] * np.dtype(self.dtype).itemsize


class Tally:
    """Counts frames, and their latencies where they are stamped, until the time is over."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.first = self.last = self.count = 0
        self.late: list[int] = []

    def add(self, now: int, frame: np.ndarray[Any, Any], n: int = 1) -> bool:
        """Enter a frame, or n of them, that came at `now`; whether the time is over."""
        if self.case.rate:
            self.late.append(now - int(frame.reshape(-1)[: 8 // frame.itemsize].view(np.int64)[0]))
        if not self.first:
            self.first, self.count = now, -n  # those that the clock did not see
        self.last, self.count = now, self.count + n
        return now - self.first > self.case.seconds * 1e9

    def told(self) -> Told:
        """Frames per second and latency in us."""
        late = np.quantile(self.late, [0.5, 0.99]) / 1e3 if self.late else (None, None)
        rate = self.count / ((self.last - self.first) / 1e9) if self.last > self.first else 0.0
        return {"read": rate, "p50": late[0], "p99": late[1]}


class Pace:
    """Waits for the next frame's time and stamps it; free running it does neither."""

    def __init__(self, case: Case) -> None:
        self.step = int(1e9 / case.rate) if case.rate else 0
        self.due = self.began = time.monotonic_ns()
        self.count = 0

    def next(self, frame: np.ndarray[Any, Any], n: int = 1) -> np.ndarray[Any, Any]:
        """The frame, or block of n, when its time has come."""
        self.count += n
        if self.step:
            self.due = max(self.due + self.step, time.monotonic_ns())
            time.sleep(max(0, self.due - time.monotonic_ns()) / 1e9)
            frame.reshape(-1)[: 8 // frame.itemsize].view(np.int64)[0] = time.monotonic_ns()
        return frame

    @property
    def rate(self) -> float:
        """Frames per second so far."""
        return self.count / ((time.monotonic_ns() - self.began) / 1e9)
