"""Every built-in node keeps the contract that plug-ins must keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey.node import Node
from marey.node.registry import kinds, load
from marey.recording import RecordedItem, RecordingWriter
from marey.stream import STAMP, Spec
from marey.testing import (
    BlockCameraSuite,
    CameraSuite,
    DeviceSuite,
    NodeSuite,
    ProcessorSuite,
    SinkSuite,
)
from support import barcode
from support.film import write_film


def film(folder: Path) -> dict[str, Any]:
    """Settings of a `video`."""
    pictures = [barcode.draw(n) for n in range(20)]
    return {"url": str(write_film(folder / "film.mkv", pictures, rate=100))}


def stack(folder: Path) -> dict[str, Any]:
    """Settings of an `images`."""
    import tifffile

    pictures = np.random.default_rng(0).integers(0, 256, (20, 48, 64), np.uint8)
    tifffile.imwrite(folder / "stack.tif", pictures, photometric="minisblack")
    return {"path": str(folder / "stack.tif"), "rate": 1000}


def record(folder: Path) -> dict[str, Any]:
    """Settings of a `replay`."""
    spec = Spec((48, 64), np.dtype("u1"), 1000.0, "Mono8")
    random = np.random.default_rng(0)
    with RecordingWriter.create(folder, "run") as writer:
        writer.add_stream("cam", spec)
        for number in range(20):
            stamp = np.zeros(1, STAMP)
            stamp["seq"] = stamp["device_frame"] = number
            stamp["host_time"] = stamp["mono_time"] = (number + 1) * 1_000_000
            picture = random.integers(0, 256, spec.shape, np.uint8)
            writer.append("cam", RecordedItem(picture, stamp, 1, range(0)))
    return {"path": str(writer.path)}


NODES: dict[str, tuple[type[NodeSuite], Callable[[Path], dict[str, Any]]]] = {
    "bead-tracker": (ProcessorSuite, lambda folder: {"source": "cam"}),
    "beads": (CameraSuite, lambda folder: {"rate": 200}),
    "counter": (BlockCameraSuite, lambda folder: {"rate": 200}),
    "images": (BlockCameraSuite, stack),
    "noise": (CameraSuite, lambda folder: {"rate": 200}),
    "recorder": (SinkSuite, lambda folder: {"folder": str(folder), "autostart": True}),
    "replay": (CameraSuite, record),
    "spots": (ProcessorSuite, lambda folder: {"source": "cam"}),
    "stage": (DeviceSuite, lambda folder: {"interval": 0.01}),
    "video": (CameraSuite, film),
    "web": (SinkSuite, lambda folder: {}),
}
"""The suite of each kind, and with which settings it can be opened on any machine."""

BROKEN: dict[str, dict[str, Any]] = {
    "images": {"path": "missing"},
    "replay": {"path": "missing"},
    "video": {"url": "missing.mp4"},
}
"""With which settings a kind cannot be opened."""


def suite_of(kind: str) -> type[NodeSuite]:
    """The suite of a kind, as the author of a plug-in would write it."""
    base, settings = NODES[kind]

    class Suite(base):  # type: ignore[misc, valid-type]
        @pytest.fixture(autouse=True)
        def _folder(self, tmp_path: Path) -> None:
            self.folder = tmp_path

        def node(self) -> Node:
            return load(kind)(**settings(self.folder))

        def broken(self) -> Node | None:
            return load(kind)(**BROKEN[kind]) if kind in BROKEN else None

    Suite.kind = kind
    return Suite


for _kind in NODES:
    globals()[f"Test{_kind.title().replace('-', '')}"] = suite_of(_kind)


def test_no_kind_is_left_out() -> None:
    assert sorted(kinds()) == sorted(NODES)
