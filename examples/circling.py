"""A camera: the framework lends memory, `grab` fills it."""

import time
from typing import Any

import numpy as np

import marey
from marey import Setting, Spec, Stamp


class Circling(marey.Camera):
    """A bright spot that runs in a circle, once a second."""

    rate: float = Setting(100.0, ge=1, le=1000, unit="Hz", description="frames a second")
    radius: float = Setting(20.0, ge=1, le=25, unit="px", description="of the circle")
    size: int = Setting(64, ge=64, le=512, unit="px", apply="reopen", description="of a frame")

    _number: int = 0
    _due: float = 0.0

    def open(self) -> None:
        """Connect to the device; what is raised here stops the start of the session."""
        self._due = time.monotonic()

    def describe(self) -> Spec:
        """What a frame looks like; asked after `open`."""
        return Spec((self.size, self.size), np.dtype("u1"), self.rate, "Mono8")

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """Wait for the next frame and write it into `out`."""
        self._due += 1 / self.rate
        time.sleep(max(0.0, self._due - time.monotonic()))
        angle = 2 * np.pi * self._number / self.rate
        x = np.arange(self.size) - self.size / 2
        along = np.exp(-((x - self.radius * np.cos(angle)) ** 2) / 8)
        down = np.exp(-((x - self.radius * np.sin(angle)) ** 2) / 8)
        out[:] = 255 * np.outer(down, along)
        self._number += 1
        return Stamp(device_frame=self._number)  # gaps in it are frames that the device lost
