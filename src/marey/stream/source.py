"""The reading side of a stream."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np

from marey._native import Frame, Reader, Ring
from marey.errors import StreamError, StreamMissing
from marey.stream.spec import Spec

Start = float | Literal["now", "oldest"]
"""Where a reader begins: at the next item, at the oldest kept, or so many seconds back."""

_LOOK_EACH = 0.01
_FAR = 1e9  # s; as ns it is still a whole number of the machine


class Source:
    """A stream as its readers see it; it may not exist yet, and may end and come back.

    Args:
        folder: the session's runtime folder.
        name: the stream's name.
        reader: under which name readers made here keep their accounts.
        keep: whether accounts outlive their readers, so that a restarted node goes on where it was.
    """

    def __init__(
        self, folder: Path | str, name: str, *, reader: str = "", keep: bool = False
    ) -> None:
        self.folder = str(folder)
        self.name = name
        self._reader = reader or f"pid-{os.getpid()}"
        self._keep = keep
        self._ring: Ring | None = None

    def exists(self) -> bool:
        """Whether the stream has been created."""
        return os.path.exists(f"{self.folder}/{self.name}.ring")

    def wait(self, timeout: float | None = None) -> Source:
        """Wait until the stream exists.

        Raises:
            StreamMissing: it does not after `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self.exists():
            if until is not None and time.monotonic() > until:
                raise StreamMissing(
                    f"stream '{self.name}': there is none of that name in {self.folder}"
                )
            time.sleep(_LOOK_EACH)
        return self

    def latest(self, timeout: float | None = 0) -> Reader:
        """A reader that is given the newest frame each time and skips what it missed.

        Args:
            timeout: how long to wait for the stream to exist, s; None for ever.

        Raises:
            StreamMissing: the stream does not exist.
        """
        self.wait(timeout)
        return self._open("latest", "now", 0)

    def every(self, start: Start = "now", timeout: float | None = 0) -> Reader:
        """A reader that is given each frame once, in order; `frame.lost` tells what it missed.

        Args:
            start: where to begin (see `Start`); an account that is resumed goes on where it was.
            timeout: how long to wait for the stream to exist, s; None for ever.

        Raises:
            StreamMissing: the stream does not exist.
        """
        self.wait(timeout)
        return self._open("every", start, 0)

    def block(self, n: int, start: Start = "now", timeout: float | None = 0) -> Reader:
        """A reader that is given n consecutive frames at a time, as one (n, ...) view.

        Raises:
            StreamMissing: the stream does not exist.
            StreamError: its ring holds fewer than n items.
        """
        self.wait(timeout)
        return self._open("every", start, n)

    def _open(self, policy: Literal["every", "latest"], start: Start, block: int) -> Reader:
        word: str
        if isinstance(start, str):
            word, value = start, 0
        elif 0 <= start <= _FAR:
            word, value = "back", int(start * 1e9)
        else:
            raise StreamError(f"start: found {start}, expected 'now', 'oldest' or 0 to {_FAR} s")
        return Reader(self.folder, self.name, self._reader, policy, word, value, self._keep, block)

    @property
    def ring(self) -> Ring:
        """The segment itself, for looking at it without an account.

        Raises:
            StreamMissing: the stream does not exist.
        """
        if self._ring is None or self._ring.superseded:
            self._ring = Ring(self.folder, self.name)
        return self._ring

    @property
    def spec(self) -> Spec:
        """What the stream carries."""
        return Spec.from_json(self.ring.spec_json)

    @property
    def head(self) -> int:
        """The number of the next item."""
        return self.ring.head

    @property
    def oldest(self) -> int:
        """The oldest item that the ring still holds."""
        return self.ring.oldest

    def at(self, seq: int) -> Frame | None:
        """The item of that number, where the ring still holds it."""
        return self.ring.look(seq)

    def find(self, source_seq: int) -> Frame | None:
        """The last result that was made of item `source_seq` of its source, or of one before it."""
        return self.ring.find_source(source_seq)

    def stamps(self, n: int) -> np.ndarray[Any, Any]:
        """Stamps of the last n items that the ring holds, oldest first."""
        return self.ring.stamps(n)
