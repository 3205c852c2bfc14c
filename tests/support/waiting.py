"""Waiting in tests for what happens in other processes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def eventually(look: Callable[[], T], timeout: float = 20.0) -> T:
    """What `look` answers as soon as that is true; fails when it does not become so."""
    until = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"never came true within {timeout:g} s; last seen: {found!r}")
        time.sleep(0.005)


def kept(file: Path, stream: str | None = None) -> list[dict[str, Any]]:
    """What a `Keep` wrote; a line that it did not finish is left out."""
    if not file.exists():
        return []
    lines = file.read_text().splitlines(keepends=True)
    items = [json.loads(line) for line in lines if line.endswith("\n")]
    return [item for item in items if stream is None or item["stream"] == stream]
