"""`marey top`: a session's rates, losses, latencies and load, live."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from marey.cli.console import console, nbytes, seconds, table
from marey.cli.options import Flag, Word
from marey.cli.sessions import choose, watch
from marey.errors import MareyError, SettingError
from marey.lab import Lab

_STATES = {"running": "green", "failed": "bold red", "restarting": "red"}
_FIRST = 0.5  # s between the two looks of which the first picture is made


def top(
    session: Word = "",
    /,
    *,
    interval: float = 1.0,
    once: Flag = False,
) -> int:
    """Watch a session: a live table of its streams, their readers and its nodes.

    Of a stream: items a second, how many were published, how many the device lost, and the time
    from exposure to publication. Of a reader: items a second, received, lost, skipped on purpose,
    how far it is behind (its queue), and the time from publication to delivery. Of a node: its
    state, restarts, CPU (100 % is one core) and memory. It asks the supervisor alone: nodes are not
    disturbed. Ctrl-C ends it.

    Args:
        session: which one; may be left out while only one runs.
        interval: time between two pictures, s.
        once: print one picture and end.
    """
    if not 0.05 <= interval <= 3600:
        raise SettingError(f"--interval: found {interval:g}, expected 0.05 to 3600 s")
    out = console()
    with choose(session) as lab:
        looks = Looks(lab)
        looks.look()
        time.sleep(_FIRST)
        if once:
            looks.look()
            out.print(looks.picture())
            return 0
        try:
            _follow(looks, interval, watch(lab), out)
        except KeyboardInterrupt:
            return 0
        out.print(f"session {lab.name} has ended")
    return 0


def _follow(looks: Looks, interval: float, runs: Callable[[], bool], out: Console) -> None:
    """Show one picture after the other until the session has ended."""
    with Live(console=out, auto_refresh=False, screen=out.is_terminal) as live:
        while True:
            try:
                looks.look()
            except MareyError:
                if runs():
                    raise
                return
            if out.is_terminal:
                live.update(looks.picture(), refresh=True)
            else:  # one below the other, for a file or pipe
                out.print(looks.picture(), "")
            time.sleep(interval)


class Looks:
    """Two successive looks at a session, and what changed between them.

    Rates are taken from counters, not from stamps: a stream that stands still shows 0.

    Args:
        lab: the session.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._before: dict[str, Any] = {}
        self._now: dict[str, Any] = {}
        self._at = self._took = 0.0

    def look(self) -> None:
        """Look once more."""
        self._before, at = self._now, self._at
        self._now = self._lab.status()
        self._at = time.monotonic()
        self._took = self._at - at

    def picture(self) -> RenderableType:
        """The tables."""
        shared = ", ".join(f"{k} = {v}" for k, v in self._now["shared"].items() if v != "")
        title = f"[bold]{self._lab.name}[/]  running for {self._now['seconds']:,.0f} s"
        return Group(
            Text.from_markup(title), Text(shared, "dim"), "", self._streams(), "", self._nodes()
        )

    def _streams(self) -> RenderableType:
        rows = table(
            "stream / reader",
            ">1/s",
            ">published / received",
            ">lost",
            ">skipped",
            ">queue",
            ">latency p50",
            ">p99",
        )
        for name, stream in self._now["streams"].items():
            rows.add_row(
                Text(name, "bold"),
                self._rate(stream["published"], ("streams", name, "published")),
                f"{stream['published']:,}",
                _count(stream["device_lost"]),
                "",
                "",
                seconds(stream["latency"]["p50"]),
                seconds(stream["latency"]["p99"]),
            )
            for reader, account in stream["readers"].items():
                place = ("streams", name, "readers", reader, "received")
                rows.add_row(
                    Text(f"  {reader}" + ("" if account["alive"] else " (away)")),
                    self._rate(account["received"], place),
                    f"{account['received']:,}",
                    _count(account["lost"]),
                    f"{account['skipped']:,}" if account["policy"] == "latest" else "",
                    f"{account['behind']:,}",
                    seconds(account["latency"]["p50"]),
                    seconds(account["latency"]["p99"]),
                )
        return rows

    def _rate(self, count: int, place: tuple[str, ...]) -> str:
        before: Any = self._before
        for step in place:
            if step not in before:
                return "-"
            before = before[step]
        return f"{max(0, count - before) / self._took:,.4g}"

    def _nodes(self) -> RenderableType:
        rows = table("node", "kind", "state", ">restarts", ">CPU", ">memory", ">pid", "last error")
        for name, node in self._now["nodes"].items():
            rows.add_row(
                Text(name, "bold"),
                escape(node["kind"]),
                Text(node["state"], _STATES.get(node["state"], "")),
                str(node["restarts"]),
                f"{node['cpu']:.0%}",
                nbytes(node["rss"]),
                str(node["pid"] or "-"),
                escape(node["error"]),
            )
        return rows


def _count(lost: int) -> Text:
    return Text(f"{lost:,}", "bold red" if lost else "")
