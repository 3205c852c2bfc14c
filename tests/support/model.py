"""What a stream promises, in plain Python: no shared memory, no processes, no counters to wrap."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Nothing = Literal["nothing"]
Ended = Literal["closed", "replaced", "nothing"]


@dataclass(frozen=True)
class Layout:
    """What a writer asks for. The stride is a whole page, so that slots need no rounding."""

    shape: tuple[int, ...]
    dtype: str
    slots: int


@dataclass
class ModelItem:
    """One item as it was written."""

    pixels: np.ndarray[Any, Any]
    source_seq: int | None
    device_frame: int | None
    epoch: int


@dataclass
class Segment:
    """A ring: item f is intact until item f + slots is begun."""

    layout: Layout
    first: int
    state: Literal["writing", "closed", "replaced"] = "writing"
    head: int = 0
    begin: int = 0
    items: dict[int, ModelItem] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.head = self.begin = self.first

    @property
    def oldest(self) -> int:
        return max(self.first, self.begin - self.layout.slots)

    def intact(self, seq: int) -> bool:
        return self.begin <= seq + self.layout.slots


@dataclass
class Got:
    """What a reader was given: items seq .. seq + count, and what it lost before them."""

    segment: Segment
    seq: int
    count: int
    lost: range

    @property
    def valid(self) -> bool:
        return self.segment.intact(self.seq)


@dataclass
class Account:
    """What outsiders see of a reader."""

    policy: Literal["every", "latest"]
    start: int
    cursor: int
    lost: int = 0
    torn: int = 0
    skipped: int = 0

    @property
    def received(self) -> int:
        return self.cursor - self.start - self.lost - self.torn - self.skipped


class ModelReader:
    """A reader that takes from the stream's segments, one after the other."""

    def __init__(self, stream: ModelStream, account: Account, block: int) -> None:
        self.stream = stream
        self.account = account
        self.block = block
        self.segment = stream.segment
        self.in_hand = 0
        self.pending: range = range(0)

    @property
    def has_come(self) -> bool:
        """Whether the last segment could be replaced without loss to this reader."""
        last = self.stream.segment
        return self.segment is last or self.account.cursor >= last.head

    def release(self) -> bool:
        if not self.in_hand:
            return True
        intact = self.segment.intact(self.account.cursor)
        if not intact:
            self.account.torn += self.in_hand
        self.account.cursor += self.in_hand
        self.in_hand = 0
        return intact

    def purge(self) -> int:
        self.release()
        account, head = self.account, self.segment.head
        passed = range(account.cursor, head)
        if not passed:
            return 0
        if account.policy == "every":
            self.pending = range(self.pending.start if self.pending else passed.start, head)
        account.skipped += len(passed)
        account.cursor = head
        return len(passed)

    def read(self) -> Got | Ended:
        self.release()
        while True:
            got = self._every() if self.account.policy == "every" else self._latest()
            if got != "replaced":
                if isinstance(got, Got):
                    self.in_hand = got.count
                if got == "closed":
                    self.pending = range(0)  # told with the end
                return got
            self.segment = self.stream.segment

    def _ended(self) -> Ended:
        state = self.segment.state
        return "nothing" if state == "writing" else state

    def _every(self) -> Got | Ended:
        account, segment = self.account, self.segment
        oldest = min(segment.oldest, segment.head)
        if account.cursor < oldest:
            to = max(oldest, segment.head - segment.layout.slots // 2)
            since = self.pending.start if self.pending else account.cursor
            self.pending = range(since, to)
            account.lost += to - account.cursor
            account.cursor = to
        there = segment.head - account.cursor
        block = min(self.block, self.stream.most(segment))
        if there < block and (there == 0 or self._ended() == "nothing"):
            return self._ended()
        lost, self.pending = self.pending, range(0)
        return Got(segment, account.cursor, min(there, block), lost)

    def _latest(self) -> Got | Ended:
        account, segment = self.account, self.segment
        if segment.head <= max(account.cursor, segment.first):
            return self._ended()
        if segment.state == "replaced":
            account.skipped += segment.head - account.cursor
            account.cursor = segment.head
            return "replaced"
        newest = segment.head - 1
        account.skipped += newest - account.cursor
        account.cursor = newest
        if not segment.intact(newest):
            return self._ended()
        return Got(segment, newest, 1, range(0))


class ModelStream:
    """A stream: the segments that its writers made, and the accounts of its readers."""

    def __init__(self, layout: Layout, *, lossless: bool = False) -> None:
        self.lossless = lossless
        self.segments = [Segment(layout, first=0)]
        self.accounts: dict[str, Account] = {}
        self.epoch = 1

    @property
    def segment(self) -> Segment:
        return self.segments[-1]

    def most(self, segment: Segment) -> int:
        slots = segment.layout.slots
        return (slots + 1) // 2 if self.lossless else slots

    def room(self, n: int) -> bool:
        segment = self.segment
        return not self.lossless or all(
            max(account.cursor, segment.first) + segment.layout.slots >= segment.head + n
            for account in self.accounts.values()
            if account.policy == "every"
        )

    def lend(self, n: int) -> bool:
        if not self.room(n):
            return False
        self.segment.begin = max(self.segment.begin, self.segment.head + n)
        return True

    def publish(self, item: ModelItem) -> int:
        segment = self.segment
        segment.items[segment.head] = item
        segment.head += 1
        return segment.head - 1

    def close(self) -> None:
        self.segment.state = "closed"

    def restart(self, layout: Layout) -> None:
        """A writer starts again where the last one closed, died or handed over."""
        if layout == self.segment.layout:
            self.segment.state = "writing"
        else:
            self.segment.state = "replaced"
            self.segments.append(Segment(layout, first=self.segment.head))
        self.epoch += 1

    def attach(
        self, name: str, policy: Literal["every", "latest"], start: str, block: int
    ) -> ModelReader:
        account = self.accounts.get(name)
        if account is None:
            segment = self.segment
            at = segment.head if start == "now" else min(segment.oldest, segment.head)
            account = self.accounts[name] = Account(policy, at, at)
        return ModelReader(self, account, block)
