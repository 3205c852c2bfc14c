"""Streams of frames in shared memory: one writer, any number of readers."""

from marey._native import Block, Frame, Reader
from marey.stream.source import Source, Start
from marey.stream.spec import MAX_DIMS, STAMP, UNKNOWN, UNKNOWN_TIME, Spec
from marey.stream.stream import Stream, slots_for

__all__ = [
    "MAX_DIMS",
    "STAMP",
    "UNKNOWN",
    "UNKNOWN_TIME",
    "Block",
    "Frame",
    "Reader",
    "Source",
    "Spec",
    "Start",
    "Stream",
    "slots_for",
]
