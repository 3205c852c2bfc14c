"""Processors: beads, spots."""

from typing import TYPE_CHECKING, Any

from marey.node.registry import lazy

if TYPE_CHECKING:
    from marey.processors.bead_tracker import BeadTracker
    from marey.processors.spots import Spots

__all__ = ["BeadTracker", "Spots"]


def __getattr__(name: str) -> Any:
    return lazy(__name__, __all__, name)
