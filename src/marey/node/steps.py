"""What the worker's loop does for each kind of node: one item at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from marey._native import Doorbell, Reader, wait_any
from marey.errors import StreamError
from marey.node.base import Node, Publisher
from marey.stream import Spec, Stream, slots_for

PATIENCE = 0.5  # s; commands ring a bell, so this only bounds what a lost wake-up costs
_ROOM = 0.1  # s that a lossless stream may keep the loop from serving commands
_SILENCE = 5.0  # s between two log lines about one slow reader

Array = np.ndarray[Any, Any]


class Tell(Protocol):
    """How a step reports: kinds and data of `marey.command.Event`."""

    def __call__(self, kind: Any, **data: Any) -> None: ...


class Ended(Exception):  # an ending, not an error
    """The node has nothing more to do: its inputs have ended."""


class Step:
    """One round of a node's loop.

    Args:
        node: the node, open.
        folder: the session's runtime folder.
        bell: rings when a command came.
        tell: reports events.
    """

    def __init__(self, node: Node, folder: Path, bell: Doorbell, tell: Tell) -> None:
        self.node = node
        self.folder = folder
        self.bell = bell
        self.tell = tell
        self.patience = PATIENCE
        """The longest that a round may sleep, s."""
        self.streams: dict[str, Stream] = {}
        self._lossless = False
        self._emitted: list[tuple[str, Array]] = []
        self._outbox: deque[tuple[str, Array, dict[str, Any]]] = deque()
        self._warned = 0.0
        node._emit = self._emit

    def can_open(self) -> bool:
        """Whether what `open` needs is there."""
        return True

    def open(self) -> None:
        """Create the node's streams."""

    def attach(self, streams: list[str]) -> None:
        """Attach to the streams to read; `streams` are all that the session has."""

    def run(self, rung_before: int) -> None:
        """Deal with one item, or wait for one until the bell rings.

        Raises:
            Ended: nothing more will come.
        """
        raise NotImplementedError

    def close(self, ended: bool) -> None:
        """Leave the streams that the node reads, and end its own.

        Args:
            ended: False to leave them to the process that follows this one.
        """
        if self._outbox:
            unsent = ", ".join(sorted({name for name, _, _ in self._outbox}))
            self.node.log.warning("%d items never found room in %s", len(self._outbox), unsent)
        for stream in self.streams.values():
            stream.close(ended=ended)

    @property
    def seq(self) -> int | None:
        """The number of the next item of the node's own stream."""
        own = self.streams.get(self.node.name)
        if own is None:
            return None
        return own.head + sum(name == self.node.name for name, _, _ in self._outbox)

    def wait(
        self, rung_before: int, seconds: float = PATIENCE, readers: Sequence[Reader] = ()
    ) -> None:
        """Sleep until the bell rings, one of the readers has something, or the time is over."""
        wait_any(list(readers), self.bell, rung_before, min(seconds, self.patience))

    # ------------------------------------------------------------ streams

    def _create(self, spec: Spec, lossless: bool) -> None:
        node = self.node
        assert isinstance(node, Publisher)
        self._lossless = lossless
        self._make(node.name, spec, node.buffer)
        for name, side in node.also().items():
            self._make(f"{node.name}.{name}", side, "auto")

    def _make(self, name: str, spec: Spec, buffer: str) -> None:
        try:
            slots = slots_for(buffer, spec)
        except StreamError as error:
            raise StreamError(f"{self.node.name}.{error}") from error
        old = self.streams.get(name)
        if old is not None:
            if old.spec == spec:
                return
            # Handed over, not ended: its readers wait for what comes next.
            del self.streams[name]
            old.close(ended=False)
        self.streams[name] = Stream(self.folder, name, spec, slots=slots, lossless=self._lossless)

    def _emit(self, stream: str, rows: Array) -> None:
        name = f"{self.node.name}.{stream}"
        if name not in self.streams:
            raise KeyError(f"{self.node.name}: emit: `also` names no stream '{stream}'")
        self._emitted.append((name, np.array(rows)))

    def _post(self, stream: str, item: Array, **stamps: Any) -> None:
        self._outbox.append((stream, item, stamps))

    def _post_emitted(self, **stamps: Any) -> None:
        for name, rows in self._emitted:
            self._post(name, rows, **stamps)
        self._emitted.clear()

    def _deliver(self) -> bool:
        """Write what waits for its stream; False while the readers of a lossless one are slow."""
        while self._outbox:
            name, item, stamps = self._outbox[0]
            stream = self.streams[name]
            if self._lossless and stream.lend(timeout=_ROOM) is None:
                self._name_laggard(stream)
                return False
            stream.write(item, **stamps)
            self._outbox.popleft()
        return True

    def _name_laggard(self, stream: Stream) -> None:
        stream.heartbeat()
        now = time.monotonic()
        if now - self._warned > _SILENCE:
            self._warned = now
            self.node.log.info("%s: waits for its reader '%s'", stream.name, stream.laggard)
