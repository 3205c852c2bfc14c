"""What every device must do."""

from __future__ import annotations

import time
from typing import ClassVar

from marey.node import Device
from marey.stream import Spec
from marey.stream.stream import as_item
from marey.testing.film import Witness
from marey.testing.node import NodeSuite
from marey.testing.rig import Rig


class DeviceSuite(NodeSuite):
    """The contract of `marey.Device`.

    Attributes:
        slowest: seconds in which `poll` must return; commands wait meanwhile.
        telemetry: whether `poll` gives rows; False for a device that has none.
    """

    slowest: ClassVar[float] = 1.0
    telemetry: ClassVar[bool] = True

    def device(self) -> Device:
        """The node, which must be a device."""
        node = self.node()
        assert isinstance(node, Device)
        return node

    def test_it_describes_its_telemetry(self, rig: Rig) -> None:
        """Rows of the type `row`."""
        device = self.device()
        with rig.opened(device):
            spec = device.describe()
        assert spec.is_rows
        assert spec.dtype == device.row
        assert Spec.from_json(spec.to_json()) == spec

    def test_it_answers_polls(self, rig: Rig) -> None:
        """`poll` gives None or rows that fit the description, soon."""
        device = self.device()
        given = 0
        with rig.opened(device):
            spec = device.describe()
            for _ in range(3):
                begun = time.monotonic()
                rows = device.poll()
                took = time.monotonic() - begun
                assert took < self.slowest, f"poll took {took:.2f} s"
                if rows is not None:
                    given += 1
                    item = as_item(rows, spec)
                    assert item.ndim == 1
                    assert len(item) <= spec.shape[0]
        assert given or not self.telemetry, "no telemetry: set `telemetry = False` if that is right"

    def test_it_runs_in_a_session(self, rig: Rig) -> None:
        """Its telemetry reaches a sink of another process."""
        streams = rig.run({"node": 3}, self.patience, node=self.device(), sink=Witness())
        if self.telemetry:
            account = streams["node"]
            assert account["published"] >= 3
            assert account["readers"]["sink"]["received"] >= 1
