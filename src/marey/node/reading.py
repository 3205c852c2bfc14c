"""What the worker's loop does for nodes that read streams: processors and sinks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from marey._native import Block, Doorbell, Frame, Reader
from marey.errors import StreamClosed
from marey.node.base import Node
from marey.node.processor import Processor
from marey.node.sink import Sink
from marey.node.steps import Ended, Step, Tell
from marey.stream import UNKNOWN, Source, Spec
from marey.stream.ledger import OVERWRITTEN, PURGED, TORN
from marey.stream.stream import as_item

_AWAY = "the node was away"
_FAILED = "the node failed on it"


class ReadingStep(Step):
    """What processors and sinks share: readers that report what they lost."""

    node: Processor | Sink

    def __init__(self, node: Node, folder: Path, bell: Doorbell, tell: Tell) -> None:
        super().__init__(node, folder, bell, tell)
        self._readers: dict[str, Reader] = {}
        self._causes: dict[str, str] = {}
        """Why a stream's next item may not follow its last one, where the reader is not slow."""
        self.node._purge = self._purge

    def _attach(self, source: Source, block: int = 1) -> Reader:
        """Open the node's reader of a stream, where an earlier process left it."""
        if self.node.reads == "latest":
            reader = source.latest()
        elif block > 1:
            reader = source.block(block, start="oldest")
        else:
            reader = source.every(start="oldest")
        if reader.cursor > 0:
            self._causes[source.name] = _AWAY
        self._readers[source.name] = reader
        return reader

    def _lost_before(self, stream: str, item: Frame | Block) -> None:
        """Report what is missing before an item."""
        cause = self._causes.pop(stream, OVERWRITTEN)
        if lost := item.lost:
            self._report(stream, lost, cause)

    def close(self, ended: bool) -> None:
        for reader in self._readers.values():
            reader.close()
        super().close(ended)

    def _torn(self, stream: str, items: range) -> None:
        """Report what was overwritten in use; who only wants the newest has lost nothing by it."""
        if self.node.reads == "every":
            self._report(stream, items, TORN)

    def _purge(self) -> dict[str, int]:
        passed = {name: reader.purge() for name, reader in self._readers.items()}
        self._causes.update({name: PURGED for name, n in passed.items() if n})
        return passed

    def _report(self, stream: str, lost: range, cause: str) -> None:
        name = self.node.name
        self.tell(
            "lost", stream=stream, reader=name, first=lost.start, count=len(lost), cause=cause
        )


class _Times(NamedTuple):
    """Stamps that a result inherits from what it was made of."""

    seq: int
    host: int
    mono: int
    device_frame: int | None
    device_time: int | None

    @classmethod
    def of(cls, item: Frame | Block) -> _Times:
        if isinstance(item, Frame):
            return cls(
                item.seq, item.host_time, item.mono_time, item.device_frame, item.device_time
            )
        last = item.stamps[-1]
        return cls(int(last["seq"]), int(last["host_time"]), int(last["mono_time"]), None, None)


class ProcessorStep(ReadingStep):
    """Take a frame or block, process it, publish the result if the pixels were still intact."""

    node: Processor

    def __init__(self, node: Node, folder: Path, bell: Doorbell, tell: Tell) -> None:
        super().__init__(node, folder, bell, tell)
        self._source = Source(folder, self.node.source, reader=node.name, keep=True)

    def can_open(self) -> bool:
        return self._source.exists()

    def open(self) -> None:
        ring = self._source.ring
        self._lossless_source = bool(ring.facts()["lossless"])
        reader = self._readers.get(self._source.name)
        self._adopt(ring.spec_json if reader is None else reader.spec_json)

    def _adopt(self, source: str) -> None:
        self._known = source
        self._create(self.node.describe(Spec.from_json(source)), self._lossless_source)
        self._own = self.streams[self.node.name]

    def attach(self, streams: list[str]) -> None:
        reader = self._attach(self._source, self.node.block)
        self._epoch = 0
        # What was in hand when the node was killed is given once more, unless its result had been
        # published. Of what belongs to it beside the result, some may have been published already.
        self._done = {name: self._done_before(name) for name in self.streams}
        reader.settle_before(self._done[self.node.name])

    def _done_before(self, stream: str) -> int:
        """Items before this one have results already, published before the node died."""
        stamps = Source(self.folder, stream).stamps(1)
        if not len(stamps) or stamps["source_seq"][0] == UNKNOWN:
            return 0
        return int(stamps["source_seq"][0]) + 1

    def run(self, rung_before: int) -> None:
        reader = self._readers[self._source.name]
        # What was in hand is settled by the next read, not before its results have found room: a
        # process that follows this one is given it again.
        if not self._deliver():
            return
        try:
            item = reader.read(0)
        except StreamClosed as end:
            raise Ended from end
        if item is None:
            self.wait(rung_before, readers=[reader])
            return
        self._lost_before(self._source.name, item)
        if item.epoch != self._epoch:
            self._epoch = item.epoch
            # The source began anew, perhaps in another shape.
            if reader.spec_json != self._known:
                self._adopt(reader.spec_json)
        intact = self._process(item, _Times.of(item))
        if self._deliver():
            reader.release(intact)

    def _process(self, item: Frame | Block, times: _Times) -> bool:
        """Process an item and post the results; whether it was intact until then."""
        source = self.node.source
        items = range(item.seq, times.seq + 1)
        rows = None
        try:
            result = self.node.process(item)
            if result is not None:
                rows = as_item(result, self._own.spec)
        except Exception:
            # Of pixels that change under it a node may make anything, an error too.
            if item.valid():
                self._report(source, items, _FAILED)
                raise
        if not item.valid():
            self._emitted.clear()
            self._torn(source, items)
            return False
        stamps = {"source_seq": times.seq, "host_time": times.host, "mono_time": times.mono}
        self._emitted = [e for e in self._emitted if times.seq >= self._done.get(e[0], 0)]
        self._post_emitted(**stamps)
        if rows is not None:  # last, so that where it is, all is
            device = {"device_frame": times.device_frame, "device_time": times.device_time}
            self._post(self.node.name, rows, **stamps, **device)
        return True


class SinkStep(ReadingStep):
    """Give a sink what its streams bring, each in its turn."""

    node: Sink

    def attach(self, streams: list[str]) -> None:
        node = self.node
        names = [] if node.on_demand else dict.fromkeys(node.sources or streams)
        for name in names:
            reader = self._attach(Source(self.folder, name, reader=node.name, keep=True))
            reader.settle_before(node.taken(name))

    def run(self, rung_before: int) -> None:
        idle = True
        for name in list(self._readers):
            reader = self._readers[name]
            try:
                frame = reader.read(0)
            except StreamClosed:
                reader.close()
                del self._readers[name]
                if not self._readers:
                    raise Ended from None
                continue
            if frame is not None:
                idle = False
                self._append(name, reader, frame)
        if idle:
            self.wait(rung_before, readers=list(self._readers.values()))

    def _append(self, name: str, reader: Reader, frame: Frame) -> None:
        self._lost_before(name, frame)
        try:
            intact = self.node.append(name, frame)
        except Exception:
            if frame.valid():
                self._report(name, range(frame.seq, frame.seq + 1), _FAILED)
                raise
        if not reader.release(intact):
            self._torn(name, range(frame.seq, frame.seq + 1))
