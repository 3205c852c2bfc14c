"""How fast simulated frames are made, on one core, beside memcpy and MagScope's simulated camera.

    python bench/synth.py

Goal: 100 beads of 64 px at 1280 x 1024 u8 with shot noise at 1,500 frames/s or more.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from marey.cameras.beads import Beads
from marey.cameras.counter import Counter
from marey.cameras.noise import Noise
from marey.stream import STAMP
from report import Row, median, report

SLOTS = 64
"""Frames are drawn into as many places in turn, as in a ring: they do not stay in the cache."""


def per_second(make: Callable[[int], object], seconds: float = 1.0) -> float:
    """How often `make(k)` runs in a second of this thread's time on a core."""
    for k in range(10):
        make(k)
    count, start = 0, time.thread_time()
    while time.thread_time() - start < seconds:
        make(count)
        count += 1
    return count / (time.thread_time() - start)


def drawing(**settings: Any) -> float:
    """Frames per second of the `beads` camera, its motion, truth and stamps included."""
    camera = Beads(trigger="software", rate=1000, **settings)
    camera.open()
    spec = camera.describe()
    ring = np.zeros((SLOTS, *spec.shape), spec.dtype)

    def frame(k: int) -> None:
        camera.snap()
        camera.grab(ring[k % SLOTS])

    # Positions wander: half a second of frames has made the tiles that the scene needs.
    for k in range(500):
        frame(k)
    return median(lambda: per_second(frame), 3)


def copying(dtype: str) -> float:
    """Frames per second of a copy of the same bytes."""
    ring = np.zeros((SLOTS, 1024, 1280), dtype)
    half = SLOTS // 2
    return median(
        lambda: per_second(lambda k: np.copyto(ring[k % half], ring[half + k % half]), 0.5), 3
    )


def noise(mode: str) -> float:
    """Frames per second of the `noise` camera at the same size."""
    camera = Noise(trigger="software", shape=(1024, 1280), mode=mode)
    camera.open()
    ring = np.zeros((SLOTS, 1024, 1280), np.uint8)

    def frame(k: int) -> None:
        camera.snap()
        camera.grab(ring[k % SLOTS])

    return median(lambda: per_second(frame, 0.5), 3)


def counting() -> float:
    """Frames per second of the `counter` camera, 64 x 64 in blocks of 256."""
    camera = Counter(free_running=True, block=256)
    camera.open()
    out, stamps = np.zeros((256, 64, 64), np.uint8), np.zeros(256, STAMP)
    return 256 * median(lambda: per_second(lambda _: camera.grab_block(out, stamps), 0.5), 3)


class Discard:
    """What MagScope's camera writes its frames to."""

    count = 0

    def write_image_and_timestamp(self, *_: object) -> None:
        """Count it."""
        self.count += 1


def magscope() -> tuple[float | None, str]:
    """Frames per second of MagScope's simulated camera, or why it could not run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from magscope.camera import DummyCameraBeads
        except ImportError as error:
            return None, f"not installed: {error}"
        camera, sink = DummyCameraBeads(), Discard()
        camera.connect(sink)
        camera.set_setting("framerate", "10000")
        camera.fetch()
        made, start = sink.count, time.thread_time()
        while time.thread_time() - start < 3:
            camera.fetch()
        rate = (sink.count - made) / (time.thread_time() - start)
    beads = len(camera._centers_fixed) + len(camera._centers_teth)
    return rate, f"{beads} beads at {camera.width} x {camera.height}"


def main() -> int:
    """Measure everything; 1 where a goal was missed."""
    size = "100 beads of 64 px, 1280 x 1024"
    eight, sixteen = drawing(beads=100), drawing(beads=100, dtype="u16", gain=1)
    few = drawing(beads=8, shape=(256, 512), bead_px=50)
    copy8, copy16 = copying("u1"), copying("u2")
    peer, remark = magscope()
    rows = [
        Row(f"beads: {size}, u8", eight, "frames/s", at_least=1500),
        Row(f"beads: {size}, u16", sixteen, "frames/s"),
        Row("memcpy of such a frame, u8", copy8, "frames/s"),
        Row("memcpy of such a frame, u16", copy16, "frames/s"),
        Row("beads, u8, in memcpys", copy8 / eight, "x"),
        Row("beads, u16, in memcpys", copy16 / sixteen, "x"),
        Row("beads: 8 of 50 px, 512 x 256, u8", few, "frames/s"),
        Row("MagScope's simulated camera", peer, "frames/s", note=remark),
        Row("beads against MagScope's", few / peer if peer else None, "x"),
        Row("noise: 1280 x 1024 u8, cached", noise("cached"), "frames/s"),
        Row("noise: 1280 x 1024 u8, gaussian", noise("gaussian"), "frames/s"),
        Row("noise: 1280 x 1024 u8, uniform", noise("uniform"), "frames/s"),
        Row("counter: 64 x 64 u8 in blocks of 256", counting(), "frames/s"),
    ]
    return 0 if report("synth", rows) else 1


if __name__ == "__main__":
    sys.exit(main())
