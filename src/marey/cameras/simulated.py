"""What simulated cameras share: a rate, a trigger, a device buffer and an honest clock."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from marey._native import sharpen_timers
from marey.cameras.pacer import Clock, Exposure, OneShot, Pacer
from marey.errors import ActionError
from marey.node import Camera, Setting, Stamp, action
from marey.stream import Spec

DTYPES: dict[str, np.dtype[Any]] = {
    "u8": np.dtype("u1"),
    "u16": np.dtype("<u2"),
    "f32": np.dtype("<f4"),
}
"""Types of pixels by the names that settings use."""

_FORMATS = {"u8": "Mono8", "u16": "Mono16", "f32": "Data32f"}

Shape = tuple[Annotated[int, Field(ge=1, le=32_768)], Annotated[int, Field(ge=1, le=32_768)]]
"""(height, width) of a frame, px."""


class SimulatedCamera(Camera):
    """Base of the simulated cameras: exposes frames as a device with a clock of its own would."""

    rate: float = Setting(100.0, ge=0.1, le=200_000, unit="Hz", description="frames per second")
    trigger: Literal["free", "software"] = Setting(
        "free", description="expose at `rate`, or one frame for each call of `snap`"
    )
    device_buffer: int = Setting(
        64,
        ge=1,
        le=1_000_000,
        unit="frames",
        advanced=True,
        description="frames that the device keeps for a slow reader before it loses the oldest",
    )
    seed: int = Setting(
        0, ge=0, le=2**63 - 1, apply="reopen", description="the same seed makes the same frames"
    )

    _clock: Clock | None = None

    def open(self) -> None:
        """Reset the device: its counter and clock start with the first frame asked for."""
        sharpen_timers()
        self._clock = self._new_clock(0, None)

    def changed(self, names: set[str]) -> None:
        """Follow `rate`, `device_buffer` and `trigger` from the next exposure on."""
        if self._clock is None:
            return
        if "trigger" in names:
            self._clock = self._new_clock(self._clock.frame, self._clock.origin)
        elif isinstance(self._clock, Pacer):
            self._clock.buffer = self.device_buffer
            if "rate" in names:
                self._clock.rate = self.rate

    @action
    def snap(self) -> int:
        """Expose one frame now; returns the device's counter of that frame.

        Raises:
            ActionError: the trigger is not `software`, or the device's buffer is full.
        """
        clock = self._clock
        if not isinstance(clock, OneShot):
            raise ActionError(
                f"{self.name}.snap: found trigger = {self.trigger!r}, expected 'software'"
            )
        if clock.due() >= self.device_buffer:
            raise ActionError(
                f"{self.name}.snap: {clock.due()} frames wait to be read, "
                f"device_buffer allows {self.device_buffer}"
            )
        return clock.snap()

    def _new_clock(self, frame: int, origin: int | None) -> Clock:
        if self.trigger == "software":
            return OneShot(frame, origin)
        return Pacer(self.rate, self.device_buffer, frame, origin)

    @property
    def clock(self) -> Clock:
        """The open device's clock."""
        if self._clock is None:
            raise RuntimeError(f"{self.name}: frames can be had between open and close only")
        return self._clock

    @property
    def nominal_rate(self) -> float:
        """Frames per second as `Spec.rate` tells them: 0 where nobody knows."""
        return self.rate if isinstance(self._clock, Pacer) else 0.0

    def spec_of(self, shape: tuple[int, int], dtype: str, color: bool = False, **meta: Any) -> Spec:
        """Frames of (height, width), with three channels where they are in colour."""
        pixels = "RGB8" if color else _FORMATS[dtype]
        whole = (*shape, 3) if color else shape
        return Spec(whole, DTYPES[dtype], self.nominal_rate, pixels, meta=meta)

    def close(self) -> None:
        """Let the device go."""
        self._clock = None


def stamp(exposure: Exposure) -> Stamp:
    """The stamp of a frame whose counter is 64 bits wide."""
    return Stamp(
        device_frame=exposure.frame,
        device_time=exposure.device_time,
        host_time=exposure.host_time,
        mono_time=exposure.mono_time,
    )
