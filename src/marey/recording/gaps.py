"""Gaps: which items of a stream a recording does not hold, and why."""

from __future__ import annotations

import errno
import json
import os
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from marey.errors import RecordingError

TORN = "overwritten while being recorded"
FULL = "disk full"
AWAY = "recorder was not running"
UNTOLD = "not told before the recorder ended"


@dataclass(frozen=True)
class Gap:
    """Consecutive items that were published but are not in the recording.

    Attributes:
        lost: their `seq`.
        cause: why, in words (`marey.recording.gaps` names those of the recorder itself).
        epoch: epoch of the stream's writer when the loss was noticed.
        time: Unix time at which it was noticed, ns.
    """

    lost: range
    cause: str
    epoch: int
    time: int

    def to_line(self) -> bytes:
        """The gap as one line of `gaps.jsonl`."""
        record = {
            "start": self.lost.start,
            "stop": self.lost.stop,
            "cause": self.cause,
            "epoch": self.epoch,
            "time": self.time,
        }
        return json.dumps(record).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Gap:
        """Read what `to_line` wrote.

        Raises:
            ValueError: the line is not a gap.
        """
        try:
            found = json.loads(line)
            lost = range(int(found["start"]), int(found["stop"]))
            gap = cls(lost, str(found["cause"]), int(found["epoch"]), int(found["time"]))
        except (KeyError, TypeError, RecursionError, OverflowError) as error:
            raise ValueError(f"not a gap: {error!r}") from error
        if not 0 <= lost.start < lost.stop <= 2**64:
            raise ValueError(f"not a range of seq: {lost}")
        return gap


def read_gaps(path: Path) -> tuple[list[Gap], int]:
    """The gaps in a file and the number of bytes that hold them.

    A last line without its end is what a kill left of an append; it is not counted.

    Raises:
        RecordingError: the file is missing, or a line is damaged.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read ({error})") from error
    whole = text.rfind(b"\n") + 1
    gaps = []
    for number, line in enumerate(text[:whole].splitlines(), 1):
        try:
            gaps.append(Gap.from_line(line))
        except ValueError as error:
            raise RecordingError(f"{path}, line {number}: damaged ({error})") from error
    return gaps, whole


def joined(gaps: Iterable[Gap]) -> list[Gap]:
    """The gaps with neighbours of one cause made one."""
    result: list[Gap] = []
    for gap in gaps:
        before = result[-1] if result else None
        if (
            before
            and before.lost.stop == gap.lost.start
            and (before.cause, before.epoch) == (gap.cause, gap.epoch)
        ):
            whole = range(before.lost.start, gap.lost.stop)
            result[-1] = replace(before, lost=whole)
        else:
            result.append(gap)
    return result


def untold(missing: Iterable[Gap], told: Iterable[Gap]) -> list[Gap]:
    """What of `missing` is in none of `told`; both sorted by epoch and first seq."""
    result = []
    known = deque(told)
    for gap in missing:
        start = gap.lost.start
        while known and (known[0].epoch, known[0].lost.stop) <= (gap.epoch, start):
            known.popleft()
        while known and known[0].epoch == gap.epoch and known[0].lost.start < gap.lost.stop:
            if start < known[0].lost.start:
                result.append(replace(gap, lost=range(start, known[0].lost.start)))
            start = max(start, known[0].lost.stop)
            if start >= gap.lost.stop:
                break
            known.popleft()
        if start < gap.lost.stop:
            result.append(replace(gap, lost=range(start, gap.lost.stop)))
    return result


class GapFile:
    """Appends gaps to `gaps.jsonl`."""

    def __init__(self, path: Path) -> None:
        """Create the file, or go on behind the last whole line of it.

        Raises:
            OSError: the file cannot be written.
            RecordingError: it holds something else than gaps.
        """
        self.lost = 0
        self.last: Gap | None = None
        self._waiting: list[Gap] = []
        self._end = 0
        if path.exists():
            gaps, self._end = read_gaps(path)
            self.lost = sum(len(gap.lost) for gap in gaps)
            self.last = gaps[-1] if gaps else None
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.ftruncate(self._fd, self._end)

    def add(self, gap: Gap) -> None:
        """Enter a gap; one that cannot be written now (full disk) waits for `flush`."""
        self.lost += len(gap.lost)
        self.last = gap
        self._waiting = joined([*self._waiting, gap])
        with suppress(OSError):
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            OSError: it cannot be written; it goes on waiting.
        """
        while self._waiting:
            line = self._waiting[0].to_line()
            done = os.pwrite(self._fd, line, self._end)
            if done < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._end += done
            del self._waiting[0]

    def close(self) -> None:
        """Release the file; what still waits is lost (`flush` first)."""
        os.close(self._fd)
