"""Every built-in node keeps the contract that plug-ins must keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey.node import BlockCamera, Camera, Device, Node, Processor, Sink
from marey.node.registry import kinds, load
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


SETTINGS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "video": film,
    "images": stack,
    "stage": lambda folder: {"interval": 0.01},
}
"""With which settings each kind can be opened on any machine."""

BROKEN: dict[str, dict[str, Any]] = {
    "video": {"url": "missing.mp4"},
    "images": {"path": "missing"},
}
"""With which settings a kind cannot be opened."""

SUITES: list[tuple[type[Node], type[NodeSuite]]] = [
    (BlockCamera, BlockCameraSuite),
    (Camera, CameraSuite),
    (Device, DeviceSuite),
    (Processor, ProcessorSuite),
    (Sink, SinkSuite),
]


def suite_of(kind: str) -> type[NodeSuite]:
    """The suite of a kind's role, as the author of a plug-in would write it."""
    cls = load(kind)
    base = next(suite for role, suite in SUITES if issubclass(cls, role))

    class Suite(base):  # type: ignore[misc, valid-type]
        @pytest.fixture(autouse=True)
        def _folder(self, tmp_path: Path) -> None:
            self.folder = tmp_path

        def node(self) -> Node:
            return cls(**SETTINGS[kind](self.folder))

        def broken(self) -> Node | None:
            return cls(**BROKEN[kind]) if kind in BROKEN else None

    Suite.kind = kind
    return Suite


for _kind in SETTINGS:
    globals()[f"Test{_kind.title().replace('-', '')}"] = suite_of(_kind)


def test_no_kind_is_left_out() -> None:
    assert sorted(kinds()) == sorted(SETTINGS)
