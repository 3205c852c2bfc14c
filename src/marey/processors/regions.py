"""Regions of interest: where each bead is looked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

SMALLEST, LARGEST = 16, 1024
"""Side of a region, px."""


class Roi(BaseModel):
    """A square region that holds one bead."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    id: int = Field(ge=0, lt=2**32, description="number of the bead; it keeps it for good")
    x: float = Field(description="middle, px; 0 is the middle of the first pixel")
    y: float = Field(description="middle, px")
    size: int | None = Field(
        default=None, ge=SMALLEST, le=LARGEST, description="side in px, if not `roi_size`"
    )


class Regions:
    """The regions as the kernels want them, and the numbers of their beads.

    Attributes:
        ids: numbers of the beads (n,).
        centres: x and y of the middles (n, 2), px; they move along with followed beads.
    """

    def __init__(self) -> None:
        self.ids: NDArray[np.uint32] = np.empty(0, np.uint32)
        self.centres: NDArray[np.float64] = np.empty((0, 2))
        self._declared: dict[int, Roi] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self.ids)

    def declare(self, rois: Sequence[Roi]) -> None:
        """Take these regions; those that were declared just so before stay where they are now."""
        here = dict(zip(self.ids.tolist(), self.centres.tolist(), strict=True))
        self.centres = np.array(
            [here[roi.id] if self._declared.get(roi.id) == roi else (roi.x, roi.y) for roi in rois]
        ).reshape(-1, 2)
        self.ids = np.array([roi.id for roi in rois], np.uint32)
        self._declared = {roi.id: roi for roi in rois}
        self._next = max([self._next, *(roi.id + 1 for roi in rois)])

    def follow(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Centre the regions on their beads; where NaN stands, they stay."""
        known = np.isfinite(x)
        self.centres[known, 0] = x[known]
        self.centres[known, 1] = y[known]

    def sizes(self, usual: int) -> NDArray[np.int64]:
        """Side of each region, px."""
        sizes = [self._declared[bead].size or usual for bead in self.ids.tolist()]
        return np.array(sizes, np.int64)

    def present(self) -> list[Roi]:
        """The regions where they are now."""
        return [
            self._declared[id_].model_copy(update={"x": round(x, 2), "y": round(y, 2)})
            for id_, (x, y) in zip(self.ids.tolist(), self.centres.tolist(), strict=True)
        ]

    def new_id(self) -> int:
        """A number that no bead has had."""
        self._next += 1
        return self._next - 1

    def renew(self, found: NDArray[Any], near: float) -> list[Roi]:
        """Regions for beads (rows with x, y) that were found; known ones within `near` px keep
        their numbers and sizes."""
        rois = []
        free = dict(self._declared)
        for x, y in zip(found["x"].tolist(), found["y"].tolist(), strict=True):
            old = self._nearest(x, y, near, free)
            if old is None:
                rois.append(Roi(id=self.new_id(), x=round(x, 2), y=round(y, 2)))
            else:
                del free[old.id]
                rois.append(old.model_copy(update={"x": round(x, 2), "y": round(y, 2)}))
        return sorted(rois, key=lambda roi: roi.id)

    def _nearest(self, x: float, y: float, near: float, free: Iterable[int]) -> Roi | None:
        away = np.hypot(*(self.centres - (x, y)).T)
        away[~np.isin(self.ids, np.fromiter(free, np.uint32))] = np.inf
        if not len(away) or away.min() > near:
            return None
        return self._declared[int(self.ids[away.argmin()])]
