"""The contract of a camera."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np

from marey.node.base import Publisher
from marey.node.settings import Setting
from marey.stream.spec import Spec


class Stamp(NamedTuple):
    """When and as which frame the device took a picture.

    Attributes:
        device_frame: the device's own frame counter, so that frames lost in the device show;
            None where it has none.
        device_time: time on the device's clock, ns; None where it tells none.
        shape: shape of this frame where it is smaller than the stream's greatest; its pixels then
            stand packed at the beginning of the memory, as in
            `out.reshape(-1)[:height * width].reshape(height, width)`.
        host_time: Unix time of the exposure, ns; None for the moment at which `grab` returned.
        mono_time: `time.monotonic_ns()` of the exposure; None for the moment `grab` returned.
    """

    device_frame: int | None = None
    device_time: int | None = None
    shape: tuple[int, ...] | None = None
    host_time: int | None = None
    mono_time: int | None = None


class EndOfStream(Exception):  # an ending, not an error
    """Raised by `grab` when a source such as a file has no more frames: the stream is closed."""


class Camera(Publisher):
    """A node whose frames come from outside: the framework lends memory, the driver fills it."""

    lossless: bool = Setting(
        False,
        apply="start",
        description="wait for readers that must see every frame (files, offline work) "
        "instead of overwriting what they have not read",
    )

    @abstractmethod
    def describe(self) -> Spec:
        """The greatest frame and its type; called after `open`.

        `Spec.meta["counter_bits"]` tells the width at which `Stamp.device_frame` wraps (64).
        """

    @abstractmethod
    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """Wait for the next frame and write it into `out`.

        Must return within about 0.1 s, so that commands are served; None means no frame yet.

        Args:
            out: the memory of one frame, of the shape and type that `describe` gave.

        Raises:
            EndOfStream: there are no more frames.
        """


class BlockCamera(Camera):
    """A camera that can fill several frames at once, for rates at which a call a frame is dear."""

    block: int = Setting(
        1,
        ge=1,
        le=65536,
        unit="frames",
        apply="start",
        description="frames asked of the device at a time",
    )

    @abstractmethod
    def grab_block(self, out: np.ndarray[Any, Any], stamps: np.ndarray[Any, Any]) -> int:
        """Fill up to `len(out)` frames and their stamps; returns how many (0: none yet).

        Args:
            out: (T, height, width ...) memory; each frame is C-contiguous, but frames may lie
                further apart than they are long.
            stamps: (T,) of `marey.stream.STAMP`; fill `device_frame`, `device_time`,
                `host_time` and `mono_time`; the rest is the framework's.

        What is emitted belongs to the frames in their order, where there is one item for each,
        and otherwise to the last of them.
        """
