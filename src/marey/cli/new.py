"""`marey new`: a plug-in package to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def new(
    kind: Literal["camera", "processor", "sink", "device"],
    name: str,
    /,
    *,
    into: Path = Path(),
) -> int:
    """Write a small plug-in package that works, with its conformance test.

    Its kind is registered when the package is installed: then `marey list` names it, and sessions
    may have it.

    Args:
        kind: what to write.
        name: name of the package and of the kind that it registers.
        into: folder in which the package's folder is made.
    """
    from marey.scaffold import scaffold

    made = scaffold(kind, name, into)
    print(f"{made}\n  pip install -e {made}\n  pytest {made}")
    return 0
