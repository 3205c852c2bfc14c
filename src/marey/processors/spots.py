"""Bright or dark spots of any camera's frames."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from marey import _native
from marey.node import Processor, Setting
from marey.processors.gray import gray, require_frames
from marey.stream import Block, Frame, Spec

_SAMPLE = 5
"""Noise is estimated on every fifth pixel of every fifth row."""
_QUARTILE = 0.6745
"""Of a normal distribution cut off below its middle, three quarters of the whole lie below so many
standard deviations."""


class Spots(Processor):
    """Bright or dark spots: where they are, how strong and how wide.

    Crocker & Grier's method (J. Colloid Interface Sci. 179, 298 (1996)): smoothing over about a
    pixel less the mean over a box as wide as a spot and its surroundings; local maxima of that;
    the centroid of the disc about each. Colour is turned into gray. The kind of thing to lay over
    any picture: particles, stars, cells, bubbles.
    """

    row: ClassVar[np.dtype[Any]] = np.dtype(
        [("x", "f8"), ("y", "f8"), ("mass", "f4"), ("size", "f4")]
    )

    polarity: Literal["bright", "dark"] = Setting(
        "bright", description="whether spots are brighter or darker than what is around them"
    )
    diameter: int = Setting(
        11, ge=3, le=255, unit="px", description="width of a spot; odd, or the next odd number"
    )
    threshold: float = Setting(
        0.0,
        ge=0,
        unit="gray levels",
        description="least height of a spot above its surroundings, after smoothing; "
        "0: five times the noise, and a fiftieth of the highest spot",
    )
    separation: float = Setting(
        0.0, ge=0, unit="px", description="least distance of two spots; 0: the diameter"
    )
    max_spots: int = Setting(
        2000, ge=1, le=100_000, apply="start", description="at most so many, the highest first"
    )
    block: int = Setting(
        1, ge=1, le=1, unit="frames", apply="start", advanced=True, description="one by one"
    )

    _map: NDArray[np.float32] | None = None

    def describe(self, source: Spec) -> Spec:
        """Rows with their units, and how a page can draw them.

        Raises:
            SettingError: the source has rows instead of frames.
        """
        require_frames(self, source)
        return Spec(
            (self.max_spots,),
            self.row,
            rate=source.rate,
            fields={
                "x": "px, 0 in the middle of the first pixel",
                "y": "px, 0 in the middle of the first pixel",
                "mass": "gray levels, sum over the disc after the band-pass",
                "size": "px, radius of gyration",
            },
            meta={"overlay": {"x": "x", "y": "y", "size": self.diameter}},
        )

    def process(self, frame: Frame | Block) -> NDArray[Any]:
        """The spots of one frame, the highest first."""
        return self.find(frame.data)

    def find(self, image: NDArray[Any]) -> NDArray[Any]:
        """The spots of a picture (height, width) or (height, width, 3), the highest first."""
        picture = gray(image)
        if picture.strides[1] != picture.itemsize:
            picture = np.ascontiguousarray(picture)
        if self._map is None or self._map.shape != picture.shape:
            self._map = np.empty(picture.shape, np.float32)
        radius = self.diameter // 2
        sign = 1.0 if self.polarity == "bright" else -1.0
        _native.bandpass(picture, 2 * radius + 1, sign, self._map)
        threshold = self.threshold or _worth_a_look(self._map)
        separation = self.separation or float(self.diameter)
        peaks = _native.peaks(self._map, threshold, separation, radius, self.max_spots)
        found = _native.centroids(self._map, peaks, radius + 0.5)
        rows = np.empty(len(found), self.row)
        for column, name in enumerate(("x", "y", "mass", "size")):
            rows[name] = found[:, column]
        return rows


def _worth_a_look(bandpassed: NDArray[np.float32]) -> float:
    """Five times the noise of the band-passed picture, of which the lower half was set to 0.

    A picture without noise has what rounding leaves; a fiftieth of the highest spot is above that.
    """
    noise = float(np.quantile(bandpassed[::_SAMPLE, ::_SAMPLE], 0.75)) / _QUARTILE
    return max(5 * noise, float(bandpassed.max()) / 50)
