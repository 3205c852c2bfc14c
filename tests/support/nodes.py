"""Nodes for tests of sessions: what they do is known exactly, and they fail where they are told to.

A fault that has a file in `once` happens only while that file does not exist, and makes it: so that
a restarted node does not fail again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, ClassVar, TextIO

import numpy as np
from pydantic import Field, model_validator

from marey.errors import ActionError
from marey.node import (
    BlockCamera,
    Camera,
    Device,
    EndOfStream,
    Processor,
    Setting,
    Sink,
    Stamp,
    action,
)
from marey.stream import Block, Frame, Spec

ROW = np.dtype([("seq", "u8"), ("sum", "f8")])


def happens(once: str) -> bool:
    """Whether a fault happens now; notes that it did."""
    if not once:
        return True
    try:
        Path(once).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def fail(how: str) -> None:
    """Fail in one of several ways, named by the first word."""
    match how.partition(" ")[0]:
        case "raise":
            raise ValueError(how.partition(" ")[2])
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os._exit(3)
        case "leave":
            os._exit(0)
        case "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "sleep":
            time.sleep(float(how.partition(" ")[2]))
        case "wait":
            while not Path(how.partition(" ")[2]).exists():
                time.sleep(0.005)


class Ticker(Camera):
    """A camera of 4 x 6 pixels that all bear the low byte of the device's frame number."""

    rate: float = Setting(500.0, gt=0, le=1e6, unit="Hz", description="frames a second")
    frames: int = Setting(0, ge=0, description="the stream ends after so many; 0: never")
    width: int = Setting(6, ge=1, le=64, apply="reopen", description="width of a frame")
    exposure: float = Setting(0.01, ge=1e-6, le=1.0, unit="s")
    offset: int = Setting(0, ge=0, le=255, description="added to every pixel")
    binning: tuple[int, int] = Setting((1, 1), description="never used")
    serial: str = Setting("T-1", apply="start")
    temperature: float = Setting(20.0, readonly=True, unit="degC")
    acquiring: bool = Setting(True, follows=True)
    mode: str = Setting("", follows=True)
    opening: str = Setting("", apply="start", description="how `open` fails")
    closing: str = Setting("", apply="start", description="how `close` fails")
    grabbing: str = Setting("", apply="start", description="how `grab` fails")
    at: int = Setting(-1, apply="start", description="frame at which `grab` fails")
    once: str = Setting("", apply="start", description="see the module")
    refused: float = Setting(0.0, description="exposure that `changed` refuses")
    diary: str = Setting("", apply="start", description="file that is told of open and close")

    _number: int = 0
    _due: float = 0.0

    @model_validator(mode="after")
    def _fits(self) -> Ticker:
        if self.offset == 13:
            raise ValueError("13 brings bad luck")
        return self

    def describe(self) -> Spec:
        """Frames of 4 x `width` pixels."""
        return Spec((4, self.width), np.dtype("u1"), self.rate, "Mono8")

    def open(self) -> None:
        """Open, or fail."""
        self._tell("open")
        if self.width == 13:
            raise ValueError("no sensor is 13 pixels wide")
        if self.opening:
            fail(self.opening)
        self._due = time.monotonic()

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """The next frame, at its time."""
        if self.frames and self._number >= self.frames:
            raise EndOfStream
        if not self.acquiring:
            time.sleep(0.002)
            return None
        if self._number == self.at and happens(self.once):
            fail(self.grabbing)
        self._due = max(self._due + 1 / self.rate, time.monotonic() - 0.1)
        time.sleep(max(0.0, min(0.1, self._due - time.monotonic())))
        out[:] = (self._number + self.offset) % 256
        number, self._number = self._number, self._number + 1
        return Stamp(device_frame=number, device_time=1000 * number)

    def changed(self, names: set[str]) -> None:
        """Refuse one value of the exposure."""
        self._tell(f"changed {','.join(sorted(names))}")
        if self.refused and self.exposure == self.refused:
            raise ValueError(f"the sensor refuses {self.exposure}")

    def close(self) -> None:
        """Close, or fail."""
        self._tell("close")
        if self.closing:
            fail(self.closing)

    def _tell(self, what: str) -> None:
        if self.diary:
            with Path(self.diary).open("a") as file:
                file.write(f"{self.name} {what}\n")


class Ragged(Camera):
    """Frames of differing shape: frame n has 1 + n % 5 rows and 1 + n % 7 columns, all n."""

    frames: int = 40
    _number: int = 0

    def describe(self) -> Spec:
        """At most 5 x 7."""
        return Spec((5, 7), np.dtype("u2"), pixel_format="Mono16")

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """The next frame, packed at the beginning of the memory."""
        if self._number == self.frames:
            raise EndOfStream
        n, self._number = self._number, self._number + 1
        shape = (1 + n % 5, 1 + n % 7)
        out.reshape(-1)[: shape[0] * shape[1]] = n
        return Stamp(device_frame=n, shape=shape)


class Truthful(BlockCamera):
    """Emits the number of each frame beside it."""

    frames: int = 100
    _number: int = 0

    def describe(self) -> Spec:
        """Frames of 2 x 2."""
        return Spec((2, 2), np.dtype("u4"), 1000)

    def also(self) -> dict[str, Spec]:
        """The truth."""
        return {"truth": Spec((4,), ROW, 1000)}

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """One frame."""
        if self._number == self.frames:
            raise EndOfStream
        time.sleep(0.0005)
        out[:] = self._number
        self.emit("truth", np.array([(self._number, 4 * self._number)], ROW))
        self._number += 1
        return Stamp(device_frame=self._number - 1)

    def grab_block(self, out: np.ndarray[Any, Any], stamps: np.ndarray[Any, Any]) -> int:
        """Some frames."""
        n = min(len(out), self.frames - self._number)
        for i in range(n):
            stamps["device_frame"][i] = self.grab(out[i]).device_frame  # type: ignore[union-attr]
        if n == 0:
            raise EndOfStream
        return n


class Sum(Processor):
    """The sum of each frame, with its number; or of the frames of each block."""

    row: ClassVar[np.dtype[Any] | None] = ROW
    max_rows: ClassVar[int] = 64

    slow: float = Setting(0.0, ge=0, unit="s", description="time for one item")
    failing: str = Setting("", apply="start", description="how `process` fails")
    at: int = Setting(-1, apply="start", description="item at which it fails")
    once: str = Setting("", apply="start")
    skip: int = Setting(0, ge=0, description="no result for each n-th item")
    log_each: int = Setting(0, ge=0, description="a log line for each n-th item")

    def also(self) -> dict[str, Spec]:
        """The number of every tenth item."""
        return {"tenth": Spec((1,), ROW)}

    def process(self, frame: Frame | Block) -> np.ndarray[Any, Any] | None:
        """Rows of number and sum."""
        if frame.seq == self.at and happens(self.once):
            fail(self.failing)
        if self.slow:
            time.sleep(self.slow)
        if frame.seq % 10 == 0:
            self.emit("tenth", np.array([(frame.seq, 0)], ROW))
        if self.skip and frame.seq % self.skip == 0:
            return None
        if self.log_each and frame.seq % self.log_each == 0:
            self.log.info("item %d", frame.seq)
        if isinstance(frame, Block):
            rows = np.zeros(len(frame), ROW)
            rows["seq"] = frame.seq + np.arange(len(frame))
            rows["sum"] = [picture.sum() for picture in frame.data]
            return rows
        data = frame.data["sum"] if frame.data.dtype.names else frame.data
        return np.array([(frame.seq, data.sum())], ROW)


class Wrong(Processor):
    """Gives back something that is no row."""

    row: ClassVar[np.dtype[Any] | None] = ROW
    gives: str = "list"

    def process(self, frame: Frame | Block) -> np.ndarray[Any, Any] | None:
        """A list, or an array of another type, or too many rows."""
        if self.gives == "list":
            return [1, 2, 3]  # type: ignore[return-value]
        if self.gives == "type":
            return np.zeros(1, "f4")
        return np.zeros(5000, ROW)


class Keep(Sink):
    """Writes a line of JSON for each item that it was given; goes on with the file it finds."""

    file: str = Setting(..., apply="start")
    slow: float = Setting(0.0, ge=0, unit="s")
    closing: str = Setting("", apply="start")
    failing: str = Setting("", apply="start")
    at: int = Setting(-1, apply="start")
    once: str = Setting("", apply="start")
    pixels: bool = Setting(True, apply="start", description="whether to write all values")

    _out: TextIO | None = None

    def open(self) -> None:
        """Begin or continue the file."""
        self._out = Path(self.file).open("a")  # noqa: SIM115 - closed by close

    def append(self, name: str, frame: Frame) -> None:
        """Write what is known of the item."""
        assert self._out is not None
        if frame.seq == self.at and happens(self.once):
            fail(self.failing)
        facts = {
            "pid": os.getpid(),
            "stream": name,
            "seq": frame.seq,
            "source_seq": frame.source_seq,
            "device_frame": frame.device_frame,
            "device_time": frame.device_time,
            "host_time": frame.host_time,
            "mono_time": frame.mono_time,
            "epoch": frame.epoch,
            "lost": [frame.lost.start, frame.lost.stop],
            "shape": frame.data.shape,
        }
        if self.pixels:
            facts["data"] = frame.data.tolist()
        self._out.write(json.dumps(facts) + "\n")
        self._out.flush()
        if self.slow:
            time.sleep(self.slow)

    def close(self) -> None:
        """End the file."""
        if self._out is not None:
            self._out.close()
        if self.closing:
            fail(self.closing)


class Newest(Sink):
    """Is given only the newest items, and takes its time for them."""

    reads: ClassVar[Any] = "latest"
    file: str = Setting(..., apply="start")

    def append(self, name: str, frame: Frame) -> None:
        """Write its number."""
        time.sleep(0.01)
        with Path(self.file).open("a") as file:
            file.write(f"{frame.seq}\n")


class Picky(Sink):
    """Follows the session's mode, but not to everywhere."""

    mode: str = Setting("", follows=True, max_length=5)
    run: str = Setting("", follows=True)

    def append(self, name: str, frame: Frame) -> None:
        """Nothing."""

    def changed(self, names: set[str]) -> None:
        """Refuse what passes as text but cannot be done."""
        if self.mode == "moon":
            raise ValueError("cannot go to the moon")


class Motor(Device):
    """A stage with telemetry, and actions of every sort."""

    row: ClassVar[np.dtype[Any]] = np.dtype([("position", "f8")])

    speed: float = Setting(1.0, gt=0, le=10, unit="um/s")
    position: float = Setting(0.0, readonly=True, unit="um")
    peer: str = Setting("", apply="start", description="a node that `visit` asks")

    def poll(self) -> np.ndarray[Any, Any]:
        """Where it is."""
        return np.array([(self.position,)], self.row)

    @action
    def move(self, to: Annotated[float, Field(ge=-100, le=100)], *, fast: bool = False) -> float:
        """Go there at once."""
        self.position = to
        return self.position

    @action
    def sweep(
        self, steps: Annotated[int, Field(ge=1)] = 10, fail_at: int = -1, pause: float = 0.0
    ) -> Generator[tuple[float, str], None, int]:
        """Go step by step."""
        for step in range(steps):
            if step == fail_at:
                raise ActionError(f"{self.name}.sweep(): stuck at step {step}")
            self.position = float(step)
            until = time.monotonic() + pause
            while True:
                yield step / steps, f"step {step}"
                if time.monotonic() >= until:
                    break
        return steps

    @action
    def silent(self, seconds: float) -> Generator[None, None, str]:
        """Take a while without a sign of progress."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            yield
        return "done"

    @action
    def boom(self) -> None:
        """Fail with an error that is not marey's."""
        self.speed = 2.0
        raise ZeroDivisionError("boom")

    @action
    def odd(self) -> Any:
        """Answer with something that cannot be sent."""
        return object()

    @action
    def too_fast(self) -> None:
        """Assign what the setting refuses."""
        self.speed = 1000.0

    @action
    def array(self) -> Any:
        """Answer with NumPy's types, NaN among them."""
        return {"a": np.arange(3), "b": np.float32(0.5), "c": float("nan")}

    @action
    def visit(self, action: str = "touch") -> Any:
        """Ask the peer, which may ask back."""
        return self.lab.call(self.peer, action, {}, timeout=5)

    @action
    def touch(self) -> str:
        """Do nothing."""
        return self.name

    @action
    def myself(self) -> Any:
        """Ask oneself."""
        return self.lab.call(self.name, "touch", {})

    @action
    def share(self, mode: str) -> Any:
        """Change a setting of the whole session."""
        return self.lab.set(mode=mode)

    @action
    def shout(self, text: str) -> None:
        """Write to log, stdout and stderr, from Python and from below."""
        self.log.warning("log %s", text)
        print(f"stdout {text}")
        print(f"stderr {text}", file=sys.stderr)
        os.write(2, f"raw {text}\n".encode())
        warnings.warn(f"warning {text}", stacklevel=1)


class Lamp(Device):
    """A device without telemetry that follows the session's mode."""

    on: bool = False
    mode: str = Setting("", follows=True)

    @action
    def switch(self, mode: str) -> Any:
        """Change the whole session's mode, its own included."""
        return self.lab.set(mode=mode)


class Lock(Processor):
    """A feedback: asks a device to move with every frame."""

    row: ClassVar[np.dtype[Any] | None] = np.dtype([("position", "f8")])
    device: str = Setting(..., apply="start")

    def process(self, frame: Frame | Block) -> np.ndarray[Any, Any] | None:
        """Move the device by a tenth for each frame, and tell where it is."""
        position = self.lab[self.device].do("move", to=(frame.seq % 100) / 10)
        return np.array([(position,)], self.row)


class Spawner(Camera):
    """Starts a process of its own, as a driver may."""

    file: str = Setting(..., apply="start", description="where its pid is written")

    def describe(self) -> Spec:
        """One pixel."""
        return Spec((1, 1), np.dtype("u1"))

    def open(self) -> None:
        """Start it."""
        import subprocess

        child = subprocess.Popen(["sleep", "600"])
        Path(self.file).write_text(str(child.pid))

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """No frame."""
        time.sleep(0.01)
        return None


class Flood(Camera):
    """Talks more than anybody can hear."""

    def describe(self) -> Spec:
        """One pixel."""
        return Spec((1, 1), np.dtype("u1"), 1000)

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """A frame, and a hundred lines."""
        for i in range(100):
            self.log.info("flood %d", i)
            print("flood", i)
        out[:] = 0
        return Stamp()
