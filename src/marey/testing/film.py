"""A camera and a sink for sessions in tests: one shows known pictures, one takes everything."""

from __future__ import annotations

from typing import Any

import numpy as np

from marey.node import Camera, EndOfStream, Setting, Sink, Stamp
from marey.stream import Frame, Spec


class Film(Camera):
    """Shows the pictures of a NumPy file, one after the other, as fast as its readers take them."""

    lossless: bool = Setting(True, apply="start", description="wait for its readers")
    file: str = Setting(..., apply="start", description="an .npy file of (n, height, width ...)")
    rate: float = Setting(100.0, gt=0, unit="Hz", apply="start", description="nominal rate")

    _pictures: np.ndarray[Any, Any] | None = None
    _next: int = 0

    def open(self) -> None:
        """Map the file."""
        self._pictures = np.load(self.file, mmap_mode="r", allow_pickle=False)
        self._next = 0

    def describe(self) -> Spec:
        """One picture of the file."""
        assert self._pictures is not None
        return Spec(self._pictures.shape[1:], self._pictures.dtype, self.rate)

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp:
        """Copy the next picture.

        Raises:
            EndOfStream: there is none.
        """
        assert self._pictures is not None
        if self._next == len(self._pictures):
            raise EndOfStream
        out[...] = self._pictures[self._next]
        self._next += 1
        return Stamp(device_frame=self._next - 1)

    def close(self) -> None:
        """Let go of the file."""
        self._pictures = None


class Witness(Sink):
    """Takes every item; the session's ledger tells how many they were."""

    def append(self, name: str, frame: Frame) -> None:
        """Take it."""
