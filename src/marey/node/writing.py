"""What the worker's loop does for nodes whose items come from outside: cameras and devices."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np

from marey.node.camera import BlockCamera, Camera, EndOfStream
from marey.node.device import Device
from marey.node.steps import Ended, Step
from marey.stream import STAMP, UNKNOWN, UNKNOWN_TIME, Source
from marey.stream.stream import as_item

_LEND = 0.1  # s that a lossless camera waits for room before it looks at its commands


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

    def _before(self) -> tuple[int, int] | None:
        stamps = Source(self.folder, self.node.name).stamps(1)
        return (int(stamps["seq"][0]), int(stamps["published"][0])) if len(stamps) else None

    def run(self, rung_before: int) -> None:
        if not self._deliver():
            return
        node = self.node
        try:
            if isinstance(node, BlockCamera) and node.block > 1:
                self._run_block(node)
            else:
                self._run_one(node)
        except EndOfStream as end:
            raise Ended from end
        self._deliver()

    def _run_one(self, node: Camera) -> None:
        out = self._stream.lend(timeout=_LEND)
        if out is None:
            return self._name_laggard(self._stream)
        stamp = node.grab(out)
        if stamp is None:
            return self._stream.heartbeat()
        if stamp.device_frame is not None:
            self._account(stamp.device_frame)
        host, mono = stamp.host_time or 0, stamp.mono_time or 0
        if self._emitted:  # what is emitted bears the very times of the frame
            host, mono = host or time.time_ns(), mono or time.monotonic_ns()
        if stamp.shape is None:
            seq = self._stream.publish_one(
                device_frame=stamp.device_frame,
                device_time=stamp.device_time,
                host_time=host,
                mono_time=mono,
            )
        else:
            stamps = _blank(1)
            if stamp.device_frame is not None:
                stamps["device_frame"] = stamp.device_frame
            if stamp.device_time is not None:
                stamps["device_time"] = stamp.device_time
            stamps["host_time"], stamps["mono_time"] = host, mono
            seq = self._stream.publish(1, stamps, shape=stamp.shape)
        self._post_emitted(source_seq=seq, host_time=host, mono_time=mono)
        self._tell_outage(seq)
        return None

    def _run_block(self, node: BlockCamera) -> None:
        out = self._stream.lend(min(node.block, max(1, self._stream.slots // 4)), timeout=_LEND)
        if out is None:
            return self._name_laggard(self._stream)
        stamps = _blank(len(out))
        n = node.grab_block(out, stamps)
        if n == 0:
            return self._stream.heartbeat()
        stamps = stamps[:n]
        self._account_block(stamps["device_frame"])
        if self._emitted:
            now, unix = time.monotonic_ns(), time.time_ns()
            stamps["mono_time"][stamps["mono_time"] == 0] = now
            stamps["host_time"][stamps["host_time"] == 0] = unix
        seq = self._stream.publish(n, stamps)
        if self._emitted:
            self._post_block(seq, stamps)
        self._tell_outage(seq)
        return None

    def _post_block(self, seq: int, stamps: np.ndarray[Any, Any]) -> None:
        """One item for each frame belongs to that frame; otherwise all belong to the last one."""
        counts = Counter(name for name, _ in self._emitted)
        index: Counter[str] = Counter()
        for name, rows in self._emitted:
            i = index[name] if counts[name] == len(stamps) else len(stamps) - 1
            index[name] += 1
            self._post(
                name,
                rows,
                source_seq=seq + i,
                host_time=int(stamps["host_time"][i]),
                mono_time=int(stamps["mono_time"][i]),
            )
        self._emitted.clear()

    def _account_block(self, frames: np.ndarray[Any, Any]) -> None:
        first, last = int(frames[0]), int(frames[-1])
        if first == UNKNOWN:
            return
        expected = first if self._last is None else (self._last + 1) % self._wrap
        if first == expected and bool((np.diff(frames) == 1).all()):
            self._last = last
            return
        for frame in frames.tolist():
            self._account(frame)

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
        if self._resumed is None:
            return
        (last, published), self._resumed = self._resumed, None
        self.tell(
            "outage",
            stream=self.node.name,
            seq=seq,
            last=last,
            seconds=(time.monotonic_ns() - published) / 1e9,
        )


def _blank(n: int) -> np.ndarray[Any, Any]:
    stamps = np.zeros(n, STAMP)
    stamps["source_seq"] = UNKNOWN
    stamps["device_frame"] = UNKNOWN
    stamps["device_time"] = UNKNOWN_TIME
    return stamps


class DeviceStep(Step):
    """Poll the device at its interval."""

    node: Device

    def open(self) -> None:
        if hasattr(type(self.node), "row"):  # without rows it has settings and actions only
            self._create(self.node.describe(), lossless=False)
        self._due = time.monotonic()

    def run(self, rung_before: int) -> None:
        left = self._due - time.monotonic()
        if left > 0:
            return self.wait(rung_before, left)
        self._due = max(self._due + self.node.interval, time.monotonic())
        rows = self.node.poll()
        if rows is not None:
            stream = self.streams[self.node.name]
            host, mono = time.time_ns(), time.monotonic_ns()
            seq = stream.write(as_item(rows, stream.spec), host_time=host, mono_time=mono)
            self._post_emitted(source_seq=seq, host_time=host, mono_time=mono)
            self._deliver()
        return None
