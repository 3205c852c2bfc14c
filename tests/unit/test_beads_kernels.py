"""Every native stage against its plain NumPy twin."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from marey import _native
from marey.processors import reference
from support.rings import as_u8, as_u16, picture

SIDE = 48

unhurried = settings(deadline=None)
few = settings(deadline=None, max_examples=25)

levels = st.integers(-100, 100).map(float)
pixel_types = st.sampled_from([np.uint8, np.uint16, np.float32])


@st.composite
def any_pixels(draw: st.DrawFn, side: int = SIDE) -> NDArray[Any]:
    """Pixels of any kind: constant, extreme, random."""
    dtype = np.dtype(draw(pixel_types))
    if dtype.kind == "u":
        return draw(arrays(dtype, (side, side)))
    return draw(arrays(dtype, (side, side), elements=st.floats(-1e4, 1e4, width=32)))


@st.composite
def beads(draw: st.DrawFn, side: int = SIDE) -> tuple[NDArray[Any], float, float]:
    """A picture of one bead near its middle, as u8, u16 or f32, and where the bead is."""
    off = st.floats(-2.5, 2.5)
    x, y = side / 2 + draw(off), side / 2 + draw(off)
    image = picture(
        (side, side),
        [(x, y, draw(st.floats(-1500, 1500)))],
        contrast=draw(st.sampled_from([80.0, -60.0, 20.0])),
        noise=draw(st.sampled_from([0.0, 1.0, 5.0])),
        seed=draw(st.integers(0, 2**32 - 1)),
    )
    dtype = draw(pixel_types)
    pixels = {np.uint8: as_u8, np.uint16: as_u16}.get(dtype, lambda i: i.astype(np.float32))(image)
    return pixels, x, y


def scale_of(image: NDArray[Any]) -> float:
    return float(np.abs(image.astype(float)).max()) + 1.0


@unhurried
@given(any_pixels())
def test_border_level(image: NDArray[Any]) -> None:
    assert _native.border_level(image) == pytest.approx(
        reference.border_level(image), rel=1e-4, abs=1e-4 * scale_of(image)
    )


@unhurried
@given(any_pixels(), st.floats(-100, 300), st.floats(0, 50))
def test_centre_of_mass(image: NDArray[Any], level: float, floor: float) -> None:
    expected = reference.centre_of_mass(image, level, floor)
    found = _native.centre_of_mass(image, level, floor)
    weight = np.abs(image[::2].astype(float) - level) - floor
    if expected is None or weight.clip(0).sum() < 1e-3 * scale_of(image):
        return  # hardly any mass: where it lies is a matter of rounding
    assert found == pytest.approx(expected, abs=0.01)


@unhurried
@given(beads(), st.floats(-3, 3), st.floats(-3, 3))
def test_mirror_centre(bead: tuple[NDArray[Any], float, float], off_x: float, off_y: float) -> None:
    image, x, y = bead
    expected = reference.mirror_centre(image, x + off_x, y + off_y)
    found = _native.mirror_centre(image, x + off_x, y + off_y)
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected, abs=2e-3)


centre = st.floats(SIDE / 2 - 1.4, SIDE / 2 + 1.4)


@unhurried
@given(any_pixels(), centre, centre, st.sampled_from([(1.0, 21), (0.75, 25), (1.5, 14), (3.0, 7)]))
def test_radial_profile(
    image: NDArray[Any], x: float, y: float, sampling: tuple[float, int]
) -> None:
    step, radii = sampling
    mean, weight = _native.radial_profile(image, x, y, step, radii)
    expected_mean, expected_weight = reference.radial_profile(image, x, y, step, radii)
    np.testing.assert_allclose(weight, expected_weight, rtol=1e-3, atol=1e-3)
    # At radius 0 a handful of pixels of tiny weight may decide: compare what they sum up to.
    np.testing.assert_allclose(
        mean * weight, expected_mean * expected_weight, rtol=1e-3, atol=1e-3 * scale_of(image)
    )


@unhurried
@given(beads(), st.floats(-0.7, 0.7), st.floats(-0.7, 0.7))
def test_ring_fit(bead: tuple[NDArray[Any], float, float], off_x: float, off_y: float) -> None:
    image, x, y = bead
    x, y = np.clip(x + off_x, 22.6, 25.4), np.clip(y + off_y, 22.6, 25.4)
    level = float(np.median(image))
    image = (image.astype(np.float32) - level).astype(np.float32)
    profile, _ = reference.radial_profile(image, x, y, 1.0, 21)
    expected = reference.ring_fit(image, x, y, 1.0, profile, saturation=10.0)
    found = _native.ring_fit(image, x, y, 1.0, profile.astype(np.float32), 10.0)
    assert found == pytest.approx(tuple(expected), rel=5e-3, abs=2e-3)


@unhurried
@given(
    arrays(np.float32, (9, 12), elements=levels),
    arrays(np.float32, 12, elements=levels),
)
def test_match_finds_the_likest_row(
    table: NDArray[np.float32], profile: NDArray[np.float32]
) -> None:
    z = np.arange(9) * 100.0
    likeness = reference.prepared(table.astype(float)) @ reference.prepared(profile.astype(float))
    order = np.sort(likeness)
    _, found, _ = _native.RadialTable(table, z).match(profile)
    assert found >= -1.001
    if order[-1] - order[-2] > 1e-3:
        height, _, _ = _native.RadialTable(table, z).match(profile)
        assert abs(height - z[likeness.argmax()]) <= 100.0 + 1e-6


@few
@given(st.floats(-950, 950), st.integers(10, 25), st.integers(0, 1000))
def test_match_between_rows(z: float, radii: int, seed: int) -> None:
    heights, table = HEIGHTS, _table()
    profile = reference.radial_profile(_rings(z, seed), 30.2, 29.9, 1.0, radii)[0]
    profile = profile.astype(np.float32)
    found = _native.RadialTable(table, heights).match(profile)
    expected = reference.match(table, heights, profile)
    assert found[0] == pytest.approx(expected[0], abs=0.1)
    assert found[1] == pytest.approx(expected[1], abs=1e-4)
    assert found[2] == expected[2]


HEIGHTS = np.arange(-1000.0, 1001.0, 100.0)


@cache
def _table() -> NDArray[np.float32]:
    rows = [reference.radial_profile(_rings(h), 30.2, 29.9, 1.0, 25)[0] for h in HEIGHTS]
    return np.array(rows, np.float32)


def _rings(z: float, seed: int | None = None) -> NDArray[np.float64]:
    return picture((61, 61), [(30.2, 29.9, z)], noise=0 if seed is None else 1, seed=seed or 0)


@few
@given(st.integers(0, 2**32 - 1), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_ring_votes(seed: int, dtype: type) -> None:
    image = picture((90, 70), [(35.3, 40.1, 200.0)], noise=2, seed=seed).astype(dtype)
    votes = np.empty(image.shape, np.float32)
    _native.ring_votes(image, 2, 20, votes)
    expected = reference.ring_votes(image, 2, 20)
    # Rounding sends a vote to the neighbour now and then.
    assert np.abs(votes - expected).sum() <= 0.01 * expected.sum()
    assert np.unravel_index(votes.argmax(), votes.shape) == pytest.approx((40, 35), abs=1)


@unhurried
@given(
    any_pixels(side=33),
    st.sampled_from([3, 7, 12, 40]),
    st.sampled_from([1.0, -1.0]),
)
def test_bandpass(image: NDArray[Any], box: int, sign: float) -> None:
    out = np.empty(image.shape, np.float32)
    _native.bandpass(image, box, sign, out)
    np.testing.assert_allclose(
        out, reference.bandpass(image, box, sign), atol=1e-5 * scale_of(image), rtol=1e-4
    )


@few
@given(
    arrays(np.float32, (24, 31), elements=st.integers(0, 50).map(float)),
    st.integers(0, 40),
    st.sampled_from([0.0, 2.0, 4.5, 11.0]),
    st.sampled_from([0, 3]),
    st.sampled_from([3, 1000]),
)
def test_peaks(
    image: NDArray[np.float32], threshold: int, separation: float, margin: int, most: int
) -> None:
    found = _native.peaks(image, float(threshold), separation, margin, most)
    expected = reference.peaks(image.astype(float), threshold, separation, margin, most)
    np.testing.assert_array_equal(found, expected)


@unhurried
@given(
    arrays(np.float32, (20, 26), elements=st.floats(0, 100, width=16)),
    st.integers(0, 25),
    st.integers(0, 19),
    st.sampled_from([1.5, 3.5, 5.0]),
)
def test_centroids(image: NDArray[np.float32], x: int, y: int, radius: float) -> None:
    image[y, x] += 1.0
    (found,) = _native.centroids(image, np.array([[x, y, 1.0]], np.float32), radius)
    expected = reference.centroid(image.astype(float), x, y, radius)
    assert tuple(found) == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_kernels_read_any_region_of_a_frame() -> None:
    frame = as_u8(picture((100, 120), [(50.3, 60.2, 100.0)]))
    colour = np.repeat(frame[:, :, None], 3, axis=2)
    expected = _native.border_level(frame[20:90, 10:90].copy())
    assert _native.border_level(frame[20:90, 10:90]) == expected
    assert _native.border_level(colour[20:90, 10:90, 1]) == expected
    read_only = frame[20:90, 10:90]
    read_only.flags.writeable = False
    assert _native.border_level(read_only) == expected


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((40, 40)),
        np.zeros((40, 40, 3), np.uint8),
        np.zeros((40, 2), np.uint8),
        np.zeros((40, 40), np.int16),
    ],
)
def test_kernels_refuse_other_images(image: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="image: expected"):
        _native.border_level(image)


def test_a_circle_beyond_the_picture_is_refused() -> None:
    image = np.zeros((40, 40), np.uint8)
    with pytest.raises(ValueError, match="leaves the image"):
        _native.radial_profile(image, 20.0, 10.0, 1.0, 15)
    with pytest.raises(ValueError, match="leaves the image"):
        _native.radial_profile(image, float("nan"), 10.0, 1.0, 5)
