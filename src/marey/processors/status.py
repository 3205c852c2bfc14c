"""Whether to believe a bead's row."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """Whether to believe a row, and why not. The native kernels use the same numbers."""

    OK = 0
    BORDER = 1
    """The region or the rings leave the frame."""
    NO_SIGNAL = 2
    """Nothing round is there."""
    LOST = 3
    """The search for the centre ran out of the region."""
    SATURATED = 4
    """x and y hold; z does not, since bright pixels are cut off."""
    OUT_OF_TABLE = 5
    """x and y hold; z lies beyond the table, or nothing in the table is alike."""
