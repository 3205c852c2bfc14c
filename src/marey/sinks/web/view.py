"""What the page is told of its session: nodes, streams and live counters."""

from __future__ import annotations

import re
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from typing import Any

from marey.errors import MareyError, StreamMissing
from marey.lab import Lab
from marey.sinks.web.rows import numeric_columns
from marey.stream import Source, Spec

_STATUS_TTL = 0.3  # s that counters are told again to further browsers
_DESCRIBE_WAIT = 2.0  # s; a node that is busy for longer is told as it was
_HIDDEN = "(hidden)"


class SessionView:
    """Describes a session for the page; thread-safe.

    Args:
        lab: the session.
        sources: names of the streams that may be shown; none for all.
    """

    def __init__(self, lab: Lab, sources: list[str]) -> None:
        self.lab = lab
        self._sources = set(sources)
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="web-describe")
        self._known: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, Future[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._status: tuple[float, dict[str, Any]] = (0.0, {})
        self._streams: dict[str, Source] = {}

    def close(self) -> None:
        """Stop asking."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def source(self, name: str) -> Source:
        """A stream that exists and may be shown.

        Raises:
            StreamMissing: there is none of that name.
        """
        found = self._streams.get(name)
        if found is None or not found.exists():
            names = self.streams()
            if name not in names:
                raise StreamMissing(
                    f"stream '{name}': the session has {', '.join(names) or 'no stream yet'}"
                )
            found = self._streams[name] = self.lab.stream(name)
        return found

    def streams(self) -> list[str]:
        """Names of the streams that may be shown."""
        return [name for name in self.lab.streams if not self._sources or name in self._sources]

    def status(self) -> dict[str, Any]:
        """Live counters, taken anew at most a few times a second however many browsers ask."""
        with self._lock:
            taken, status = self._status
            if time.monotonic() - taken > _STATUS_TTL:
                status = self.lab.status()
                shown = self.streams()
                status["streams"] = {k: v for k, v in status["streams"].items() if k in shown}
                self._status = (time.monotonic(), status)
            return status

    def session(self) -> dict[str, Any]:
        """The session: its nodes with forms and actions, its streams."""
        states = self.status()["nodes"]
        nodes = self._describe(states)
        return {
            "name": self.lab.name,
            "nodes": nodes,
            "streams": self._describe_streams(nodes),
        }

    def _describe(self, states: dict[str, Any]) -> dict[str, Any]:
        for name, facts in self.lab.nodes.items():
            self._known.setdefault(name, _unknown_node(facts))
            if states.get(name, {}).get("pid") is None:
                continue
            if name not in self._asked or self._asked[name].done():
                self._asked[name] = self._pool.submit(self.lab[name].describe)
        until = time.monotonic() + _DESCRIBE_WAIT
        for name, future in list(self._asked.items()):
            try:
                told = future.result(max(0.0, until - time.monotonic()))
            except TooLate:
                continue  # it starts or is busy: told as it was
            except MareyError as error:
                self._known[name]["error"] = str(error)
                continue
            self._known[name] = {key: told[key] for key in _unknown_node({})} | {"error": ""}
        return {
            name: facts
            | {"settings": hide(facts["settings"])}
            | {key: states.get(name, {}).get(key) for key in ("state", "pid")}
            | {"error": states.get(name, {}).get("error") or facts.get("error")}
            for name, facts in self._known.items()
        }

    def _describe_streams(self, nodes: dict[str, Any]) -> dict[str, Any]:
        told = {}
        for name in self.streams():
            try:
                spec = self.source(name).spec
            except MareyError:
                continue  # it ended while we looked
            told[name] = _describe_stream(spec) | {"source": _source_of(name, nodes)}
        return told


def _unknown_node(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": facts.get("kind", ""),
        "role": facts.get("role", ""),
        "doc": "",
        "schema": {},
        "settings": {},
        "actions": {},
    }


def hide(values: dict[str, Any]) -> dict[str, Any]:
    """Values without tokens: who is let in need not learn with what."""
    hidden = {
        name: re.sub(r"\btoken=[\w-]+", f"token={_HIDDEN}", value)
        for name, value in values.items()
        if isinstance(value, str)
    }
    return values | hidden | ({"token": _HIDDEN} if values.get("token") else {})


def _describe_stream(spec: Spec) -> dict[str, Any]:
    return {
        "shape": list(spec.shape),
        "dtype": spec.dtype.str if not spec.is_rows else str(spec.dtype),
        "rate": spec.rate,
        "pixel_format": spec.pixel_format,
        "fields": dict(spec.fields),
        "meta": dict(spec.meta),
        "is_rows": spec.is_rows,
        "columns": numeric_columns(spec),
    }


def _source_of(stream: str, nodes: dict[str, Any]) -> str | None:
    """The stream that `source_seq` of this one counts in: what a processor reads, or, for a stream
    beside a camera's own, the camera's."""
    owner, _, side = stream.partition(".")
    source = nodes.get(owner, {}).get("settings", {}).get("source")
    if source:
        return str(source)
    return owner if side else None
