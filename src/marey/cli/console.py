"""Where text goes: results to stdout, everything about the run itself to stderr."""

from __future__ import annotations

import logging
import os
import sys
from typing import TextIO

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

_WIDE = 200  # columns, for a file or pipe: nothing is cut there


def console(stream: TextIO | None = None) -> Console:
    """A console on stdout, or on another stream."""
    stream = stream or sys.stdout
    free = stream.isatty() or "COLUMNS" in os.environ
    return Console(file=stream, width=None if free else _WIDE, highlight=False)


def table(*columns: str, title: str = "") -> Table:
    """A table without a frame; the columns marked with a leading '>' are numbers."""
    made = Table(
        title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0)
    )
    for column in columns:
        made.add_column(
            column.lstrip(">"),
            justify="right" if column.startswith(">") else "left",
            overflow="fold",
        )
    return made


def seconds(value: float | None) -> str:
    """A time in the unit in which it reads best."""
    if value is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size or unit == "us":
            return f"{value / size:.3g} {unit}"
    raise AssertionError


def nbytes(value: float) -> str:
    """A size in the unit in which it reads best."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 2**10:.3g} KiB"


def show_log(level: int) -> logging.Handler:
    """Show the log of marey on stderr from now on, in colour where that is a terminal."""
    handler: logging.Handler
    if sys.stderr.isatty():
        handler = RichHandler(
            console=console(sys.stderr), show_path=False, log_time_format="%H:%M:%S"
        )
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%X"))
    log = logging.getLogger("marey")
    log.addHandler(handler)
    log.setLevel(level)
    return handler
