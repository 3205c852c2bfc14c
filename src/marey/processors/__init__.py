"""Processors: beads, spots; and what belongs to beads: look-up tables, regions, finding them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from marey.node.registry import lazy

if TYPE_CHECKING:
    from marey.processors.bead_tracker import BeadTracker
    from marey.processors.find import find_beads
    from marey.processors.lookup import LookupTable
    from marey.processors.regions import Roi
    from marey.processors.spots import Spots
    from marey.processors.status import Status

__all__ = ["BeadTracker", "LookupTable", "Roi", "Spots", "Status", "find_beads"]

_KINDS = ["BeadTracker", "Spots"]
_REST = {
    "LookupTable": "lookup",
    "Roi": "regions",
    "Status": "status",
    "find_beads": "find",
}


def __getattr__(name: str) -> Any:
    if name in _REST:
        return getattr(import_module(f"{__name__}.{_REST[name]}"), name)
    return lazy(__name__, _KINDS, name)
