"""What a node needs around it while it is tested: streams, a lab, a session."""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from marey.errors import StreamMissing
from marey.lab import SESSION_FILE, Lab
from marey.node import Node
from marey.session import Session
from marey.stream import Block, Frame, Source, Spec, Stream

_BENCH, _SESSION = "bench", "proof"
_LOOK_EACH = 0.05

Array = np.ndarray[Any, Any]


class Rig:
    """A runtime folder of its own, in which a node is opened by hand or in a session.

    Attributes:
        folder: the runtime folder; `MAREY_RUNTIME_DIR` must name it for sessions.
        emitted: what the equipped node gave to `emit`, as (stream, rows).
    """

    def __init__(self) -> None:
        shared_memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = Path(tempfile.mkdtemp(prefix="marey-rig-", dir=shared_memory))
        self.emitted: list[tuple[str, Array]] = []
        self._bench = self.folder / _BENCH
        self._bench.mkdir(mode=0o700)
        facts = {"name": _BENCH, "owner": 0, "nodes": {}}
        (self._bench / SESSION_FILE).write_text(json.dumps(facts))
        self._labs: list[Lab] = []

    def equip(self, node: Node, name: str = "node") -> None:
        """Give a node what its worker would give it: a name, a lab and a way to emit."""
        node._name = name
        node._lab = Lab(_BENCH, self._bench, reader=name)
        node._emit = lambda stream, rows: self.emitted.append((stream, np.array(rows)))
        self._labs.append(node._lab)

    @contextmanager
    def opened(self, node: Node, name: str = "node") -> Iterator[None]:
        """An equipped node, open."""
        self.equip(node, name)
        try:
            node.open()
            yield
        finally:
            node.close()

    @contextmanager
    def stream(
        self, name: str, spec: Spec, items: Sequence[Array], block: int = 1
    ) -> Iterator[Iterator[Any]]:
        """A stream that holds `items`, and its frames (or blocks) as a reader meets them."""
        with Stream(self._bench, name, spec, slots=len(items) + block) as stream:
            for number, item in enumerate(items):
                stream.write(item, device_frame=number)
            source = Source(self._bench, name, reader="node")
            every = source.every(start="oldest") if block == 1 else source.block(block, "oldest")
            with every as reader:
                yield (reader.read(0) for _ in range(len(items) // block))

    def run(self, enough: dict[str, int], patience: float, /, **nodes: Node) -> dict[str, Any]:
        """Run a session until its streams held enough, it ends by itself, or patience does.

        Args:
            enough: items by stream after which it is stopped.
            patience: seconds after which it is stopped in any case.
            nodes: its nodes by name.

        Returns:
            The ledger's streams.
        """
        session = Session(_SESSION, shared=None, **nodes)
        until = time.monotonic() + patience
        with session.running() as lab:
            while time.monotonic() < until and not self._has(lab, enough):
                time.sleep(_LOOK_EACH)
        streams: dict[str, Any] = session.ledger["streams"]
        return streams

    def _has(self, lab: Lab, enough: dict[str, int]) -> bool:
        try:
            return all(lab.stream(name).head >= count for name, count in enough.items())
        except StreamMissing:
            return True  # the session has ended, or never had that stream

    def close(self) -> None:
        """Leave nothing behind."""
        for lab in self._labs:
            lab.close()
        gc.collect()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class LetGo:
    """Within it, nobody may keep the frame or a view of its pixels: their memory is used again.

    Raises:
        AssertionError: at its end somebody holds them who did not at its beginning.
    """

    def __init__(self, frame: Frame | Block) -> None:
        self._frame = frame
        self._memory = frame.data.base

    def __enter__(self) -> None:
        self._before = self._holders()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None and self._more():
            gc.collect()
            if self._more():
                raise AssertionError("the node keeps the frame, or a view of its pixels")
        del self._frame, self._memory

    def _more(self) -> bool:
        return any(n > m for n, m in zip(self._holders(), self._before, strict=True))

    def _holders(self) -> tuple[int, int]:
        return sys.getrefcount(self._frame), sys.getrefcount(self._memory)
