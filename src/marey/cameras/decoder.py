"""An open source of video: a file, a network stream or a video device, through FFmpeg."""

from __future__ import annotations

import stat
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

import av
import av.error
from av.packet import Packet

from marey.errors import NodeError

_NO_TIMESTAMPS = 0x80
"""AVFMT_NOTIMESTAMPS of FFmpeg: the format stores no times; FFmpeg then invents 25 a second."""

_ENDLESS = ("rtsp", "sdp", "mpjpeg", "v4l2")
"""Formats that never end by themselves, whatever they claim."""


class Picture(NamedTuple):
    """A decoded frame.

    Attributes:
        frame: as FFmpeg decoded it.
        number: how many frames came before it, damaged ones included.
        time: presentation time in ns on the clock of the source; None where it tells none.
    """

    frame: av.VideoFrame
    number: int
    time: int | None


def is_file(url: str) -> bool:
    """Whether `url` names something on a disk, rather than a network source or a device."""
    if "://" in url:
        return url.startswith("file://")
    path = Path(url)
    return not path.exists() or stat.S_ISREG(path.stat().st_mode) or path.is_dir()


def without_password(url: str) -> str:
    """`url` as it may stand in messages and logs."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{place}"))


class Decoder:
    """One opened source, of which the first video stream is decoded frame by frame.

    Files are read strictly: damage ends in an error. A live source that sends something damaged
    goes on; the frame is left out, and the number of the next one tells so.

    Attributes:
        live: the source sends frames at its own pace and has no end.
        rate: nominal frames per second, 0 where unknown.
        codec: FFmpeg's name of the codec.
        count: frames decoded, or found damaged, until now.
    """

    def __init__(self, url: str, options: Mapping[str, str], timeout: float, label: str) -> None:
        """Open a source.

        Args:
            url: path, URL or device.
            options: options of FFmpeg's demuxer or protocol, such as `framerate`.
            timeout: seconds that a network source or device may be silent.
            label: node and source, with which messages begin.

        Raises:
            NodeError: the source cannot be opened, or holds no video that can be decoded.
        """
        self.label = label
        self.timeout = timeout
        self.count = 0
        self._last: int | None = None
        on_disk = is_file(url)
        given = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
        begun = time.monotonic()
        try:
            self._container = av.open(
                url,
                "r",
                format="v4l2" if url.startswith("/dev/video") else None,
                options=given | dict(options),
                timeout=None if on_disk else timeout,
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            late = not on_disk and time.monotonic() - begun >= timeout
            raise NodeError(f"{label}: cannot be opened: {self._reason(error, late)}") from error
        try:
            self._examine()
        except BaseException:
            self._container.close()
            raise
        self._pictures = self._decode()

    def _examine(self) -> None:
        container = self._container
        if not container.streams.video:
            raise NodeError(f"{self.label}: holds no video ({container.format.long_name})")
        self._stream = stream = container.streams.video[0]
        if stream.codec_context is None:
            raise NodeError(f"{self.label}: its codec is not known to FFmpeg")
        names = container.format.name.split(",")
        self.live = container.duration is None and not is_file(container.name)
        self.live = self.live or any(name in _ENDLESS for name in names)
        self.codec = stream.codec_context.name
        self._end = self._claimed_end()
        self._timed = not container.format.flags & _NO_TIMESTAMPS
        self.rate = float(stream.average_rate or 0) if self._timed else 0.0
        # Otherwise a decoder mends what it cannot decode with what it thinks likely.
        strictness = container.options.get("err_detect", "explode")
        stream.codec_context.options = {"err_detect": strictness}
        # Threads that decode several frames at a time delay each, which matters only live.
        stream.thread_type = "SLICE" if self.live else "AUTO"

    def _claimed_end(self) -> float | None:
        """Time in s at which the last frame is over, as the container has it."""
        stream, container = self._stream, self._container
        if stream.duration is not None and stream.time_base is not None:
            return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
        if container.duration is not None:
            return ((container.start_time or 0) + container.duration) / av.time_base
        return None

    @property
    def missing(self) -> float:
        """Seconds by which the frames read until now end before the source says that it ends."""
        if self._end is None or self._last is None:
            return 0.0
        return max(0.0, self._end - self._last / 1e9)

    def read(self) -> Picture | None:
        """The next frame, waited for; None at the end.

        Raises:
            NodeError: the source is damaged, broken off, or silent for longer than `timeout`.
        """
        try:
            return next(self._pictures, None)
        except (av.error.FFmpegError, OSError) as error:
            raise NodeError(
                f"{self.label}: broken after {self.count} frames: {self._reason(error)}"
            ) from error

    def close(self) -> None:
        """Close the source; `read` must not be called any more."""
        self._pictures.close()
        self._container.close()

    def _decode(self) -> Generator[Picture]:
        for packet in self._container.demux(self._stream):
            for frame in _frames(packet):
                number = self.count
                self.count += 1
                if frame is not None and not frame.is_corrupt:
                    self._last = self._time(frame)
                    yield Picture(frame, number, self._last)
                elif not self.live:
                    raise NodeError(f"{self.label}: damaged or cut off after {number} frames")

    def _time(self, frame: av.VideoFrame) -> int | None:
        if not self._timed or frame.pts is None or frame.time_base is None:
            return None
        return round(frame.pts * frame.time_base * 1_000_000_000)

    def _reason(self, error: Exception, late: bool = False) -> str:
        """What FFmpeg complained of, in words of the user."""
        if late or isinstance(error, av.error.ExitError):
            return f"nothing came for {self.timeout:g} s"
        return str(getattr(error, "strerror", None) or error)


def _frames(packet: Packet[av.VideoStream]) -> Sequence[av.VideoFrame | None]:
    """What a packet decodes to; None where it is damaged."""
    if packet.is_corrupt:
        return [None]  # cut short, it might still decode: to a picture that is half gray
    try:
        return packet.decode()
    except (av.error.InvalidDataError, av.error.ArgumentError):
        return [None]
