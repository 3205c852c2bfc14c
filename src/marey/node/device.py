"""The contract of a device that is not a camera."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from marey.node.base import Publisher
from marey.node.settings import Setting
from marey.stream.spec import Spec


class Device(Publisher):
    """A stage, focus, light or sensor: settings, actions, and telemetry rows as its stream."""

    row: ClassVar[np.dtype[Any]]
    """Type of one telemetry row."""

    interval: float = Setting(0.1, gt=0, le=3600, unit="s", description="time between two polls")

    def describe(self) -> Spec:
        """The stream of telemetry."""
        return Spec((1,), self.row, rate=1 / self.interval)

    def poll(self) -> np.ndarray[Any, Any] | None:
        """One row of telemetry, or None where there is none."""
        return None
