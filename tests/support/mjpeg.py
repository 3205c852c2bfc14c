"""An MJPEG-over-HTTP camera on the loopback, as network cameras serve it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np
import simplejpeg


def jpeg(picture: np.ndarray[Any, Any]) -> bytes:
    """A picture, gray or RGB, as a JPEG file."""
    if picture.ndim == 2:
        return bytes(simplejpeg.encode_jpeg(picture[..., None], quality=90, colorspace="GRAY"))
    return bytes(simplejpeg.encode_jpeg(picture, quality=90, colorspace="RGB"))


class MjpegServer:
    """Sends `parts` (JPEG files) to each client as `multipart/x-mixed-replace`.

    Each connection gets the next of `shows`; the last one is repeated for later clients. After
    the last part the connection is kept open until `release`, unless `hang_up` is set: then it is
    closed at once, as by a camera that lost its power.

    Args:
        shows: for each connection its parts.
        hang_up: close the connection after the last part.
        status: what to answer; other than 200 it is the whole answer.
        plain: send the first part of the show as a file of its own.
        hold: wait for `release` before the part of this number.
    """

    def __init__(
        self,
        *shows: Iterable[bytes],
        hang_up: bool = False,
        status: int = 200,
        plain: bool = False,
        hold: int | None = None,
    ) -> None:
        self.shows = [list(show) for show in shows]
        self.hang_up = hang_up
        self.status = status
        self.plain = plain
        self.hold = hold
        self.clients = 0
        self._released = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner._serve(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/video"

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        show = self.shows[min(self.clients, len(self.shows) - 1)]
        self.clients += 1
        handler.send_response(self.status)
        if self.status != 200:
            handler.end_headers()
            return
        if self.plain:
            handler.send_header("Content-Length", str(len(show[0])))
            handler.end_headers()
            handler.wfile.write(show[0])
            return
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        try:
            for number, part in enumerate(show):
                if number == self.hold:
                    self._released.wait()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(part)}\r\n\r\n"
                handler.wfile.write(head.encode() + part + b"\r\n")
        except OSError:
            return  # the client has gone, as clients do
        if not self.hang_up:
            self._released.wait()

    def release(self) -> None:
        """Send what is held, and let the connections that were sent everything close."""
        self._released.set()

    def __enter__(self) -> MjpegServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
