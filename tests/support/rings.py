"""Pictures of beads with diffraction rings, whose true places are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NM_PER_PX = 100.0
Float = NDArray[np.float64]


def intensity(r: Float, z: float) -> Float:
    """Rings of contrast 1 at distance `r` (px) of a bead at height `z` (nm).

    A spherical wave about a point `depth` behind the picture beats with a plane one: the phase of
    their interference is k (sqrt(r^2 + depth^2) - depth). An exponential stands for coherence.
    """
    depth = 25.0 + z / NM_PER_PX
    period = 5.0
    phase = 2 * np.pi / period * (np.hypot(r, depth) - depth)
    result: Float = np.exp(-r / 12.0) * np.cos(phase)
    return result


def picture(
    shape: tuple[int, int],
    beads: Sequence[tuple[float, float, float]],
    background: float = 120.0,
    contrast: float = 80.0,
    noise: float = 0.0,
    seed: int = 0,
    radius: float = 40.0,
) -> Float:
    """A picture (height, width) of beads (x, y in px, z in nm), not yet rounded to a pixel type."""
    out = np.full(shape, background)
    for x, y, z in beads:
        left, right = max(0, int(x - radius)), min(shape[1], int(x + radius) + 2)
        top, bottom = max(0, int(y - radius)), min(shape[0], int(y + radius) + 2)
        rows, columns = np.mgrid[top:bottom, left:right]
        r = np.hypot(columns - x, rows - y)
        fade = np.clip(radius - r, 0, 1)
        out[top:bottom, left:right] += contrast * fade * intensity(r, z)
    if noise:
        out += np.random.default_rng(seed).normal(0, noise, shape)
    return out


def as_u8(image: Float) -> NDArray[np.uint8]:
    """Rounded and clipped to 8 bits."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def as_u16(image: Float) -> NDArray[np.uint16]:
    """The same picture with 16 times finer steps, in 16 bits."""
    return np.clip(np.rint(image * 16), 0, 65535).astype(np.uint16)
