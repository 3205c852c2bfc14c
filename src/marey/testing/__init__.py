"""Conformance suites: subclass one beside your node, and pytest proves that it keeps its contract.

from marey.testing import CameraSuite

class TestMyCamera(CameraSuite):
    kind = "my-camera"

    def node(self):
        return MyCamera(rate=100)
"""

import pytest

# So that a failure shows what was found, as it does in a test of one's own.
pytest.register_assert_rewrite(
    "marey.testing.camera",
    "marey.testing.device",
    "marey.testing.node",
    "marey.testing.processor",
    "marey.testing.sink",
)

from marey.testing.camera import BlockCameraSuite, CameraSuite  # noqa: E402 - after the line above
from marey.testing.device import DeviceSuite  # noqa: E402
from marey.testing.film import Film, Witness  # noqa: E402
from marey.testing.node import NodeSuite  # noqa: E402
from marey.testing.processor import ProcessorSuite  # noqa: E402
from marey.testing.rig import Rig  # noqa: E402
from marey.testing.sink import SinkSuite  # noqa: E402

__all__ = [
    "BlockCameraSuite",
    "CameraSuite",
    "DeviceSuite",
    "Film",
    "NodeSuite",
    "ProcessorSuite",
    "Rig",
    "SinkSuite",
    "Witness",
]
