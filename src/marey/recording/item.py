"""One item of a recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.stream.spec import UNKNOWN, UNKNOWN_TIME


@dataclass(frozen=True, eq=False)
class RecordedItem:
    """A frame or result as it was recorded; it offers what `marey.stream.Frame` offers.

    Attributes:
        data: the pixels or rows, of the item's own shape; read-only.
        stamps: (1,) of `marey.stream.STAMP`.
        epoch: how many times the stream's writer had been started.
        lost: the `seq` missing in the recording just before this item.
    """

    data: NDArray[Any]
    stamps: NDArray[Any]
    epoch: int
    lost: range

    @property
    def seq(self) -> int:
        """Number of the item in its stream."""
        return int(self.stamps["seq"][0])

    @property
    def source_seq(self) -> int | None:
        """`seq` of the item that it was made of, None where of none."""
        return _known(self.stamps["source_seq"][0], UNKNOWN)

    @property
    def device_frame(self) -> int | None:
        """The device's own frame counter, None where it has none."""
        return _known(self.stamps["device_frame"][0], UNKNOWN)

    @property
    def device_time(self) -> int | None:
        """Time on the device's clock, ns, None where it tells none."""
        return _known(self.stamps["device_time"][0], UNKNOWN_TIME)

    @property
    def host_time(self) -> int:
        """Unix time of the exposure, ns."""
        return int(self.stamps["host_time"][0])

    @property
    def mono_time(self) -> int:
        """Time of the exposure on the recording host's monotonic clock, ns."""
        return int(self.stamps["mono_time"][0])

    @property
    def published(self) -> int:
        """Time of the publication on the recording host's monotonic clock, ns."""
        return int(self.stamps["published"][0])

    def valid(self) -> bool:
        """Always true: what is recorded is not overwritten."""
        return True

    def copy(self) -> NDArray[Any]:
        """The data as an array of its own."""
        return np.array(self.data)


def _known(value: Any, unknown: int) -> int | None:
    found = int(value)
    return None if found == unknown else found
