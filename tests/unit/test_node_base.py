"""What every node has, also outside of a session."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

import marey
from marey.node import Camera, Device, Node, Processor, Setting, Sink, Stamp, control
from marey.node.reading import ProcessorStep, SinkStep
from marey.node.roles import step_for
from marey.node.writing import CameraStep, DeviceStep
from marey.stream import Spec


class Cam(Camera):
    """A camera."""

    gain: int = Setting(1)
    _handle: Any = None

    def describe(self) -> Spec:
        """One pixel."""
        return Spec((1, 1), np.dtype("u1"))

    def grab(self, out: np.ndarray[Any, Any]) -> Stamp | None:
        """No frame."""
        return None


class Mean(Processor):
    """A processor."""

    row: ClassVar[np.dtype[Any] | None] = np.dtype([("mean", "f8")])

    def process(self, frame: Any) -> np.ndarray[Any, Any] | None:
        """Nothing."""
        return None


class Out(Sink):
    """A sink."""

    def append(self, name: str, frame: marey.Frame) -> None:
        """Nothing."""


def test_what_a_node_keeps_for_itself_begins_with_an_underscore() -> None:
    cam = Cam()
    cam._handle = object()
    cam.gain = 3
    with pytest.raises(AttributeError) as caught:
        cam.handle = 3  # type: ignore[attr-defined]
    assert str(caught.value) == (
        "Cam.handle: is no setting; what a node keeps for itself begins with an underscore: "
        "self._handle"
    )


def test_a_node_has_a_lab_and_emits_only_while_its_session_runs() -> None:
    cam = Cam()
    with pytest.raises(RuntimeError, match=r"^Cam: a node has a lab only while"):
        _ = cam.lab
    with pytest.raises(RuntimeError, match=r"^Cam: a node can emit only while"):
        cam.emit("truth", np.zeros(1))
    assert cam.name == "Cam"
    assert cam.log.name == "marey.node.Cam"


def test_contracts_must_be_fulfilled() -> None:
    class Half(Camera):
        """Without grab."""

        def describe(self) -> Spec:
            """One pixel."""
            return Spec((1, 1), np.dtype("u1"))

    for cls in (Half, Processor, Sink):
        with pytest.raises(TypeError, match="abstract"):
            cls()


def test_each_kind_has_its_role_and_step() -> None:
    nodes = [Cam(), Device(), Mean(source="cam"), Out()]
    assert [control.role(type(n)) for n in nodes] == ["camera", "device", "processor", "sink"]
    steps = [step_for(n) for n in nodes]
    assert steps == [CameraStep, DeviceStep, ProcessorStep, SinkStep]
    assert control.role(Node) == "node"
    with pytest.raises(TypeError, match="neither Camera, Device, Processor nor Sink"):
        step_for(Node())


def test_a_processor_describes_its_rows_at_the_rate_of_its_source() -> None:
    spec = Mean(source="cam").describe(Spec((4, 4), np.dtype("u1"), 250.0))
    assert (spec.shape, spec.dtype, spec.rate) == ((4096,), Mean.row, 250.0)


def test_a_processor_without_rows_must_describe_itself() -> None:
    class Frames(Processor):
        """Without row."""

        def process(self, frame: Any) -> np.ndarray[Any, Any] | None:
            """Nothing."""
            return None

    with pytest.raises(NotImplementedError, match="Frames needs `row` or its own `describe`"):
        Frames(source="cam").describe(Spec((4, 4), np.dtype("u1")))


@pytest.mark.parametrize(
    "text", ["auto", "2 s", "2s", "1.5 s", "20 ms", "64 frames", "512 MiB", "3 GiB", "9 KiB"]
)
def test_buffers_that_are_understood(text: str) -> None:
    assert Cam(buffer=text).buffer == text


@pytest.mark.parametrize("text", ["", "two", "2 h", "-1 s", "64", "1e3 frames", "5 MB"])
def test_buffers_that_are_not(text: str) -> None:
    with pytest.raises(ValueError, match="buffer"):
        Cam(buffer=text)
