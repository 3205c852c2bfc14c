"""A small RTSP camera on the loopback: H.264 in RTP, interleaved in the RTSP connection.

RTSP 1.0 is RFC 2326, RTP RFC 3550, H.264 in RTP RFC 6184. Only what a client needs that asks for
RTP over TCP: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from types import TracebackType
from typing import Any

import av
import numpy as np

CLOCK = 90_000
"""Ticks of an RTP clock of H.264 in one second (RFC 6184, 8.2.1)."""

MTU = 1400
"""Bytes of RTP payload in one packet."""

Units = list[bytes]


def encode(pictures: Sequence[np.ndarray[Any, Any]], rate: int = 30) -> list[Units]:
    """Gray pictures as H.264: for each, its NAL units without start codes, as a camera makes them.

    No B-frames, no delay: each picture is one access unit, in order. A key frame every 10.
    """
    height, width = pictures[0].shape
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, rate)
    encoder.framerate = Fraction(rate)
    encoder.thread_count = 1
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "18", "g": "10"}
    frames = []
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuv420p")
        frame.pts = number
        frames.append(frame)
    packets = [packet for frame in [*frames, None] for packet in encoder.encode(frame)]
    return [list(_units(bytes(packet))) for packet in packets]


def _units(stream: bytes) -> Iterator[bytes]:
    """Cut a byte stream (ITU-T H.264, annex B) at its start codes."""
    for unit in stream.split(b"\x00\x00\x01")[1:]:
        yield unit.rstrip(b"\x00")


class RtspServer:
    """Sends one H.264 picture after the other to each client that plays.

    Each connection gets the next of `shows`; the last is repeated for later clients. After the
    last picture the connection stays open and silent until the server ends, unless `hang_up` is
    set: then it is closed at once, as by a camera that lost its power.

    Args:
        shows: for each connection the access units that `encode` made.
        rate: pictures per second, by their RTP time.
        hang_up: close the connection after the last picture.
        hold: wait for `release` before the picture of this number.
    """

    def __init__(
        self,
        *shows: list[Units],
        rate: int = 30,
        hang_up: bool = False,
        hold: int | None = None,
    ) -> None:
        self.shows = shows
        self.rate = rate
        self.hang_up = hang_up
        self.hold = hold
        self.clients = 0
        self.methods: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._ended = threading.Event()
        self._released = threading.Event()
        self.url = f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/camera"

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(client)
            self._start(self._converse, client)

    def _start(self, target: Any, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args)
        self._threads.append(thread)
        thread.start()

    def _converse(self, client: socket.socket) -> None:
        lock = threading.Lock()
        try:
            with client, client.makefile("rb") as received:
                while request := _request(received):
                    method, headers = request
                    self.methods.append(method)
                    answer = self._answer(method, headers)
                    with lock:
                        client.sendall(answer)
                    if method == "PLAY":
                        show = self.shows[min(self.clients, len(self.shows) - 1)]
                        self.clients += 1
                        self._start(self._play, client, lock, show)
                    if method == "TEARDOWN":
                        return
        except OSError:
            return  # the client has gone, as clients do

    def _answer(self, method: str, headers: dict[str, str]) -> bytes:
        status, more, body = "200 OK", "", b""
        if method == "OPTIONS":
            more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = self._description().encode()
            more = f"Content-Type: application/sdp\r\nContent-Base: {self.url}/\r\n"
        elif method == "SETUP" and "TCP" not in headers.get("transport", ""):
            status = "461 Unsupported Transport"
        elif method == "SETUP":
            more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1;timeout=60\r\n"
        elif method in ("PLAY", "GET_PARAMETER", "TEARDOWN"):
            more = "Session: 1\r\n"
        else:
            status = "501 Not Implemented"
        head = f"RTSP/1.0 {status}\r\nCSeq: {headers.get('cseq', '0')}\r\n{more}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def _description(self) -> str:
        """The session in SDP (RFC 4566), with the parameter sets of RFC 6184, 8.1."""
        sets = [unit for unit in self.shows[0][0] if unit[0] & 31 in (7, 8)]
        profile = sets[0][1:4].hex().upper()
        sprop = ",".join(base64.b64encode(unit).decode() for unit in sets)
        return (
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
            f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/{CLOCK}\r\na=framerate:{self.rate}\r\n"
            f"a=fmtp:96 packetization-mode=1;profile-level-id={profile};"
            f"sprop-parameter-sets={sprop}\r\na=control:track1\r\n"
        )

    def _play(self, client: socket.socket, lock: threading.Lock, show: list[Units]) -> None:
        sequence = 0
        try:
            for number, units in enumerate(show):
                if number == self.hold:
                    self._released.wait()
                # Time begins anywhere (RFC 3550, 5.1), and clients take 0 for unknown.
                time = CLOCK + number * CLOCK // self.rate
                payloads = [part for unit in units for part in _payloads(unit)]
                for part in payloads:
                    marker = 0x80 if part is payloads[-1] else 0
                    head = struct.pack("!BBHII", 0x80, marker | 96, sequence & 0xFFFF, time, 1)
                    sequence += 1
                    with lock:
                        client.sendall(struct.pack("!cBH", b"$", 0, 12 + len(part)) + head + part)
            if self.hang_up:
                client.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the client has gone, as clients do

    def release(self) -> None:
        """Send what is held."""
        self._released.set()

    def __enter__(self) -> RtspServer:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self.release()
        for used in [self._listener, *self._sockets]:
            with contextlib.suppress(OSError):  # closed by the other side already
                used.shutdown(socket.SHUT_RDWR)
            used.close()
        for thread in self._threads:
            thread.join()


def _request(received: Any) -> tuple[str, dict[str, str]] | None:
    """Method and headers of the next request; RTCP packets between them are skipped."""
    while (first := received.read(1)) == b"$":
        _, length = struct.unpack("!BH", received.read(3))
        received.read(length)
    if not first:
        return None
    method = (first + received.readline()).decode().split()[0]
    headers = {}
    while line := received.readline().decode().strip():
        key, _, value = line.partition(":")
        headers[key.lower()] = value.strip()
    return method, headers


def _payloads(unit: bytes) -> Iterator[bytes]:
    """One NAL unit as RTP payloads: itself, or its fragments of type FU-A (RFC 6184, 5.8)."""
    if len(unit) <= MTU:
        yield unit
        return
    indicator, kind = unit[0] & 0xE0 | 28, unit[0] & 31
    body = unit[1:]
    for start in range(0, len(body), MTU - 2):
        part = body[start : start + MTU - 2]
        first = 0x80 if start == 0 else 0
        last = 0x40 if start + len(part) == len(body) else 0
        yield bytes([indicator, first | last | kind]) + part
