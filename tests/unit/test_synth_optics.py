"""The optical model: against the same formula on a grid, and against the published program."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from marey.cameras.optics import Optics, ring_table

HALF = 3200.0  # nm; half the side of the square in which images are compared


def on_grid(optics: Optics, z: float, size: int, pad: int = 2) -> np.ndarray[Any, Any]:
    """The model of `optics` by FFT: thickness sampled at the pixels of a periodic window."""
    n, px = size * pad, optics.nm_per_px
    x = (np.arange(n) - n // 2) * px
    chord = 2 * np.sqrt(np.maximum(optics.radius**2 - x[:, None] ** 2 - x**2, 0))
    wave = np.exp(2j * np.pi * (optics.n_bead - optics.n_medium) / optics.wavelength * chord)
    f = np.fft.fftfreq(n, px)
    f2 = f[:, None] ** 2 + f**2
    axial = np.sqrt(np.maximum((optics.n_medium / optics.wavelength) ** 2 - f2, 0))
    passed = f2 <= (optics.na / optics.wavelength) ** 2
    pixel = np.sinc(f * px)[:, None] * np.sinc(f * px)
    spectrum = np.fft.fft2(np.fft.ifftshift(wave)) * passed * pixel
    image = np.abs(np.fft.ifft2(spectrum * np.exp(2j * np.pi * z * axial))) ** 2
    first = (n - size) // 2
    return np.fft.fftshift(image)[first : first + size, first : first + size]


def radial(optics: Optics, z: float, size: int) -> np.ndarray[Any, Any]:
    """The image of `Optics.profiles` at the pixels of `on_grid`."""
    x = (np.arange(size) - size // 2) * optics.nm_per_px
    r, where = np.unique(np.hypot(x[:, None], x), return_inverse=True)
    return optics.profiles(r, np.array([z]))[0][where].reshape(size, size)


def rms(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], px: float) -> float:
    """Root mean square difference near the bead, as a fraction of the background."""
    keep = slice(len(a) // 2 - int(HALF / px), len(a) // 2 + int(HALF / px))
    return float(np.sqrt(np.mean((a[keep, keep] - b[keep, keep]) ** 2)))


def published(optics: Optics, z: float, size: int) -> np.ndarray[Any, Any]:
    """The image that MagTrack's simulation makes, in units of its background."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that there is no GPU
        simulation = pytest.importorskip(
            "magtrack.simulation", reason="magtrack, the published model, is not installed"
        )
    background = 0.02  # it clips at 1: a low background keeps bright centres
    stack = simulation.simulate_beads(
        np.array([[0.0, 0.0, z]]),
        nm_per_px=optics.nm_per_px,
        size_px=size,
        radius_nm=optics.radius,
        background_level=background,
    )
    return np.asarray(stack[:, :, 0] / background)


def by_corner(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The published program scales each image to the mean of its first 4 x 4 pixels."""
    return image / image[:4, :4].mean()


@pytest.mark.parametrize("z", [-3000.0, 0.0, 2000.0])
def test_radial_integrals_agree_with_the_formula_on_a_fine_grid(z: float) -> None:
    optics = Optics(nm_per_px=25.0)
    assert rms(radial(optics, z, 512), on_grid(optics, z, 512), 25.0) < 0.005


@pytest.mark.parametrize("z", [-4000.0, 0.0, 1500.0, 3000.0])
def test_model_agrees_with_the_published_one_where_that_has_converged(z: float) -> None:
    optics = Optics(nm_per_px=50.0)
    ours, theirs = by_corner(radial(optics, z, 512)), published(optics, z, 512)
    assert rms(ours, theirs, 50.0) < 0.005


@pytest.mark.parametrize("radius", [500.0, 1500.0])
@pytest.mark.parametrize("z", [-6000.0, -1000.0, 0.0, 2500.0, 8000.0])
def test_formula_sampled_as_the_published_one_samples_is_the_published_one(
    radius: float, z: float
) -> None:
    optics = Optics(radius=radius)  # its defaults: 100 nm pixels, a window of 64 pixels
    assert rms(by_corner(on_grid(optics, z, 64)), published(optics, z, 64), 100.0) < 0.005


def test_far_from_the_bead_there_is_only_background() -> None:
    profile = Optics().profiles(np.array([20_000.0]), np.array([0.0, 2000.0]))
    np.testing.assert_allclose(profile, 1.0, atol=5e-3)


def test_bead_of_the_mediums_index_is_invisible() -> None:
    optics = Optics(n_bead=1.33)
    profile = optics.profiles(np.linspace(0, 5000, 50), np.array([-2000.0, 0.0, 2000.0]))
    np.testing.assert_allclose(profile, 1.0, atol=1e-12)


def test_absorbing_bead_in_focus_is_dark_in_the_middle() -> None:
    clear, dark = Optics(radius=1500), Optics(radius=1500, absorption=1e-3)
    r, z = np.linspace(0, 500, 20), np.array([0.0])
    assert dark.profiles(r, z).mean() < 0.05 * clear.profiles(r, z).mean()


def test_table_ends_as_background_at_the_edge_of_the_tile() -> None:
    table = ring_table(Optics(), 64, (-1000.0, 1000.0))
    radii = np.arange(table.root.shape[1]) * table.radial_step
    assert table.root.shape[0] == 81
    np.testing.assert_allclose(table.root[:, radii >= 31.5], 1.0, atol=1e-6)
    inside = radii < 0.85 * 31.5
    exact = np.sqrt(Optics().profiles(100 * radii[inside], np.array([-1000.0])))[0]
    np.testing.assert_allclose(table.root[0, inside], exact, atol=1e-6)
