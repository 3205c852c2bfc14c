"""Beads whose regions have one size: they are tracked in one call of the kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marey import _native
from marey.errors import TableError
from marey.processors.find import radii_of
from marey.processors.lookup import LookupTable


class Limits(NamedTuple):
    """What a bead must fulfil to be believed; see the settings of `BeadTracker`."""

    min_quality: float
    min_likeness: float
    saturation: float


class Group:
    """Beads whose regions have one size, and where the kernel leaves what it finds.

    Args:
        index: which of the beads these are (n,).
        size: side of their regions, px.
        lookup: the table, or None for x and y alone.

    Attributes:
        places: x, y (px) and z (nm) of each bead (n, 3).
        quality: share of the variance that rings explain (n,).
        status: see `Status` (n,).
        profiles: radial profiles (n, radii), where they are wanted.

    Raises:
        TableError: the table's profiles are too short for such regions.
    """

    def __init__(self, index: NDArray[np.intp], size: int, lookup: LookupTable | None) -> None:
        self.index = index
        self.size = size
        self.step = lookup.radius_step if lookup else 1.0
        self.radii = radii_of(size, self.step)
        self._table: _native.RadialTable | None = None
        if lookup is not None:
            shared = min(self.radii, lookup.profiles.shape[1])
            if shared < self.radii / 2:
                raise TableError(
                    f"its profiles reach {lookup.radius:g} px far, regions of {size} px need "
                    f"half of {(self.radii - 1) * self.step:g} px or more"
                )
            profiles = np.ascontiguousarray(lookup.profiles[:, :shared])
            self._table = _native.RadialTable(profiles, lookup.z)
        count = len(index)
        self.places = np.empty((count, 3))
        self.quality = np.empty(count, np.float32)
        self.status = np.empty(count, np.uint8)
        self.profiles: NDArray[np.float32] | None = None

    def want_profiles(self, wanted: bool) -> None:
        """Whether `track` shall keep the profiles, too."""
        if not wanted:
            self.profiles = None
        elif self.profiles is None:
            self.profiles = np.empty((len(self.index), self.radii), np.float32)

    def track(self, picture: NDArray[Any], centres: NDArray[np.float64], limits: Limits) -> None:
        """Track the group's beads in a gray picture, near `centres` (all beads, 2)."""
        _native.track_beads(
            picture,
            centres[self.index],
            self.size,
            self.step,
            self.radii,
            limits.min_quality,
            limits.min_likeness,
            limits.saturation,
            self._table,
            self.places,
            self.quality,
            self.status,
            self.profiles,
        )


def groups_of(sizes: NDArray[np.int64], lookup: LookupTable | None) -> list[Group]:
    """Beads with these sizes of region, by size.

    Raises:
        TableError: the table's profiles are too short for one of the sizes.
    """
    return [
        Group(np.flatnonzero(sizes == size), size, lookup) for size in np.unique(sizes).tolist()
    ]
