"""A sink: a file of text with a line for each row."""

import csv
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import marey
from marey import Frame, Setting, action


class CsvFile(marey.Sink):
    """Writes rows of results into a file that any spreadsheet opens."""

    path: str = Setting("rows.csv", apply="start", description="the file to write")

    _file: TextIOWrapper | None = None
    _writer: Any = None
    _rows: int = 0

    def open(self) -> None:
        """Begin the file; a sink that is started anew goes on with it."""
        self._file = Path(self.path).open("a", newline="")  # noqa: SIM115 - see close
        self._writer = csv.writer(self._file)

    def append(self, name: str, frame: Frame) -> None:
        """Take one item of the stream `name`."""
        if frame.lost:
            self.log.warning("%s: items %s were lost", name, frame.lost)
        for row in frame.copy():  # the ring may come round while a slow disk writes
            self._writer.writerow([name, frame.source_seq, frame.host_time, *row])
            self._rows += 1

    def close(self) -> None:
        """Always called, also after an error."""
        if self._file is not None:
            self._file.close()

    @action
    def rows(self) -> int:
        """How many rows have been written; others call this as `lab.table.rows()`."""
        return self._rows
