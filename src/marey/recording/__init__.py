"""Recordings: streams kept on disk as Zarr arrays, readable at any time and after any death."""

from marey.recording.gaps import Gap
from marey.recording.item import RecordedItem
from marey.recording.recording import Recording, open_recording
from marey.recording.stream import RecordedStream
from marey.recording.writer import RecordingWriter

__all__ = [
    "Gap",
    "RecordedItem",
    "RecordedStream",
    "Recording",
    "RecordingWriter",
    "open_recording",
]
