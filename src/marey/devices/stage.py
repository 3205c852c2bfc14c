"""A simulated linear stage, such as the one that carries an objective."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from marey.errors import ActionError
from marey.node import Device, Setting, action
from marey.stream import Spec


class Stage(Device):
    """A simulated linear stage that moves at a finite speed, e.g. a focus.

    Its telemetry is where it is and where it is going. With `drives` it moves something else
    along: `drives = "cam.focus"` sets the simulated camera's focus at each poll, as a real stage
    would move the objective.
    """

    row: ClassVar[np.dtype[Any]] = np.dtype([("position", "f8"), ("target", "f8"), ("moving", "?")])

    low: float = Setting(-50.0, unit="um", apply="start", description="lower end of its travel")
    high: float = Setting(50.0, unit="um", apply="start", description="upper end of its travel")
    speed: float = Setting(20.0, gt=0, le=1e6, unit="um/s", description="how fast it moves")
    target: float = Setting(0.0, unit="um", description="where it is going or stands")
    drives: str = Setting(
        "",
        apply="start",
        pattern=r"^([A-Za-z][\w-]*\.[a-z_]\w*)?$",
        description="a setting that follows the position, as node.setting",
    )

    _position: float = 0.0
    _since: float = 0.0
    _driven: float | None = None

    def open(self) -> None:
        """Stand at the target."""
        self._check(self.target)
        self._position, self._since = self.target, time.monotonic()

    def describe(self) -> Spec:
        """Position and target in um."""
        fields = {"position": "um", "target": "um", "moving": "whether it has not arrived"}
        return Spec((1,), self.row, rate=1 / self.interval, fields=fields)

    def changed(self, names: set[str]) -> None:
        """Start for the new target from where it is."""
        self._check(self.target)
        self._advance()

    def poll(self) -> np.ndarray[Any, Any]:
        """Where it is now."""
        self._advance()
        if self.drives and self._position != self._driven:
            node, _, setting = self.drives.partition(".")
            self.lab[node].set(**{setting: self._position})
            self._driven = self._position
        moving = self._position != self.target
        return np.array([(self._position, self.target, moving)], self.row)

    @action
    def move(
        self, to: Annotated[float, Field(description="um")]
    ) -> Generator[tuple[float, str], None, float]:
        """Go to a position; answers with it on arrival.

        Raises:
            ActionError: it lies beyond the stage's travel.
        """
        self._check(to)
        self._advance()
        start, self.target = self._position, to
        while self._position != to:
            if self.target != to:
                raise ActionError(f"{self.name}.move(): was sent to {self.target:g} um meanwhile")
            done = (self._position - start) / (to - start)
            yield done, f"{self._position:.2f} um"
            self._advance()
        return self._position

    def _advance(self) -> None:
        now = time.monotonic()
        reach = self.speed * (now - self._since)
        self._since = now
        self._position += float(np.clip(self.target - self._position, -reach, reach))

    def _check(self, to: float) -> None:
        if not self.low <= to <= self.high:
            raise ActionError(
                f"{self.name}.target: found {to:g} um, expected {self.low:g} to {self.high:g} um"
            )
