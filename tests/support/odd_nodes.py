"""Nodes for tests, registered as a plug-in: a camera and a sink that fail when they are told to."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from marey import Camera, EndOfStream, Frame, Setting, Sink, Spec, Stamp, action


class Ramp(Camera):
    """Frames of 8 by 8 pixels that hold their own number.

    A second paragraph of its documentation.
    """

    rate: float = Setting(500.0, ge=0.1, le=200_000, unit="Hz", description="frames a second")
    frames: int = Setting(0, ge=0, apply="start", description="how many; 0 for ever")
    fail: Literal["", "open", "grab"] = Setting("", apply="start", description="where it fails")
    shape: tuple[int, int] = Setting((8, 8), apply="start", unit="px")
    label: str = Setting("", follows=False, description="any text")
    run: str = Setting("", follows=True, description="name of the run")
    serial: str = Setting("R-1", readonly=True, description="serial number")
    obscure: float = Setting(1.0, advanced=True, description="that few need")

    _made: int = 0

    def open(self) -> None:
        if self.fail == "open":
            raise OSError("no such device\nnot even on the second line")

    def describe(self) -> Spec:
        return Spec(self.shape, np.dtype("u4"), rate=self.rate)

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        if self.frames and self._made >= self.frames:
            raise EndOfStream
        if self.fail == "grab" and self._made >= 10:
            raise ValueError("the cable fell out")
        time.sleep(min(0.1, 1 / self.rate))
        out[:] = self._made
        self._made += 1
        return Stamp(device_frame=self._made)

    @action
    def sweep(
        self, steps: Annotated[int, Field(ge=1, le=100, description="how many")] = 5, word: str = ""
    ) -> Generator[tuple[float, str], None, dict[str, Any]]:
        """Do something in steps.

        Args:
            word: is answered.
        """
        for step in range(steps):
            yield step / steps, f"step {step}"
        return {"steps": steps, "word": word}

    @action
    def nothing(self) -> None:
        """Do nothing at all."""


class Tally(Sink):
    """Counts what it is given."""

    count: int = Setting(0, readonly=True)

    def append(self, name: str, frame: Frame) -> None:
        self.count += 1


class Page(Tally):
    """Tells an address, as the web page does."""

    url: str = Setting("http://127.0.0.1:1/", readonly=True)
