"""Which step of the worker's loop fits which node."""

from __future__ import annotations

from marey.node.base import Node
from marey.node.camera import Camera
from marey.node.device import Device
from marey.node.processor import Processor
from marey.node.reading import ProcessorStep, SinkStep
from marey.node.sink import Sink
from marey.node.steps import Step
from marey.node.writing import CameraStep, DeviceStep


def step_for(node: Node) -> type[Step]:
    """The step that fits a node.

    Raises:
        TypeError: it is neither camera, device, processor nor sink.
    """
    fitting: list[tuple[type[Node], type[Step]]] = [
        (Camera, CameraStep),
        (Device, DeviceStep),
        (Processor, ProcessorStep),
        (Sink, SinkStep),
    ]
    for base, step in fitting:
        if isinstance(node, base):
            return step
    raise TypeError(f"{type(node).__name__} is neither Camera, Device, Processor nor Sink")
