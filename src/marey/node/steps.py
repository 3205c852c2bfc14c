"""What the worker's loop does for each kind of node: one item at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from marey._native import Block, Doorbell, Frame, Reader, wait_any
from marey.errors import StreamClosed, StreamError
from marey.node.base import Node, Publisher
from marey.node.camera import BlockCamera, Camera, EndOfStream, Stamp
from marey.node.device import Device
from marey.node.processor import Processor
from marey.node.sink import Sink
from marey.stream import STAMP, UNKNOWN, UNKNOWN_TIME, Source, Spec, Stream, slots_for
from marey.stream.stream import as_item

_WAIT = 0.5  # s; commands ring a bell, so this only bounds what a lost wake-up costs


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
        self.streams: dict[str, Stream] = {}
        self._emitted: list[tuple[str, np.ndarray[Any, Any]]] = []
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

    def close(self) -> None:
        """End the node's streams and leave those that it reads."""
        for stream in self.streams.values():
            stream.close()

    @property
    def seq(self) -> int | None:
        """The number of the next item of the node's own stream."""
        own = self.streams.get(self.node.name)
        return None if own is None else own.head

    def _create(self, spec: Spec, lossless: bool) -> None:
        node = self.node
        assert isinstance(node, Publisher)
        self._make(node.name, spec, node.buffer, lossless)
        for name, side in node.also().items():
            self._make(f"{node.name}.{name}", side, "auto", lossless)

    def _make(self, name: str, spec: Spec, buffer: str, lossless: bool) -> None:
        try:
            slots = slots_for(buffer, spec)
        except StreamError as error:
            raise StreamError(f"{self.node.name}.{error}") from error
        old = self.streams.get(name)
        if old is not None:
            if old.spec == spec:
                return
            old.close()
        self.streams[name] = Stream(self.folder, name, spec, slots=slots, lossless=lossless)

    def _emit(self, stream: str, rows: np.ndarray[Any, Any]) -> None:
        name = f"{self.node.name}.{stream}"
        if name not in self.streams:
            raise KeyError(f"{self.node.name}: emit: `also` names no stream '{stream}'")
        self._emitted.append((name, np.array(rows)))

    def _flush(self, seq: int, host_time: int, mono_time: int) -> None:
        for name, rows in self._emitted:
            self.streams[name].write(rows, source_seq=seq, host_time=host_time, mono_time=mono_time)
        self._emitted.clear()

    def wait(
        self, rung_before: int, seconds: float = _WAIT, readers: Sequence[Reader] = ()
    ) -> None:
        """Sleep until the bell rings, one of the readers has something, or the time is over."""
        wait_any(list(readers), self.bell, rung_before, seconds)


class CameraStep(Step):
    """Lend memory, let the camera fill it, publish it, and account for what the device lost."""

    node: Camera

    def open(self) -> None:
        spec = self.node.describe()
        self._create(spec, self.node.lossless)
        self._stream = self.streams[self.node.name]
        self._wrap = 1 << int(spec.meta.get("counter_bits", 64))
        self._last: int | None = None
        self._resumed = self._before() if self._stream.head else None
        self._warned = 0.0

    def _before(self) -> tuple[int, int] | None:
        stamps = Source(self.folder, self.node.name).stamps(1)
        return (int(stamps["seq"][0]), int(stamps["published"][0])) if len(stamps) else None

    def run(self, rung_before: int) -> None:
        node = self.node
        if isinstance(node, BlockCamera) and node.block > 1:
            return self._run_block(node)
        out = self._stream.lend(timeout=0.1)
        if out is None:
            return self._name_laggard()
        try:
            stamp = node.grab(out)
        except EndOfStream as end:
            raise Ended from end
        if stamp is None:
            self._stream.heartbeat()
            return None
        self._publish(stamp)
        return None

    def _publish(self, stamp: Stamp) -> None:
        if stamp.device_frame is not None:
            self._account(stamp.device_frame)
        host, mono = stamp.host_time or 0, stamp.mono_time or 0
        if stamp.shape is None:
            seq = self._stream.publish_one(
                device_frame=stamp.device_frame,
                device_time=stamp.device_time,
                host_time=host,
                mono_time=mono,
            )
        else:
            stamps = np.zeros(1, STAMP)
            stamps["source_seq"] = UNKNOWN
            stamps["device_frame"] = UNKNOWN if stamp.device_frame is None else stamp.device_frame
            stamps["device_time"] = UNKNOWN_TIME if stamp.device_time is None else stamp.device_time
            stamps["host_time"], stamps["mono_time"] = host, mono
            seq = self._stream.publish(1, stamps, shape=stamp.shape)
        if self._emitted:
            self._flush(seq, host, mono)
        if self._resumed is not None:
            self._tell_outage(seq)

    def _run_block(self, node: BlockCamera) -> None:
        out = self._stream.lend(min(node.block, self._stream.slots // 4), timeout=0.1)
        if out is None:
            return self._name_laggard()
        stamps = np.zeros(len(out), STAMP)
        stamps["source_seq"] = UNKNOWN
        stamps["device_frame"] = UNKNOWN
        stamps["device_time"] = UNKNOWN_TIME
        try:
            n = node.grab_block(out, stamps)
        except EndOfStream as end:
            raise Ended from end
        if n == 0:
            return self._stream.heartbeat()
        if stamps["device_frame"][0] != UNKNOWN:
            for device_frame in stamps["device_frame"][:n].tolist():
                self._account(device_frame)
        seq = self._stream.publish(n, stamps[:n])
        if self._resumed is not None:
            self._tell_outage(seq)
        return None

    def _account(self, device_frame: int) -> None:
        last, self._last = self._last, device_frame
        if last is None or device_frame == (last + 1) % self._wrap:
            return
        gap = (device_frame - last - 1) % self._wrap
        if device_frame == last:
            self._stream.account(0, 1)
        elif gap < self._wrap // 2:
            self._stream.account(gap)
            self.tell(
                "lost",
                stream=self.node.name,
                reader="",
                first=self._stream.head,
                count=gap,
                cause="lost in the device",
            )
        else:
            self.node.log.warning("device counter fell from %d to %d", last, device_frame)

    def _tell_outage(self, seq: int) -> None:
        assert self._resumed is not None
        (last, published), self._resumed = self._resumed, None
        self.tell(
            "outage",
            stream=self.node.name,
            seq=seq,
            last=last,
            seconds=(time.monotonic_ns() - published) / 1e9,
        )

    def _name_laggard(self) -> None:
        now = time.monotonic()
        if now - self._warned > 5:
            self._warned = now
            self.node.log.info("waiting for the reader '%s'", self._stream.laggard)
        self._stream.heartbeat()


class DeviceStep(Step):
    """Poll the device at its interval."""

    node: Device

    def open(self) -> None:
        self._create(self.node.describe(), lossless=False)
        self._due = time.monotonic()

    def run(self, rung_before: int) -> None:
        left = self._due - time.monotonic()
        if left > 0:
            return self.wait(rung_before, min(left, _WAIT))
        self._due = max(self._due + self.node.interval, time.monotonic())
        rows = self.node.poll()
        if rows is not None:
            stream = self.streams[self.node.name]
            seq = stream.write(as_item(rows, stream.spec))
            self._flush(seq, 0, 0)
        return None


class ReadingStep(Step):
    """What processors and sinks share: readers that report what they lost."""

    def _report(self, stream: str, frame: Frame | Block, was_away: bool) -> None:
        lost = frame.lost
        if len(lost):
            cause = "the node was away" if was_away else "overwritten before it was read"
            self.tell(
                "lost",
                stream=stream,
                reader=self.node.name,
                first=lost.start,
                count=len(lost),
                cause=cause,
            )

    def _torn(self, stream: str, frame: Frame | Block) -> None:
        count = len(frame) if isinstance(frame, Block) else 1
        self.tell(
            "lost",
            stream=stream,
            reader=self.node.name,
            first=frame.seq,
            count=count,
            cause="overwritten while in use",
        )


class ProcessorStep(ReadingStep):
    """Take a frame or block, process it, publish the result if the pixels were still intact."""

    node: Processor

    def can_open(self) -> bool:
        return Source(self.folder, self.node.source).exists()

    def open(self) -> None:
        node = self.node
        source = Source(self.folder, node.source, reader=node.name, keep=True)
        facts = source.ring.facts()
        self._source = source
        self._epoch = facts["epoch"]
        self._create(node.describe(source.spec), bool(facts["lossless"]))
        self._own = self.streams[node.name]

    def attach(self, streams: list[str]) -> None:
        node = self.node
        if node.reads == "latest":
            self._reader = self._source.latest()
        elif node.block > 1:
            self._reader = self._source.block(node.block, start="oldest")
        else:
            self._reader = self._source.every(start="oldest")
        self._resumed = self._reader.cursor > 0
        self._done_before = self._already_done()

    def _already_done(self) -> int:
        """Items before this one have results already, published before the node died."""
        stamps = Source(self.folder, self.node.name).stamps(1)
        if not len(stamps) or stamps["source_seq"][0] == UNKNOWN:
            return 0
        return int(stamps["source_seq"][0]) + 1

    def run(self, rung_before: int) -> None:
        try:
            frame = self._reader.read(0)
        except StreamClosed as end:
            raise Ended from end
        if frame is None:
            return self.wait(rung_before, readers=[self._reader])
        if len(frame.lost):
            self._report(self.node.source, frame, self._resumed)
        self._resumed = False
        if frame.epoch != self._epoch:
            self.open()  # the source began anew, perhaps with another shape
        if frame.seq >= self._done_before:
            self._process(frame)
        self._reader.release()
        return None

    def _process(self, frame: Frame | Block) -> None:
        result = self.node.process(frame)
        if not frame.valid():
            self._emitted.clear()
            return self._torn(self.node.source, frame)
        last = frame if isinstance(frame, Frame) else None
        if last is not None:
            seq, host, mono = last.seq, last.host_time, last.mono_time
            device_frame, device_time = last.device_frame, last.device_time
        else:
            stamp = frame.stamps[-1]
            seq, host, mono = int(stamp["seq"]), int(stamp["host_time"]), int(stamp["mono_time"])
            device_frame = device_time = None
        if result is not None:
            self._own.write(
                as_item(result, self._own.spec),
                source_seq=seq,
                device_frame=device_frame,
                device_time=device_time,
                host_time=host,
                mono_time=mono,
            )
        if self._emitted:
            self._flush(seq, host, mono)
        return None

    def close(self) -> None:
        super().close()
        if hasattr(self, "_reader"):
            self._reader.close()


class SinkStep(ReadingStep):
    """Give a sink what its streams bring, each in its turn."""

    node: Sink

    def attach(self, streams: list[str]) -> None:
        node = self.node
        names = [] if node.on_demand else node.sources or streams
        self._readers: dict[str, Reader] = {}
        self._resumed: set[str] = set()
        for name in names:
            source = Source(self.folder, name, reader=node.name, keep=True)
            reader = source.latest() if node.reads == "latest" else source.every(start="oldest")
            self._readers[name] = reader
            if reader.cursor > 0:
                self._resumed.add(name)

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
            if frame is None:
                continue
            idle = False
            if len(frame.lost):
                self._report(name, frame, name in self._resumed)
            self._resumed.discard(name)
            self.node.append(name, frame)
            if not reader.release() and self.node.reads == "every":
                self._torn(name, frame)
        if idle:
            self.wait(rung_before, readers=list(self._readers.values()))

    def close(self) -> None:
        for reader in getattr(self, "_readers", {}).values():
            reader.close()
        super().close()


def step_for(node: Node) -> type[Step]:
    """The step that fits a node.

    Raises:
        TypeError: it is neither camera, device, processor nor sink.
    """
    fitting: list[tuple[type[Node], type[Step]]] = [
        (Camera, CameraStep),
        (Device, DeviceStep),
        (Processor, ProcessorStep),
        (Sink, SinkStep),
    ]
    for base, step in fitting:
        if isinstance(node, base):
            return step
    raise TypeError(f"{type(node).__name__} is neither Camera, Device, Processor nor Sink")
