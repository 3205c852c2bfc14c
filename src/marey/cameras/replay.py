"""The camera `replay`: a recorded stream of frames once more."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey._native import sleep_until
from marey.errors import RecordingError
from marey.node import Camera, EndOfStream, Setting, Stamp
from marey.recording import RecordedStream, Recording, open_recording
from marey.stream import UNKNOWN, Spec

_PATIENCE = 50_000_000  # ns to wait for a frame's time before commands are served again


class Replay(Camera):
    """Plays a recorded stream of frames as if it came from the camera.

    At the pace at which it was recorded, at a given `rate`, or with `lossless` as fast as the
    readers go. Pixels, shapes, device counter, device time and host time are the recorded ones;
    the monotonic time is that of the replay, so that latencies are true. Where the device had no
    counter, the recorded seq takes its place: what the recording does not hold shows as lost in
    the device, as does what the device had lost.
    """

    path: str = Setting(..., apply="reopen", description="folder of the recording")
    stream: str = Setting(
        "", apply="reopen", description="which stream; none given: the only one of frames"
    )
    rate: float = Setting(
        0.0,
        ge=0,
        le=200_000,
        unit="Hz",
        description="frames per second; 0: as recorded, or with `lossless` as fast as readers go",
    )
    loop: bool = Setting(False, description="begin again at the end")

    _recording: Recording | None = None
    _stream: RecordedStream | None = None
    _next: int = 0
    _lap: int = 0
    _due: int | None = None

    def open(self) -> None:
        """Open the recording.

        Raises:
            RecordingError: it is none, is damaged, or has no such stream of frames.
        """
        recording = open_recording(Path(self.path))
        name = self.stream or self._only_stream(recording)
        stream = recording[name]
        if stream.spec.is_rows:
            raise RecordingError(
                f"{self.name}.stream: found {name!r}, which has rows, expected a stream of frames"
            )
        if not len(stream):
            raise RecordingError(f"{self.name}.stream: {name!r} of {self.path} has no frames")
        self._recording, self._stream = recording, stream
        self._next = self._lap = 0
        self._due = None

    def describe(self) -> Spec:
        """The recorded stream's description, at the rate of the replay."""
        spec = self._open_stream.spec
        return replace(spec, rate=self.rate) if self.rate else spec

    def grab(self, out: NDArray[Any]) -> Stamp | None:
        """The next recorded frame, when its time has come."""
        stream = self._open_stream
        if self._next == len(stream):
            if not self.loop:
                raise EndOfStream
            self._next, self._lap, self._due = 0, self._lap + 1, None
        if not self._wait():
            return None
        item = stream.item(self._next)
        counter = self._counter(self._next)
        self._next += 1
        smaller = item.data.shape != out.shape
        if smaller:
            out = out.reshape(-1)[: item.data.size].reshape(item.data.shape)
        np.copyto(out, item.data)
        return Stamp(
            device_frame=counter,
            device_time=item.device_time,
            shape=item.data.shape if smaller else None,
            host_time=item.host_time,
        )

    def changed(self, names: set[str]) -> None:
        """Take a new rate from here on."""
        if "rate" in names:
            self._due = None

    def close(self) -> None:
        """Forget the recording."""
        if self._recording is not None:
            self._recording.close()
        self._recording = self._stream = None

    @property
    def _open_stream(self) -> RecordedStream:
        assert self._stream is not None, "open() comes first"
        return self._stream

    def _wait(self) -> bool:
        """Wait until the next frame is due; False if that is not soon."""
        if self.lossless and not self.rate:
            return True
        now = time.monotonic_ns()
        if self._due is None:
            self._due = now
        sleep_until(min(self._due, now + _PATIENCE))
        if self._due > now + _PATIENCE:
            return False
        self._due += self._pause()
        return True

    def _pause(self) -> int:
        """Time from the next frame to the one after it, ns."""
        if self.rate:
            return int(1e9 / self.rate)
        times = self._open_stream.stamps["mono_time"][self._next : self._next + 2]
        # A clock that began anew, after the recording host did, must not stop the replay.
        return max(0, int(times[1]) - int(times[0])) if len(times) == 2 else 0

    def _counter(self, i: int) -> int:
        """The device's counter at the i-th frame, going on from lap to lap."""
        stamps = self._open_stream.stamps
        field = "seq" if stamps["device_frame"][i] == UNKNOWN else "device_frame"
        counter, first, last = (int(stamps[field][k]) for k in (i, 0, -1))
        wrap = 1 << int(self._open_stream.spec.meta.get("counter_bits", 64))
        return (counter + self._lap * ((last - first) % wrap + 1)) % wrap

    def _only_stream(self, recording: Recording) -> str:
        names = [name for name in recording if not recording[name].spec.is_rows]
        if len(names) != 1:
            raise RecordingError(
                f"{self.name}.stream: {self.path} has {len(names)} streams of frames "
                f"({', '.join(names)}); name one"
            )
        return names[0]
