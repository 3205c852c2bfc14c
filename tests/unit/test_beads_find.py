"""Finding beads without any hint."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from marey.processors import find_beads
from marey.processors.find import FOUND
from support.rings import as_u8, as_u16, picture

SHAPE = (1024, 1280)


def scatter(
    count: int, apart: float, seed: int, margin: float = 45, shape: tuple[int, int] = SHAPE
) -> list[tuple[float, float, float]]:
    """Beads at random places, none nearer to another than `apart`, at random heights."""
    random = np.random.default_rng(seed)
    beads: list[tuple[float, float, float]] = []
    while len(beads) < count:
        x = random.uniform(margin, shape[1] - margin)
        y = random.uniform(margin, shape[0] - margin)
        if all(np.hypot(x - a, y - b) > apart for a, b, _ in beads):
            beads.append((x, y, random.uniform(-1500, 1500)))
    return beads


def hits_and_false(found: NDArray[Any], beads: list[tuple[float, float, float]]) -> tuple[int, int]:
    """How many beads were found within half a pixel, and how many finds are no bead."""
    true = np.array(beads)[:, :2]
    away = np.hypot(found["x"][:, None] - true[:, 0], found["y"][:, None] - true[:, 1])
    return int((away.min(axis=0) < 0.5).sum()), int((away.min(axis=1) > 0.5).sum())


@pytest.mark.parametrize("noise", [0.0, 3.0, 8.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_hundred_beads_and_nothing_else(noise: float, seed: int) -> None:
    beads = scatter(100, 70, seed)
    found = find_beads(as_u8(picture(SHAPE, beads, noise=noise, seed=seed)))
    hits, false = hits_and_false(found, beads)
    assert hits >= 99
    assert false == 0
    assert (np.diff(found["score"]) <= 0).all()


def test_faint_beads() -> None:
    beads = scatter(100, 70, 3)
    found = find_beads(as_u8(picture(SHAPE, beads, contrast=30, noise=8, seed=3)))
    hits, false = hits_and_false(found, beads)
    assert hits >= 95
    assert false == 0


def test_a_crowd() -> None:
    beads = scatter(250, 48, 4)
    hits, false = hits_and_false(find_beads(as_u8(picture(SHAPE, beads, noise=3))), beads)
    assert hits >= 248
    assert false == 0


@pytest.mark.parametrize("seed", range(3))
def test_no_beads(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(100, 8, SHAPE)
    uneven = noise + 40 * np.sin(np.arange(SHAPE[1]) / 200)
    for image in (as_u8(noise), as_u8(uneven), np.full(SHAPE, 9, np.uint8)):
        found = find_beads(image)
        assert found.dtype == FOUND
        assert len(found) == 0


def test_other_pixels_and_contrast() -> None:
    shape = (300, 400)
    beads = scatter(12, 70, 5, shape=shape)
    image = picture(shape, beads, contrast=-60, noise=2)
    colour = np.repeat(as_u8(image)[:, :, None], 3, axis=2)
    for pixels in (as_u8(image), as_u16(image), image.astype(np.float32), image, colour):
        assert hits_and_false(find_beads(pixels), beads) == (12, 0)


def test_large_regions_are_searched_on_halved_pictures() -> None:
    shape = (500, 700)
    beads = scatter(8, 150, 6, margin=90, shape=shape)
    fine = np.full(shape, 120.0)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    for x, y, _ in beads:
        r = np.hypot(columns - x, rows - y)
        fine += 80 * np.exp(-r / 25) * np.cos(r / 3)
    assert hits_and_false(find_beads(as_u8(fine), 150), beads) == (8, 0)


def test_beads_that_cannot_be_tracked_are_left_out() -> None:
    image = as_u8(picture((300, 300), [(150, 150, 0), (5, 100, 0), (200, 296, 0)], noise=1))
    assert hits_and_false(find_beads(image), [(150, 150, 0)]) == (1, 0)


def test_the_best_ones() -> None:
    image = as_u8(picture((300, 300), [(80, 80, 0)], noise=1) / 2)
    image += as_u8(picture((300, 300), [(210, 200, 0)], contrast=20, noise=2) / 2)
    assert len(find_beads(image, min_score=0.05)) == 2
    (best,) = find_beads(image, min_score=0.05, most=1)
    assert best["x"] == pytest.approx(80, abs=0.1)
    assert len(find_beads(image, min_score=0.9)) == 1


def test_a_picture_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"found shape \(5, 5, 2\)"):
        find_beads(np.zeros((5, 5, 2), np.uint8))
    assert len(find_beads(np.zeros((10, 10), np.uint8))) == 0
