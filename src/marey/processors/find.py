"""Finding beads in a picture without any hint."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey import _native
from marey.processors.gray import gray

FOUND = np.dtype([("x", "f8"), ("y", "f8"), ("score", "f4")])
"""A bead that was found: its centre in px, and how well rings explain the picture there."""

_NEAREST = 2
"""Edges nearer to a centre than this say little about where it is, px."""
_LARGEST = 64
"""Regions are halved until they are at most so large: finer pixels only cost time, px."""
_PROPOSALS = 4
"""Points looked at more closely, for each bead that may be found."""


def find_beads(
    image: NDArray[Any],
    size: int = 64,
    *,
    min_score: float = 0.2,
    separation: float | None = None,
    most: int = 5000,
) -> NDArray[Any]:
    """Beads of a picture: round things, with or without rings, bright or dark.

    Every pixel on an edge votes for all points along its gradient (Loy & Zelinsky, IEEE PAMI 25,
    959 (2003), here along the whole line, since a bead has many rings); where many votes meet, the
    tracker fits rings. What these do not explain is dropped, as is what lies too near to the edge
    of the picture to be tracked, and what has been found already.

    Args:
        image: (height, width), or (height, width, 3) in colour.
        size: side of the region that holds one bead with the rings that are to be used, px.
        min_score: least share of the variance of the region that rings explain.
        separation: least distance of two beads, px; half of `size` where not given.
        most: the best so many.

    Returns:
        Rows of `FOUND`, best first.

    Raises:
        ValueError: the image has another shape.
    """
    picture = gray(image)
    apart = size / 2 if separation is None else separation
    halvings = 0
    small = picture
    while size >> halvings > _LARGEST:
        small = _halve(small)
        halvings += 1
    scale = 1 << halvings
    if min(small.shape) < 16:
        return np.empty(0, FOUND)

    votes = np.empty(small.shape, np.float32)
    _native.ring_votes(small, _NEAREST, max(_NEAREST, size // scale // 2), votes)
    sharp = np.empty_like(votes)
    _native.bandpass(votes, max(5, size // scale // 4), 1.0, sharp)
    proposals = _native.peaks(sharp, _noise(sharp), apart / scale / 2, 1, _PROPOSALS * most)
    starts = proposals[:, :2].astype(np.float64) * scale + (scale - 1) / 2

    places, quality, status = track(picture, starts, size)
    good = (status == 0) & (quality >= min_score)
    return _distinct(places[good, :2], quality[good], apart)[:most]


def track(
    picture: NDArray[Any], starts: NDArray[np.float64], size: int
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.uint8]]:
    """Places (n, 3), quality and status of beads near `starts` (n, 2), without a table."""
    count = len(starts)
    places = np.empty((count, 3))
    quality, status = np.empty(count, np.float32), np.empty(count, np.uint8)
    _native.track_beads(
        picture, starts, size, 1.0, radii_of(size), 0.0, 0.0, 0.0, None, places, quality, status
    )
    return places, quality, status


def radii_of(size: int, step: float = 1.0) -> int:
    """Number of radii of the profile of a bead in a region of this size."""
    return int((size // 2 - 1) / step)


def _noise(votes: NDArray[np.float32]) -> float:
    """Above what height a maximum of the votes is worth a closer look.

    Five standard deviations of the scattered votes; where the lower three quarters of the map are
    empty there is no noise, and anything above a fiftieth of the highest is looked at.
    """
    sample = votes[::3, ::3].ravel()
    return max(5 * float(np.quantile(sample, 0.75)) / 0.6745, float(sample.max()) / 50)


def _halve(image: NDArray[Any]) -> NDArray[np.float32]:
    """Means of two by two pixels."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    even = image[:height, :width].astype(np.float32)
    result: NDArray[np.float32] = even.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
    return result


def _distinct(
    places: NDArray[np.float64], quality: NDArray[np.float32], apart: float
) -> NDArray[Any]:
    """The best first; those too near to a better one are left out."""
    order = np.argsort(-quality, kind="stable")
    kept: list[int] = []
    for i in order.tolist():
        away = np.hypot(*(places[kept] - places[i]).T) if kept else np.empty(0)
        if not (away < apart).any():
            kept.append(i)
    found = np.empty(len(kept), FOUND)
    found["x"], found["y"], found["score"] = *places[kept].T, quality[kept]
    return found
