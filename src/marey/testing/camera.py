"""What every camera must do."""

from __future__ import annotations

import time
from itertools import pairwise
from math import prod
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
import pytest

from marey.node import BlockCamera, Camera, EndOfStream, Stamp
from marey.stream import STAMP, UNKNOWN, Spec
from marey.testing.film import Witness
from marey.testing.node import NodeSuite
from marey.testing.rig import Rig

_GUARD = 4096
"""Bytes before and behind what is lent, which nobody may touch."""

Array = np.ndarray[Any, Any]


class Lent:
    """Memory as the framework lends it: full of noise, between guards."""

    def __init__(self, spec: Spec, count: int | None = None) -> None:
        self.spec = spec
        shape = spec.shape if count is None else (count, *spec.shape)
        size = prod(shape) * spec.dtype.itemsize
        # A structured type has no noise of its own: noise is bytes.
        self._raw = np.random.default_rng().integers(0, 256, size + 2 * _GUARD, np.uint8)
        self._before = self._raw.copy()
        self.out: Array = self._raw[_GUARD : _GUARD + size].view(spec.dtype).reshape(shape)

    def close(self) -> None:
        """Remember what was written until now."""
        self._sum = crc32(self._raw.data)

    def changed(self) -> bool:
        """Whether somebody wrote after that."""
        return crc32(self._raw.data) != self._sum

    def overrun(self) -> bool:
        """Whether somebody wrote before or behind it."""
        same = self._raw == self._before
        return not (same[:_GUARD].all() and same[-_GUARD:].all())

    def unwritten(self, shape: tuple[int, ...], number: int = 0) -> str:
        """Which row or column of an item still holds the noise; empty where none does."""
        itemsize = self.spec.dtype.itemsize
        start = _GUARD + number * self.spec.nbytes
        part = slice(start, start + prod(shape) * itemsize)
        same = (self._raw[part] == self._before[part]).reshape(shape[0], -1)
        # By chance, a line of 8 bytes is the same as before once in 10^19 times.
        for axis, name in ((1, "row"), (0, "byte of each row")):
            lines = same.all(axis=axis)
            if same.shape[axis] >= 8 and lines.any():
                return f"{name} {int(np.argmax(lines))}"
        return "all" if same.all() else ""


class CameraSuite(NodeSuite):
    """The contract of `marey.Camera`.

    Attributes:
        frames: how many frames the tests ask for.
        slowest: seconds in which `grab` must return; it should within 0.1.
    """

    frames: ClassVar[int] = 10
    slowest: ClassVar[float] = 1.0

    def camera(self) -> Camera:
        """The node, which must be a camera."""
        node = self.node()
        assert isinstance(node, Camera)
        return node

    def grabbed(self, camera: Camera) -> list[tuple[Stamp, Lent]]:
        """Some frames, each in memory of its own."""
        spec = camera.describe()
        found: list[tuple[Stamp, Lent]] = []
        until = time.monotonic() + self.patience
        while len(found) < self.frames:
            lent = Lent(spec)
            begun = time.monotonic()
            try:
                stamp = camera.grab(lent.out)
            except EndOfStream:
                break
            took = time.monotonic() - begun
            assert took < self.slowest, f"grab took {took:.2f} s; it should return within 0.1 s"
            assert stamp is None or isinstance(stamp, Stamp)
            if stamp is not None:
                lent.close()
                found.append((stamp, lent))
            elif time.monotonic() > until:
                pytest.fail(f"no frame within {self.patience:g} s")
        assert found, "the source ended before its first frame"
        return found

    def test_it_describes_its_frames(self, rig: Rig) -> None:
        """Frames are (height, width) or (height, width, channels) of plain numbers."""
        camera = self.camera()
        with rig.opened(camera):
            spec = camera.describe()
        assert isinstance(spec, Spec)
        assert len(spec.shape) in (2, 3)
        assert not spec.is_rows
        assert spec.rate >= 0
        assert Spec.from_json(spec.to_json()) == spec
        assert 1 <= int(spec.meta.get("counter_bits", 64)) <= 64

    def test_it_fills_what_it_is_lent(self, rig: Rig) -> None:
        """Every row and column is written, and nothing before and behind."""
        camera = self.camera()
        with rig.opened(camera):
            spec = camera.describe()
            for number, (stamp, lent) in enumerate(self.grabbed(camera)):
                assert lent.unwritten(stamp.shape or spec.shape) == "", f"in frame {number}"
                assert not lent.overrun(), f"frame {number} is larger than what was lent"

    def test_it_forgets_what_it_was_lent(self, rig: Rig) -> None:
        """A frame does not change any more when `grab` has returned."""
        camera = self.camera()
        with rig.opened(camera):
            lent = [lent for _, lent in self.grabbed(camera)]
        assert [number for number, memory in enumerate(lent) if memory.changed()] == []

    def test_its_frames_fit(self, rig: Rig) -> None:
        """A frame of another shape than described is smaller, of as many dimensions."""
        camera = self.camera()
        with rig.opened(camera):
            shape = camera.describe().shape
            for stamp, _ in self.grabbed(camera):
                if stamp.shape is not None:
                    assert len(stamp.shape) == len(shape)
                    assert all(1 <= n <= most for n, most in zip(stamp.shape, shape, strict=True))

    def test_its_counter_goes_up(self, rig: Rig) -> None:
        """`device_frame` rises, and wraps at the `counter_bits` of the description."""
        camera = self.camera()
        with rig.opened(camera):
            wrap = 1 << int(camera.describe().meta.get("counter_bits", 64))
            counts = [stamp.device_frame for stamp, _ in self.grabbed(camera)]
        _check_counts(counts, wrap)

    def test_its_times_are_times(self, rig: Rig) -> None:
        """Times are whole ns; those of this machine lie in the past."""
        camera = self.camera()
        with rig.opened(camera):
            stamps = [stamp for stamp, _ in self.grabbed(camera)]
        for stamp in stamps:
            assert stamp.device_time is None or isinstance(stamp.device_time, int)
            if stamp.host_time is not None:
                assert 0 < stamp.host_time <= time.time_ns()
            if stamp.mono_time is not None:
                assert 0 < stamp.mono_time <= time.monotonic_ns()

    def test_it_runs_in_a_session(self, rig: Rig) -> None:
        """Frames reach a sink of another process."""
        streams = rig.run({"node": self.frames}, self.patience, node=self.camera(), sink=Witness())
        account = streams["node"]
        assert account["published"] >= 1
        reader = account["readers"]["sink"]
        assert reader["received"] + reader["lost"] == account["published"]
        assert reader["received"] >= 1


class BlockCameraSuite(CameraSuite):
    """The contract of `marey.BlockCamera`."""

    def test_it_fills_blocks(self, rig: Rig) -> None:
        """`grab_block` fills as many frames as it says, and their counters."""
        camera = self.camera()
        assert isinstance(camera, BlockCamera)
        counts: list[int | None] = []
        with rig.opened(camera):
            spec = camera.describe()
            until = time.monotonic() + self.patience
            while len(counts) < self.frames:
                assert time.monotonic() < until, f"no frame within {self.patience:g} s"
                lent, stamps = Lent(spec, 4), np.zeros(4, STAMP)
                stamps["device_frame"] = UNKNOWN
                try:
                    filled = camera.grab_block(lent.out, stamps)
                except EndOfStream:
                    break
                assert 0 <= filled <= 4
                assert not lent.overrun()
                for number in range(filled):
                    assert lent.unwritten(spec.shape, number) == "", f"in frame {number}"
                told = stamps["device_frame"][:filled].tolist()
                counts += [None if count == UNKNOWN else count for count in told]
        _check_counts(counts, 1 << int(spec.meta.get("counter_bits", 64)))


def _check_counts(counts: list[int | None], wrap: int) -> None:
    """All unknown, or rising by less than half the range of the counter."""
    if all(count is None for count in counts):
        return
    assert all(isinstance(count, int) and 0 <= count < wrap for count in counts), counts
    known = [count for count in counts if count is not None]
    for before, after in pairwise(known):
        assert 0 < (after - before) % wrap < max(2, wrap // 2), f"{before}, then {after}"
