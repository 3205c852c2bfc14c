"""Nodes: the contracts of cameras, devices, processors and sinks."""

from marey.node.base import Node, Publisher
from marey.node.camera import BlockCamera, Camera, EndOfStream, Stamp
from marey.node.device import Device
from marey.node.processor import Processor
from marey.node.settings import Setting, action
from marey.node.sink import Sink

__all__ = [
    "BlockCamera",
    "Camera",
    "Device",
    "EndOfStream",
    "Node",
    "Processor",
    "Publisher",
    "Setting",
    "Sink",
    "Stamp",
    "action",
]
