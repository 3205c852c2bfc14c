"""A thread that reads a source which does not wait: network cameras and video devices."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from marey.cameras.decoder import Decoder, Picture
from marey.errors import NodeError

_LONGEST_PAUSE = 30.0
"""Seconds between two attempts to connect again, at most."""


class Received(NamedTuple):
    """A picture, and when this machine had it: Unix ns and monotonic ns."""

    picture: Picture
    host_time: int
    mono_time: int


class Receiver:
    """Keeps the newest pictures of a source for whoever asks.

    A live source that is not asked in time loses its oldest pictures, which shows in the gaps of
    their numbers; of a source with an end (a file on a web server) none is lost: the thread waits.

    After a reconnection the numbers go on with as many left out as the source will have made
    meanwhile at its rate (at least one), and its times go on by this machine's clock.

    Attributes:
        dropped: pictures that nobody asked for in time.
    """

    def __init__(
        self,
        connect: Callable[[], Decoder],
        keep: int,
        reconnect: float,
        log: logging.Logger,
    ) -> None:
        """Connect, and start to receive.

        Args:
            connect: opens the source.
            keep: pictures kept.
            reconnect: seconds before the first attempt to connect again, doubled for each
                further one; 0: a failure is final.
            log: told of broken and restored connections.

        Raises:
            NodeError: of `connect`.
        """
        self._connect = connect
        self._keep = keep
        self._reconnect = reconnect
        self._log = log
        self._decoder = connect()
        self._pictures: deque[Received] = deque()
        self.dropped = 0
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._ended = False
        self._error: Exception | None = None
        self._number_offset = 0
        self._time_offset = 0
        self._last: Received | None = None
        self._thread = threading.Thread(target=self._run, name="video receiver", daemon=True)
        self._thread.start()

    @property
    def decoder(self) -> Decoder:
        """The connection in use."""
        return self._decoder

    def get(self, timeout: float) -> Received | None:
        """The oldest picture kept; None if none came within `timeout` seconds.

        Raises:
            EOFError: the source has come to its end.
            NodeError: it failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._pictures or self._ended, timeout)
            if self._pictures:
                received = self._pictures.popleft()
                self._changed.notify_all()
                return received
            if self._error is not None:
                raise self._error
            if self._ended:
                raise EOFError
            return None

    def close(self) -> None:
        """End the thread; waits for a silent source for its `timeout` at most."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            while not self._stopped.is_set():
                try:
                    self._receive()
                    break
                except NodeError as failure:
                    if not self._reconnect:
                        raise
                    self._log.warning("%s; connecting again", failure)
                    self._restore()
        except Exception as failure:  # noqa: BLE001 - handed to the thread that asks
            error = failure
        finally:
            self._decoder.close()
            with self._changed:
                self._ended, self._error = True, error
                self._changed.notify_all()

    def _receive(self) -> None:
        """Take pictures until the end of the source, or of the receiver."""
        decoder = self._decoder
        while not self._stopped.is_set():
            picture = decoder.read()
            if picture is None:
                if decoder.live:
                    raise NodeError(f"{decoder.label}: hung up after {decoder.count} frames")
                return
            self._put(self._continued(picture))

    def _continued(self, picture: Picture) -> Received:
        """The picture with number and time that go on from those before a reconnection."""
        host, mono = time.time_ns(), time.monotonic_ns()
        number = picture.number + self._number_offset
        moment = None if picture.time is None else picture.time + self._time_offset
        self._last = Received(Picture(picture.frame, number, moment), host, mono)
        return self._last

    def _put(self, received: Received) -> None:
        with self._changed:
            if self._decoder.live:
                while len(self._pictures) >= self._keep:
                    self._pictures.popleft()
                    self.dropped += 1
            else:
                self._changed.wait_for(
                    lambda: len(self._pictures) < self._keep or self._stopped.is_set()
                )
            self._pictures.append(received)
            self._changed.notify_all()

    def _restore(self) -> None:
        """Connect again, however often that takes."""
        pause = self._reconnect
        while not self._stopped.wait(pause):
            self._decoder.close()
            try:
                self._decoder = self._connect()
            except NodeError as failure:
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._log.warning("%s; next attempt in %g s", failure, pause)
                continue
            self._log.info("%s: connected again", self._decoder.label)
            self._go_on()
            return

    def _go_on(self) -> None:
        """Let number and time go on from the last picture of the broken connection."""
        last = self._last
        if last is None:
            return
        away = time.monotonic_ns() - last.mono_time
        missed = max(1, round(away / 1e9 * self._decoder.rate) - 1)
        self._number_offset = last.picture.number + 1 + missed
        if last.picture.time is not None:
            self._time_offset = last.picture.time + away
