"""A processor: one row of results for each frame."""

from typing import Any, ClassVar

import numpy as np

import marey
from marey import Block, Frame, Setting, Spec


class Centre(marey.Processor):
    """Where the light of each frame is: the centre of all pixels above a threshold."""

    row: ClassVar[np.dtype[Any] | None] = np.dtype([("x", "f4"), ("y", "f4"), ("light", "f4")])
    max_rows: ClassVar[int] = 1

    threshold: float = Setting(50.0, ge=0, le=65535, description="pixels below count as dark")

    def describe(self, source: Spec) -> Spec:
        """The row's units, for plots, tables and recordings."""
        fields = {"x": "px", "y": "px", "light": "sum of the pixels"}
        return Spec((self.max_rows,), self.row, rate=source.rate, fields=fields)

    def process(self, frame: Frame | Block) -> np.ndarray[Any, Any] | None:
        """The result of one frame, or None for no result."""
        light = np.where(frame.data > self.threshold, frame.data, 0).astype("f4")
        total = float(light.sum())
        if total == 0:
            return None
        x = light.sum(axis=0) @ np.arange(light.shape[1])
        y = light.sum(axis=1) @ np.arange(light.shape[0])
        return np.array([(x / total, y / total, total)], self.row)
