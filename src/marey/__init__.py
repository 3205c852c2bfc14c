"""Live camera acquisition and image processing for experiments that cannot be repeated."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from marey.stream import Block, Frame, Reader, Source, Spec, Stream

if TYPE_CHECKING:
    from marey.recording import open_recording
    from marey.session import Session

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


_LATER = {"Session": "marey.session", "open_recording": "marey.recording"}


def __getattr__(name: str) -> Any:
    """What the process of a node does not need is imported when it is asked for."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LATER[name]), name)
    return found
