"""Live camera acquisition and image processing for experiments that cannot be repeated."""

from marey.lab import Lab, attach
from marey.node import (
    BlockCamera,
    Camera,
    Device,
    EndOfStream,
    Node,
    Processor,
    Setting,
    Sink,
    Stamp,
    action,
)
from marey.recording import open_recording
from marey.session import Session
from marey.stream import Block, Frame, Reader, Source, Spec, Stream

__version__ = "0.1.0"

__all__ = [
    "Block",
    "BlockCamera",
    "Camera",
    "Device",
    "EndOfStream",
    "Frame",
    "Lab",
    "Node",
    "Processor",
    "Reader",
    "Session",
    "Setting",
    "Sink",
    "Source",
    "Spec",
    "Stamp",
    "Stream",
    "action",
    "attach",
    "open_recording",
]
