"""Installing nodes of a test as a plug-in, in front of everything else that is installed."""

from __future__ import annotations

import os
from pathlib import Path


def install(folder: Path, kinds: dict[str, str]) -> str:
    """Register kinds as an installed package would.

    Args:
        folder: where to write what an installer would write.
        kinds: `module:Class` by kind; modules are found in `tests/support` or `folder`.

    Returns:
        The PYTHONPATH with which processes find them.
    """
    about = folder / "marey_test_plugin-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: marey-test-plugin\nVersion: 1.0\n"
    )
    lines = [f"{kind} = {place}" for kind, place in kinds.items()]
    (about / "entry_points.txt").write_text("\n".join(["[marey.nodes]", *lines, ""]))
    known = [str(folder), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(place for place in known if place)
