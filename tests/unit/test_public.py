"""The public surface is small, and a change of it is a decision."""

from __future__ import annotations

import marey


def test_the_public_names_are_these() -> None:
    assert sorted(marey.__all__) == [
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


def test_every_public_name_is_there_and_documented() -> None:
    for name in marey.__all__:
        assert getattr(marey, name).__doc__, name
