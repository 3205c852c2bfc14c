"""A sink for sessions in tests: it writes down what it was given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TextIO
from zlib import crc32

from marey.node import Setting, Sink
from marey.stream import Frame


class Collect(Sink):
    """Writes a line of JSON for each item that it was given."""

    file: str = Setting(..., apply="start", description="where to write them")

    _out: TextIO | None = None

    def open(self) -> None:
        """Begin the file."""
        self._out = Path(self.file).open("w")  # noqa: SIM115 - closed by close

    def append(self, name: str, frame: Frame) -> None:
        """Write what is known of the item."""
        assert self._out is not None
        facts = {
            "stream": name,
            "seq": frame.seq,
            "device_frame": frame.device_frame,
            "device_time": frame.device_time,
            "shape": frame.data.shape,
            "crc": crc32(frame.data.tobytes()),
        }
        self._out.write(json.dumps(facts) + "\n")

    def close(self) -> None:
        """End the file."""
        if self._out is not None:
            self._out.close()


def collected(file: Path) -> list[dict[str, object]]:
    """What a `Collect` wrote."""
    return [json.loads(line) for line in file.read_text().splitlines()]
