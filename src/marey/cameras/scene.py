"""Where the beads of a simulated scene are, and how they move."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marey._native import ornstein_uhlenbeck

KT = 1.380649e-23 * 298.0
"""Thermal energy at 298 K, J."""

VISCOSITY = 0.89e-3
"""Viscosity of water at 298 K, Pa s (CRC Handbook of Chemistry and Physics, 0.890 mPa s)."""

Floats = NDArray[np.float64]

_DRAWS_FOR_LOST = 3_000_000
"""Random numbers spent at most on the frames that were lost between two that were read."""


def place(count: int, shape: tuple[int, int], tile: int, random: np.random.Generator) -> Floats:
    """Positions (count, 2) as (x, y) in px, scattered over cells of a grid.

    Tiles lie inside the frame and do not overlap as long as the frame has a place for each of
    them; beyond that, cells become smaller than tiles.
    """
    height, width = shape
    if count == 0:
        return np.empty((0, 2))
    columns, rows = max(1, width // tile), max(1, height // tile)
    # The coarsest grid of nearly square cells that has room for all leaves most space for jitter.
    wanted = max(1, round(np.sqrt(count * width / height)))
    fits = columns * rows >= count
    if fits:
        columns = max(min(columns, wanted), -(-count // rows))
        rows = -(-count // columns)
    else:
        columns = wanted
        rows = -(-count // columns)
    cell_x, cell_y = width / columns, height / rows
    cells = random.permutation(columns * rows)[:count]
    cell = np.array([cell_x, cell_y])
    spare = (cell - tile).clip(min=0) / 2 if fits else cell / 4
    jitter = random.uniform(-1.0, 1.0, (count, 2)) * spare
    column, row = cells % columns, cells // columns
    corner = np.stack([column * cell_x, row * cell_y], axis=1)
    centre = corner + cell / 2 - 0.5  # the first pixel's centre is at 0
    return np.asarray(centre + jitter)


class Walk:
    """Beads on springs in water: an Ornstein-Uhlenbeck process in x, y and z.

    A bead of radius R on a spring k relaxes with the rate k / γ, γ = 6π η R (Stokes), and has the
    variance k_B T / k. Over a time Δt (Uhlenbeck & Ornstein, Phys. Rev. 36:823, 1930)

        x(t + Δt) = a x(t) + √[k_B T (1 − a²) / k] n,     a = exp(−k Δt / γ),  n standard normal,

    which is exact for any Δt. Walls, and the drag that they add, are left out.

    Attributes:
        displacement: (N, 3) from the place of rest: x and y in px, z in nm.
    """

    def __init__(
        self, count: int, stiffness: tuple[float, float], radius: float, nm_per_px: float, seed: int
    ) -> None:
        """Beads in thermal equilibrium.

        Args:
            count: number of beads.
            stiffness: of the springs along x and y, and along z, pN/µm.
            radius: of the beads, nm.
            nm_per_px: side of a pixel, nm.
            seed: of the motion; it depends on nothing else.
        """
        springs = np.array([stiffness[0], stiffness[0], stiffness[1]]) * 1e-6  # N/m
        self._relaxation = springs / (6 * np.pi * VISCOSITY * radius * 1e-9)  # 1/s
        unit = np.array([nm_per_px, nm_per_px, 1.0]) * 1e-9  # m
        self.spread: Floats = np.sqrt(KT / springs) / unit
        """Standard deviation along x, y (px) and z (nm)."""
        self.displacement = np.zeros((count, 3))
        self._seed = seed
        self._frame = 0
        self._move(np.zeros(3), self.spread, 0, 1)

    def advance(self, frame: int, step: float) -> None:
        """Move on to the time of `frame`, frames being `step` seconds apart.

        Each frame has random numbers of its own, those lost in between too, so that frame n of a
        seed is the same however many were lost; only gaps of very many frames are leapt over.
        """
        frames = frame - self._frame
        if frames <= 0:
            return
        first = self._frame + 1
        if frames * self.displacement.size > _DRAWS_FOR_LOST:
            step, first, frames = step * frames, frame, 1
        decay = np.exp(-self._relaxation * step)
        self._move(decay, self.spread * np.sqrt(1 - decay**2), first, frames)
        self._frame = frame

    def _move(self, decay: Floats, kick: Floats, first: int, frames: int) -> None:
        a, b = decay.tolist(), kick.tolist()
        ornstein_uhlenbeck(
            self.displacement, (a[0], a[1], a[2]), (b[0], b[1], b[2]), self._seed, first, frames
        )
