"""Spots of any picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage, spatial

from marey.processors import Spots
from marey.stream import Spec

SHAPE = (240, 320)


def spotted(
    places: NDArray[np.float64], sigma: float = 2.5, height: float = 60.0, noise: float = 3.0
) -> NDArray[np.float64]:
    """Gaussian spots at (x, y) on a background that is not even."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = 100 + 20 * np.sin(columns / 90) + np.random.default_rng(7).normal(0, noise, SHAPE)
    for x, y in places:
        image += height * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return image


@pytest.fixture
def places() -> NDArray[np.float64]:
    """Thirty places on a grid, each shifted by a random part of a pixel or more."""
    random = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.arange(40, 300, 45), np.arange(30, 220, 40)), axis=-1)
    found: NDArray[np.float64] = grid.reshape(-1, 2) + random.uniform(-8, 8, (grid.size // 2, 2))
    return found


def nearest(rows: NDArray[Any], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each place, how far away the nearest spot is."""
    away = np.hypot(places[:, None, 0] - rows["x"], places[:, None, 1] - rows["y"])
    result: NDArray[np.float64] = away.min(axis=1)
    return result


@pytest.mark.parametrize("polarity", ["bright", "dark"])
@pytest.mark.parametrize("kind", ["u8", "u2", "f4", "f8", "colour", "column"])
def test_each_spot_once(places: NDArray[np.float64], polarity: str, kind: str) -> None:
    image = spotted(places, height=60 if polarity == "bright" else -60)
    pixels: NDArray[Any] = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    if kind == "colour":
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    elif kind == "column":
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)[:, :, 0]
    elif kind != "u8":
        pixels = pixels.astype(kind)
    rows = Spots(source="cam", polarity=polarity).find(pixels)
    assert len(rows) == len(places)
    assert nearest(rows, places).max() < 0.2
    assert rows["size"] == pytest.approx(2.4, abs=0.2)
    assert (np.diff(rows["mass"]) < 0.2 * rows["mass"][0]).all()


def test_against_scipy(places: NDArray[np.float64]) -> None:
    image = np.rint(spotted(places)).astype(np.uint8)
    rows = Spots(source="cam", diameter=9, threshold=12.0).find(image)
    assert_like_scipy(rows, image, 9, 12.0, 1.0)


def assert_like_scipy(
    rows: NDArray[Any], image: NDArray[Any], diameter: int, threshold: float, sign: float
) -> None:
    """The same method made of SciPy's filters finds the same spots."""
    pixels = image.astype(float)
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    smooth = ndimage.convolve1d(ndimage.convolve1d(pixels, kernel, 0), kernel, 1)
    high = np.maximum(0, sign * (smooth - ndimage.uniform_filter(pixels, diameter)))
    top = (high == ndimage.maximum_filter(high, 3)) & (high > threshold)
    edge = diameter // 2
    top[:edge], top[-edge:], top[:, :edge], top[:, -edge:] = False, False, False, False
    y, x = np.nonzero(top)
    kept: list[tuple[float, float]] = []
    for i in np.argsort(-high[y, x], kind="stable"):
        if all(np.hypot(x[i] - a, y[i] - b) >= diameter for a, b in kept):
            kept.append((x[i], y[i]))
    assert len(rows) == pytest.approx(len(kept), rel=0.01)  # SciPy's sums are doubles
    tree = spatial.KDTree(np.array(kept))
    away, _ = tree.query(np.stack([rows["x"], rows["y"]], axis=1))
    # Our places are centroids, which SciPy's pixels are not, and may move on to a better disc.
    assert np.quantile(away, 0.95) < 1.5
    assert np.median(away) < 0.6


def test_settings(places: NDArray[np.float64]) -> None:
    image = np.rint(spotted(places)).astype(np.uint8)
    spots = Spots(source="cam", max_spots=5)
    assert len(spots.find(image)) == 5
    spots = Spots(source="cam")
    spots.separation = 100.0
    few = spots.find(image)
    away = spatial.distance.pdist(np.stack([few["x"], few["y"]], axis=1))
    assert away.min() > 98
    spots.separation, spots.threshold = 0.0, 200.0
    assert len(spots.find(image)) == 0


@pytest.mark.parametrize("value", [0, 9, 255])
def test_nothing_there(value: int) -> None:
    assert len(Spots(source="cam").find(np.full(SHAPE, value, np.uint8))) == 0


def test_only_noise() -> None:
    noise = np.random.default_rng(1).normal(100, 5, (500, 500))
    rows = Spots(source="cam").find(np.rint(noise).astype(np.uint8))
    assert len(rows) <= 5  # at five sigma


def test_pictures_of_changing_size(places: NDArray[np.float64]) -> None:
    image = np.rint(spotted(places)).astype(np.uint8)
    spots = Spots(source="cam")
    whole = spots.find(image)
    part = spots.find(image[:120])
    assert 0 < len(part) < len(whole)
    np.testing.assert_array_equal(spots.find(image), whole)


def test_what_it_says_of_its_rows() -> None:
    spots = Spots(source="cam", diameter=9, max_spots=77)
    spec = spots.describe(Spec((10, 10), np.dtype("u1"), rate=50))
    assert spec.shape == (77,)
    assert spec.dtype == Spots.row
    assert spec.rate == 50
    assert set(spec.fields) == set(Spots.row.names or ())
    assert spec.meta["overlay"] == {"x": "x", "y": "y", "size": 9}


@pytest.mark.parametrize(
    "bad",
    [{"polarity": "grey"}, {"diameter": 2}, {"threshold": -1}, {"max_spots": 0}, {"block": 2}],
)
def test_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Spots(source="cam", **bad)


def frame_of(file: Path, layout: str) -> NDArray[Any]:
    with av.open(str(file)) as container:
        return next(container.decode(video=0)).to_ndarray(format=layout)


@pytest.mark.parametrize("number", [0, 40, 79])
def test_beads_diffusing_in_water(shared_data: Path, number: int) -> None:
    colour = frame_of(shared_data / "bulk_water" / f"bulk_water_{number:03d}.png", "rgb24")
    rows = Spots(source="cam", polarity="dark", diameter=7, threshold=3.0).find(colour)
    assert 300 < len(rows) < 1500
    luma = (colour @ np.array([77, 150, 29]) + 128) // 256
    assert_like_scipy(rows, luma.astype(np.uint8), 7, 3.0, -1.0)


def test_colloids_with_bright_middles(shared_data: Path) -> None:
    for file in sorted((shared_data / "brightfield").glob("*.png"))[::7]:
        rows = Spots(source="cam", diameter=15, threshold=20.0).find(frame_of(file, "gray"))
        assert len(rows) == 5
        assert rows["size"].min() > 3
