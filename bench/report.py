"""How every benchmark ends: a table on the screen and the same rows as JSON in `bench/results`."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One figure of a benchmark and what it had to reach.

    Attributes:
        name: what was measured, such as `64x64 u8: written one by one`.
        value: the figure; None where it could not be measured.
        unit: its unit, such as `frames/s`, `us`, or `x` for a ratio.
        at_least: the goal of a figure that should be high.
        at_most: the goal of a figure that should be low.
        note: what a reader of the table should know, such as why a peer could not run.
    """

    name: str
    value: float | None
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def goal(self) -> str | None:
        """The goal as text; None for a figure that stands there for comparison."""
        if self.at_least is not None:
            return f">= {_number(self.at_least)}"
        return None if self.at_most is None else f"<= {_number(self.at_most)}"

    @property
    def ok(self) -> bool | None:
        """Whether the goal was reached; None where there is none or nothing was measured."""
        if self.value is None or self.goal is None:
            return None
        above = self.at_least is None or self.value >= self.at_least
        below = self.at_most is None or self.value <= self.at_most
        return above and below


def report(name: str, rows: Iterable[Row], folder: Path = RESULTS) -> bool:
    """Print the rows as a table, write them to `<folder>/<name>.json`; whether all goals were met.

    The JSON is a list of `{name, value, unit, goal, ok, note}`.
    """
    rows = list(rows)
    load = os.getloadavg()[0]
    table = Table(title=f"{name} (load of the machine: {load:.1f} on {os.cpu_count()} cores)")
    table.add_column("what")
    table.add_column("value", justify="right")
    table.add_column("unit")
    table.add_column("goal", justify="right")
    table.add_column("ok")
    table.add_column("note", style="dim")
    for row in rows:
        mark = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}[row.ok]
        value = "-" if row.value is None else _number(row.value)
        table.add_row(row.name, value, row.unit, row.goal or "", mark, row.note)
    console = Console()
    console.print(table, width=None if console.is_terminal else 150)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(
        json.dumps(
            [
                {
                    "name": row.name,
                    "value": row.value,
                    "unit": row.unit,
                    "goal": row.goal,
                    "ok": row.ok,
                    "note": row.note,
                }
                for row in rows
            ],
            indent=1,
        )
        + "\n"
    )
    return all(row.ok is not False for row in rows)


def median(measure: Callable[[], float], repeats: int = 5) -> float:
    """The median of repeated measurements, so that one disturbed run does not decide."""
    return statistics.median(measure() for _ in range(repeats))


def _number(value: float) -> str:
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
