"""Sessions with a page, and how tests reach them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from marey import Lab, Session


@dataclass
class Place:
    """Where a running session is found."""

    name: str
    folder: Path
    url: str


@dataclass
class Bench:
    """A running session, its page's address, and a client for its HTTP interface."""

    lab: Lab
    url: str
    http: httpx.Client


@contextmanager
def running(**nodes: Any) -> Iterator[Place]:
    """Run nodes, one of them the page `web`."""
    with Session("bench", **nodes).running() as lab:
        place = Place(lab.name, lab.folder, lab.web.get("url"))
        with visiting(place) as bench:
            # The supervisor, in this process, keeps what it needs for these from now on.
            bench.http.get("/api/status")
            bench.http.post("/api/session", json={"run": ""})
        yield place


@contextmanager
def visiting(place: Place) -> Iterator[Bench]:
    """Connections of one test's own to a session, which others may share."""
    address = place.url.partition("?")[0]
    with Lab(place.name, place.folder) as lab, httpx.Client(base_url=address, timeout=20) as http:
        yield Bench(lab, place.url, http)
