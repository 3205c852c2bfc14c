"""The contract of a processor."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np

from marey.node.base import Consumer, Publisher
from marey.node.settings import Setting
from marey.stream import Block, Frame
from marey.stream.spec import Spec


class Processor(Consumer, Publisher):
    """A node that makes rows of results, or other frames, of the frames of one stream."""

    row: ClassVar[np.dtype[Any] | None] = None
    """Type of one row of results; leave it out to override `describe` and publish frames."""

    max_rows: ClassVar[int] = 4096
    """The greatest number of rows for one frame."""

    source: str = Setting(..., apply="start", description="name of the stream to read")
    reads: Literal["every", "latest"] = Setting(
        "every",
        apply="start",
        advanced=True,
        description="every frame in order, or only the newest when it comes to it",
    )
    block: int = Setting(
        1,
        ge=1,
        le=4096,
        unit="frames",
        apply="start",
        advanced=True,
        description="frames given to `process` at a time; above 1 it is given a Block",
    )

    def describe(self, source: Spec) -> Spec:
        """What this processor publishes, given what it reads; called after `open`."""
        if self.row is None:
            raise NotImplementedError(f"{type(self).__name__} needs `row` or its own `describe`")
        return Spec((self.max_rows,), self.row, rate=source.rate)

    @abstractmethod
    def process(self, frame: Frame | Block) -> np.ndarray[Any, Any] | None:
        """The result for one frame (or block): rows of type `row`, a frame, or None for nothing.

        The pixels are a view of shared memory: do not write to them, do not keep them.
        """
