"""A focus sweep: what each bead looks like at each height, and the table made of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import ActionError, TableError
from marey.processors.lookup import LookupTable

_PATIENCE = 10.0
"""How long to wait for a frame, s."""


class FocusSweep:
    """Collects the radial profiles of beads, step by step.

    Attributes:
        frames: how many of the present step have been taken.

    Args:
        ids: numbers of the beads (n,).
        z: height that each step stands for, nm.
        radii: length of a profile.
    """

    def __init__(self, ids: NDArray[np.uint32], z: NDArray[np.float64], radii: int) -> None:
        self.z = z
        self.radii = radii
        self.frames = 0
        self._ids = ids.copy()
        self._step: int | None = None
        self._after = 0
        shape = (len(z), len(ids), radii)
        self._count = np.zeros(shape[:2], int)
        self._sum, self._squares = np.zeros(shape), np.zeros(shape)

    def run(
        self,
        move: Callable[[float], object],
        places: NDArray[np.float64],
        home: float,
        frames: int,
        settle: float,
    ) -> Generator[tuple[float, str], None, None]:
        """Move to one place after the other and wait until `take` has had its frames there.

        Goes home at the end, and waits for a frame from there, so that none of those that were
        exposed elsewhere is left. Yields the fraction that is done, and where it is.

        Args:
            move: moves the focus; frames exposed after it returned show the new place.
            places: where to (n_z,), in the unit of the focus.
            home: where to go at the end.
            frames: how many to take at each place.
            settle: time that the focus needs to stand still, s.

        Raises:
            ActionError: no frames come.
        """
        for step, place in enumerate(places.tolist()):
            self._step = step
            for done in self._stay(move, place, frames, settle):
                yield (step + done) / len(places), f"focus at {place:g}"
        self._step = None
        for _ in self._stay(move, home, 1, settle):
            yield 1.0, f"focus back at {home:g}"

    def _stay(
        self, move: Callable[[float], object], place: float, frames: int, settle: float
    ) -> Iterator[float]:
        move(place)
        self.frames = seen = 0
        self._after = time.monotonic_ns() + int(settle * 1e9)
        until = time.monotonic() + settle + _PATIENCE
        while self.frames < frames:
            yield self.frames / frames
            if self.frames > seen:
                seen, until = self.frames, time.monotonic() + _PATIENCE
            elif time.monotonic() > until:
                raise ActionError(f"no frame came for {_PATIENCE:g} s, focus at {place:g}")

    def take(self, mono_time: int, ids: NDArray[np.uint32], profiles: NDArray[np.float32]) -> None:
        """Add the profiles (n, radii) of one frame; NaN stands where there is none."""
        if self._step is None or mono_time < self._after:
            return
        _, mine, theirs = np.intersect1d(self._ids, ids, return_indices=True)
        valid = np.isfinite(profiles[theirs]).all(axis=1)
        mine, rows = mine[valid], profiles[theirs[valid]].astype(float)
        self._count[self._step, mine] += 1
        self._sum[self._step, mine] += rows
        self._squares[self._step, mine] += rows**2

    def count(self, mono_time: int) -> None:
        """One frame is complete."""
        self.frames += mono_time >= self._after

    def steadiest(self) -> int:
        """The bead whose profiles vary least within the steps: one that does not move.

        Raises:
            TableError: no bead was seen in every step.
        """
        seen = (self._count > 0).sum(axis=0)
        whole = seen == len(self.z)
        if not whole.any():
            most = int(seen.max(initial=0))
            raise TableError(
                f"no bead was seen at all {len(self.z)} heights; the best at {most} of them"
            )
        count = np.maximum(self._count, 1)[:, :, None]
        mean = self._sum / count
        noise = (self._squares / count - mean**2).mean(axis=(0, 2))
        contrast = mean.var(axis=2).mean(axis=0)
        unrest = np.where(
            whole & (contrast > 0), noise / np.where(contrast > 0, contrast, 1), np.inf
        )
        return int(self._ids[unrest.argmin()])

    def table(self, bead: int, smooth: float = 0.0, **facts: Any) -> LookupTable:
        """The table of one bead; `facts` as `LookupTable.build` takes them.

        Raises:
            TableError: the bead was not seen at some height, or the numbers are no table.
        """
        (index,) = np.flatnonzero(self._ids == bead).tolist() or (-1,)
        if index < 0:
            raise TableError(f"bead {bead}: is none of those that were tracked during the sweep")
        count = self._count[:, index]
        missing = np.flatnonzero(count == 0)
        if len(missing):
            raise TableError(
                f"bead {bead}: was not seen at {len(missing)} of {len(count)} heights, first at "
                f"{self.z[missing[0]]:g} nm"
            )
        return LookupTable.build(
            self.z, self._sum[:, index] / count[:, None], smooth=smooth, **facts
        )
