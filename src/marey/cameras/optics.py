"""The image of a bead in bright field, as a function of the distance from its centre and of z.

The model is scalar and coherent. A plane wave of wavelength λ in vacuum crosses a sphere of radius
R and index n_s in a medium of index n_m. The sphere is taken as thin (projection approximation;
Goodman, Introduction to Fourier Optics, 3rd ed., §5.1): at a distance ρ from its axis its chord is
d(ρ) = 2 √(R² − ρ²), so that the wave behind it is

    t(ρ) = exp[(i 2π (n_s − n_m) / λ − α) d(ρ)],     α: absorption of the amplitude, 1/nm.

The wave is the sum of the plane wave and of what the bead adds, t − 1, whose spectrum is the
Fourier-Bessel (Hankel) transform

    T(f) = 2π ∫₀ᴿ [t(ρ) − 1] J₀(2π f ρ) ρ dρ.

A plane wave of transverse frequency f that is seen z further down the light gains the phase
2π z [√((n_m/λ)² − f²) − n_m/λ] relative to the axis (angular spectrum; Goodman §3.10). The
objective passes f ≤ NA/λ, and a pixel of side p averages the wave, which multiplies by the mean
over all directions of sinc(p f cos θ) sinc(p f sin θ), P(f). The intensity relative to the
background is

    I(r, z) = | 1 + 2π ∫₀^{NA/λ} T(f) P(f) exp(i 2π z [...]) J₀(2π f r) f df |².

z is the height of the bead above the plane in focus where light comes from above and the
objective looks up from below: z > 0 shows the light after it has passed the bead.

All integrals are done by Gauss-Legendre rules with nodes enough for their oscillations, so that
there is no grid, no window and no edge in the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_PANEL = 16
"""Nodes of one panel of the composite Gauss-Legendre rule."""


@dataclass(frozen=True)
class Optics:
    """A bead and the microscope that looks at it.

    The defaults are a 1 µm polystyrene bead in water under an oil objective.

    Attributes:
        radius: radius of the bead, nm.
        wavelength: wavelength of the light in vacuum, nm.
        n_bead: refractive index of the bead.
        n_medium: refractive index of the medium.
        na: numerical aperture of the objective; what exceeds `n_medium` has no effect.
        absorption: absorption of the wave's amplitude in the bead, 1/nm.
        nm_per_px: side of a pixel in the sample, nm; 0 for the image before the sensor.
    """

    radius: float = 500.0
    wavelength: float = 550.0
    n_bead: float = 1.59
    n_medium: float = 1.33
    na: float = 1.3
    absorption: float = 0.0
    nm_per_px: float = 100.0

    def profiles(self, r: Floats, z: Floats) -> Floats:
        """Intensity relative to the background at distances `r` from the axis and heights `z`.

        Args:
            r: (R,) distances, nm.
            z: (Z,) heights of the bead above the plane in focus, nm.

        Returns:
            (Z, R) intensities; 1 far away from the bead.
        """
        k_medium = self.n_medium / self.wavelength
        steepest = float(np.arcsin(min(1.0, self.na / self.n_medium)))
        r_max, z_max = float(np.max(r)), float(np.max(np.abs(z)))
        turns = k_medium * (np.sin(steepest) * r_max + (1 - np.cos(steepest)) * z_max)
        # f = k sin θ takes the square root out of the phase: sqrt(k² − f²) = k cos θ.
        theta, weight = _gauss(0.0, steepest, 64 + int(2 * np.pi * turns))
        f = k_medium * np.sin(theta)
        df = weight * k_medium * np.cos(theta)

        bessel = _Bessel(2 * np.pi * float(f.max()) * max(r_max, self.radius))
        added = 2 * np.pi * f * df * self._spectrum(f, bessel) * self._pixel(f)
        waves = np.exp(2j * np.pi * k_medium * np.outer(z, np.cos(theta) - 1)) * added
        rings = bessel(2 * np.pi * np.outer(f, r))
        return np.asarray((1 + waves.real @ rings) ** 2 + (waves.imag @ rings) ** 2)

    def _spectrum(self, f: Floats, bessel: _Bessel) -> NDArray[np.complex128]:
        """T(f): Hankel transform of what the bead adds to the wave, nm²."""
        contrast = (self.n_bead - self.n_medium) / self.wavelength
        turns = self.radius * (float(f.max()) + 2 * abs(contrast))
        angle, weight = _gauss(0.0, np.pi / 2, 64 + int(2 * np.pi * turns))
        # ρ = R sin φ makes the chord 2 R cos φ smooth at the rim.
        rho, half_chord = self.radius * np.sin(angle), self.radius * np.cos(angle)
        added = np.expm1(2 * (2j * np.pi * contrast - self.absorption) * half_chord)
        waves = bessel(2 * np.pi * np.outer(f, rho))
        return np.asarray(2 * np.pi * waves @ (added * rho * half_chord * weight))

    def _pixel(self, f: Floats) -> Floats:
        """P(f): what the square pixel leaves of a wave, averaged over the wave's directions."""
        direction = (np.arange(32) + 0.5) * (np.pi / 64)
        x, y = np.cos(direction) * self.nm_per_px, np.sin(direction) * self.nm_per_px
        return np.asarray((np.sinc(np.outer(f, x)) * np.sinc(np.outer(f, y))).mean(axis=1))


class _Bessel:
    """J₀ by interpolation in a fine table: NumPy has none, and SciPy is no dependency."""

    step = 1 / 256

    def __init__(self, greatest: float) -> None:
        # J₀(x) = (2/π) ∫₀^{π/2} cos(x cos θ) dθ (Abramowitz & Stegun 9.1.18); the midpoint rule
        # converges faster than any power once it has as many nodes as x/2.
        nodes = int(greatest / 2) + 40
        angle = (np.arange(nodes) + 0.5) * (np.pi / 2 / nodes)
        self._x = np.arange(0.0, greatest + 2 * self.step, self.step)
        self._value = np.zeros_like(self._x)
        for cosine in np.cos(angle):
            self._value += np.cos(self._x * cosine)
        self._value /= nodes

    def __call__(self, x: Floats) -> Floats:
        return np.interp(x, self._x, self._value)


def _gauss(start: float, stop: float, nodes: int) -> tuple[Floats, Floats]:
    """Nodes and weights of a composite Gauss-Legendre rule with at least `nodes` nodes."""
    x, w = np.polynomial.legendre.leggauss(_PANEL)
    edges = np.linspace(start, stop, -(-nodes // _PANEL) + 1)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (x + 1)).ravel(), (half * w).ravel()


@dataclass(frozen=True)
class RingTable:
    """Roots of relative intensities by plane and radius, as `_native.BeadScene` takes them.

    Attributes:
        root: (planes, radii) float32, √I, led smoothly to 1 at the tile's edge.
        radial_step: distance of two radii, px.
        first_z: height of the first plane, nm.
        z_step: distance of two planes, nm.
    """

    root: NDArray[np.float32]
    radial_step: float
    first_z: float
    z_step: float


def ring_table(
    optics: Optics, tile: int, z_range: tuple[float, float], z_step: float = 25.0
) -> RingTable:
    """Tabulate the rings of a bead for drawing it into tiles of `tile` pixels.

    Rings go on beyond any tile. From 85 % of the half-width on they are led to the background by
    half a period of a cosine, so that no edge of a tile shows.

    Args:
        optics: bead and microscope.
        tile: side of the drawn tile, px.
        z_range: least and greatest height above focus that will be drawn, nm.
        z_step: distance of two planes, nm; between planes √I is interpolated linearly.
    """
    radial_step = 1 / 16
    edge = (tile - 1) / 2
    used: Floats = np.arange(0.0, edge + radial_step, radial_step)
    planes = max(2, int(np.ceil((z_range[1] - z_range[0]) / z_step)) + 1)
    z: Floats = z_range[0] + z_step * np.arange(planes, dtype=np.float64)
    fall = np.clip((used / edge - 0.85) / 0.15, 0.0, 1.0)
    contrast = np.sqrt(optics.profiles(used * optics.nm_per_px, z)) - 1
    corner = int(np.ceil(np.sqrt(2) * (tile / 2 + 1) / radial_step)) + 2
    root = np.ones((planes, corner), dtype=np.float32)
    root[:, : len(used)] += contrast * (0.5 + 0.5 * np.cos(np.pi * fall))
    return RingTable(root, radial_step, float(z[0]), float(z_step))
