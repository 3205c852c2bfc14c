"""Video: files, network cameras (RTSP, MJPEG over HTTP) and video devices, through FFmpeg."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from marey.cameras.decoder import Decoder, Picture, is_file, without_password
from marey.cameras.pixels import Layout, Pixels, layout
from marey.cameras.receiver import Receiver
from marey.errors import NodeError
from marey.node import Camera, EndOfStream, Setting, Stamp
from marey.stream import Spec

_PATIENCE = 0.1
"""Seconds for which `grab` may wait, so that commands are served."""


_CUT_OFF = 1.0
"""Seconds by which a file may be shorter than it says; sound may outlast the picture."""


class _Next(NamedTuple):
    """The next picture, and when this machine had it (None: just now)."""

    picture: Picture
    host_time: int | None = None
    mono_time: int | None = None


class Video(Camera):
    """Video from a file, a network camera (RTSP, MJPEG over HTTP) or a video device (V4L2).

    `device_time` is the presentation time of the frame in the source (ns); None where the source
    tells none, as MJPEG over HTTP. `device_frame` counts the frames of the source from its
    opening, those included that arrived damaged or that nobody took in time. Both go on when a
    file is played again and when a connection is restored; then the count leaves out as many as
    the source will have made meanwhile.

    Gray is the luma over its full range (0 is black, 255 white); sources of more than 8 bits give
    u16 in gray. A frame smaller than the first one is published in its own shape; a greater one
    ends the node with an error.
    """

    url: str = Setting(
        ...,
        apply="start",
        min_length=1,
        description="path of a file, rtsp:// or http:// address, or a device such as /dev/video0",
    )
    color: bool = Setting(False, apply="start", description="RGB instead of gray")
    loop: bool = Setting(False, description="play a file again when it has come to its end")
    pace: Literal["file", "free"] | Annotated[float, Field(ge=0.1, le=200_000)] = Setting(
        "file",
        unit="Hz",
        description="how a file is played: at its own times, free-running, or at a given rate; "
        "a lossless file runs free unless a rate is given; live sources set their own pace",
    )
    options: dict[str, str] = Setting(
        default_factory=dict,
        apply="start",
        advanced=True,
        description="options of FFmpeg for the source, such as framerate, video_size, "
        "rtsp_transport (tcp unless given)",
    )
    timeout: float = Setting(
        5.0,
        ge=0.1,
        le=300,
        unit="s",
        apply="start",
        description="silence after which a live source counts as dead",
    )
    reconnect: float = Setting(
        0.0,
        ge=0,
        le=30,
        unit="s",
        apply="start",
        description="pause before a live source that failed is connected again, doubled with "
        "each attempt up to 30 s; 0: the failure ends the node",
    )
    queue: int = Setting(
        16,
        ge=1,
        le=1024,
        unit="frames",
        apply="start",
        advanced=True,
        description="frames of a live source kept until they are taken; older ones are lost",
    )

    _decoder: Decoder | None = None
    _receiver: Receiver | None = None
    _held: _Next | None = None
    _waiting: bool = True
    _layout: Layout | None = None
    _pixels: Pixels | None = None
    _start: tuple[int, int] | None = None
    _offset: tuple[int, int] = (0, 0)
    _last: Picture | None = None

    @property
    def _label(self) -> str:
        return f"{self.name}: url {without_password(self.url)!r}"

    def open(self) -> None:
        """Open the source and decode its first frame.

        Raises:
            NodeError: it cannot be opened, has no frame, or cannot do what the settings ask.
        """
        self._pixels = Pixels()
        self._start, self._offset, self._last, self._waiting = None, (0, 0), None, True
        if is_file(self.url):
            self._decoder = self._connect()
        else:
            self._receiver = Receiver(self._connect, self.queue, self.reconnect, self.log)
            self._refuse()
        self._held = self._first()
        self._layout = layout(self._held.picture.frame, self.color)

    def describe(self) -> Spec:
        """Frames as great as the first one, at the nominal rate of the source."""
        assert self._layout is not None, "describe is called after open"
        source = self._source
        rate = source.rate if isinstance(self.pace, str) else self.pace
        meta = {"counter_bits": 64, "url": without_password(self.url), "codec": source.codec}
        return Spec(
            self._layout.shape, self._layout.dtype, rate, self._layout.pixel_format, meta=meta
        )

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """Write the next frame, when its time has come.

        Raises:
            EndOfStream: the file has come to its end.
            NodeError: the source failed, or sent a frame that is greater than the first.
        """
        if self._waiting:
            # What passed while nobody asked yet is not lost.
            self._waiting = False
            if self._receiver is not None and self._receiver.dropped:
                self._held = None
        following = self._held or self._next()
        if following is None:
            return None
        self._held = following
        if not self._due(following.picture):
            return None
        self._held = None
        picture = following.picture
        target = self._fitting(picture, out)
        assert self._pixels is not None
        self._pixels.write(picture.frame, target, out)
        return Stamp(
            device_frame=picture.number,
            device_time=picture.time,
            shape=None if target is self._layout else target.shape,
            host_time=following.host_time,
            mono_time=following.mono_time,
        )

    def changed(self, names: set[str]) -> None:
        """Begin a new schedule when the pace was changed."""
        if "pace" in names:
            self._start = None

    def close(self) -> None:
        """Close the source; a silent live one is waited for, `timeout` at most."""
        decoder, receiver = self._decoder, self._receiver
        self._decoder = self._receiver = self._held = self._last = self._pixels = None
        if decoder is not None:
            decoder.close()
        if receiver is not None:
            receiver.close()

    def _connect(self) -> Decoder:
        url = self.url
        if is_file(url):
            url = str(Path(url.removeprefix("file://")).expanduser())
        return Decoder(url, self.options, self.timeout, self._label)

    @property
    def _source(self) -> Decoder:
        source = self._receiver.decoder if self._receiver is not None else self._decoder
        assert source is not None, "the node is open"
        return source

    def _refuse(self) -> None:
        """Complain of settings that only make sense for a file."""
        if self.loop:
            raise NodeError(
                f"{self._label}: loop: found true, but only a file can be played again; "
                "expected false"
            )
        if self.lossless and self._source.live:
            raise NodeError(
                f"{self._label}: lossless: found true, but a live source does not wait for "
                "readers; expected false"
            )

    def _first(self) -> _Next:
        until = time.monotonic() + self.timeout
        try:
            while (following := self._next()) is None:
                if time.monotonic() > until:
                    raise NodeError(f"{self._label}: no frame within {self.timeout:g} s")
        except EndOfStream:
            raise NodeError(f"{self._label}: holds no frame that can be decoded") from None
        return following

    def _next(self) -> _Next | None:
        """The next picture; None if a live source has sent none for a moment."""
        if self._receiver is not None:
            try:
                received = self._receiver.get(_PATIENCE)
            except EOFError:
                raise EndOfStream from None
            if received is None or self._source.live:
                return received and _Next(*received)
            return _Next(received.picture)
        assert self._decoder is not None
        picture = self._decoder.read()
        if picture is None:
            picture = self._again()
        number, moment = self._offset
        at = None if picture.time is None else picture.time + moment
        self._last = Picture(picture.frame, picture.number + number, at)
        return _Next(self._last)

    def _again(self) -> Picture:
        """The first picture of the file once more, or the end."""
        decoder, last = self._decoder, self._last
        assert decoder is not None
        if decoder.missing > _CUT_OFF:
            self.log.warning(
                "%s: ended %.1f s before its time, after %d frames: it may have been cut off",
                self._label,
                decoder.missing,
                decoder.count,
            )
        if not self.loop or last is None:
            raise EndOfStream
        decoder.close()
        self._decoder = decoder = self._connect()
        picture = decoder.read()
        if picture is None:
            raise EndOfStream
        period = round(1e9 / decoder.rate) if decoder.rate else 0
        if last.time is not None and picture.time is not None:
            self._offset = (last.number + 1, last.time + period - picture.time)
        else:
            self._offset = (last.number + 1, 0)
        return picture

    def _due(self, picture: Picture) -> bool:
        """Wait until the frame is to be shown, but not for long; whether it is."""
        if self._receiver is not None and self._source.live:
            return True
        if self.pace == "free" or (self.lossless and self.pace == "file"):
            return True
        if isinstance(self.pace, float):
            position = round(picture.number * 1e9 / self.pace)
        elif picture.time is not None:
            position = picture.time
        else:
            position = round(picture.number * 1e9 / (self._source.rate or 25.0))
        now = time.monotonic_ns()
        if self._start is None:
            self._start = (now, position)
        wait = (self._start[0] + position - self._start[1] - now) / 1e9
        if wait > 0:
            time.sleep(min(wait, _PATIENCE))
        return wait <= _PATIENCE

    def _fitting(self, picture: Picture, out: np.ndarray[Any, Any]) -> Layout:
        """The layout of the frame, which must fit what was described."""
        assert self._layout is not None
        frame, first = picture.frame, self._layout
        if (frame.height, frame.width) == first.shape[:2]:
            return first
        if frame.height > first.shape[0] or frame.width > first.shape[1]:
            raise NodeError(
                f"{self._label}: frame {picture.number} is {frame.width} x {frame.height} pixels, "
                f"greater than the first one, {first.shape[1]} x {first.shape[0]}"
            )
        return first._replace(shape=(frame.height, frame.width, *first.shape[2:]))
