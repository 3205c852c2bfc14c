"""How well beads are tracked, and what becomes of those that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marey import _native
from marey.processors import LookupTable, Status
from support.rings import as_u8, as_u16, picture

SIZE, RADII = 64, 31
MIDDLE = 50.0

Tracked = tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]


def track(
    image: NDArray[Any],
    starts: Any = ((MIDDLE, MIDDLE),),
    table: LookupTable | None = None,
    size: int = SIZE,
    saturation: float = 0.0,
) -> Tracked:
    """Places, quality, status and profiles of the beads near `starts`."""
    at = np.array(starts, float).reshape(-1, 2)
    radii = size // 2 - 1
    places, quality = np.empty((len(at), 3)), np.empty(len(at), np.float32)
    status, profiles = np.empty(len(at), np.uint8), np.empty((len(at), radii), np.float32)
    rows = None if table is None else _native.RadialTable(table.profiles, table.z)
    _native.track_beads(
        image, at, size, 1.0, radii, 0.2, 0.7, saturation, rows, places, quality, status, profiles
    )
    return places, quality, status, profiles


def one(x: float, y: float, z: float, **how: Any) -> NDArray[np.float64]:
    return picture((101, 101), [(x, y, z)], **how)


@pytest.fixture(scope="module")
def table() -> LookupTable:
    """A table every 100 nm, of clean pictures at scattered places."""
    random = np.random.default_rng(1)
    z = np.repeat(np.arange(-1200.0, 1201.0, 100.0), 5)
    profiles = [
        track(one(*random.uniform(49.5, 50.5, 2), height).astype(np.float32))[3][0] for height in z
    ]
    return LookupTable.build(z, profiles, nm_per_px=100.0)


near = st.floats(MIDDLE - 3, MIDDLE + 3)
height = st.floats(-1100, 1100)


@settings(deadline=None)
@given(near, near, height)
def test_clean_rings_within_a_hundredth_of_a_pixel(x: float, y: float, z: float) -> None:
    for image in (as_u8(one(x, y, z)), as_u16(one(x, y, z)), one(x, y, z).astype(np.float32)):
        places, quality, status, _ = track(image)
        assert status[0] == Status.OK
        assert places[0, :2] == pytest.approx((x, y), abs=0.01)
        assert np.isnan(places[0, 2])
        assert quality[0] > 0.97


@given(near, near, height, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=50)
def test_noisy_rings(table: LookupTable, x: float, y: float, z: float, seed: int) -> None:
    places, _, status, _ = track(as_u8(one(x, y, z, noise=4, seed=seed)), table=table)
    assert status[0] == Status.OK
    assert places[0, :2] == pytest.approx((x, y), abs=0.08)  # sigma is 0.013 px
    assert places[0, 2] == pytest.approx(z, abs=25)  # sigma is 3.5 nm


def test_height_between_the_steps_of_the_table(table: LookupTable) -> None:
    random = np.random.default_rng(2)
    errors = []
    for z in np.arange(-1000.0, 1000.0, 37.0):
        x, y = random.uniform(49.5, 50.5, 2)
        places, _, status, _ = track(as_u8(one(x, y, z)), table=table)
        assert status[0] == Status.OK
        errors.append(places[0, 2] - z)
    assert np.sqrt(np.mean(np.square(errors))) < 1.0
    assert np.abs(errors).max() < 3.0


def test_a_bead_far_from_the_middle_of_its_region() -> None:
    for off_x, off_y in [(14, 0), (-14, 9), (0, -15)]:
        places, _, status, _ = track(as_u8(one(50.3, 49.8, 300)), [(50.3 + off_x, 49.8 + off_y)])
        assert status[0] == Status.OK
        assert places[0, :2] == pytest.approx((50.3, 49.8), abs=0.02)


def test_all_beads_of_a_frame_in_one_call() -> None:
    beads = [(60 + 75.3 * (i % 5), 55 + 81.7 * (i // 5), 150.0 * i - 1000) for i in range(15)]
    image = as_u8(picture((280, 420), beads, noise=1))
    starts = np.array(beads)[:, :2] + 1.5
    places, _, status, _ = track(image, starts)
    assert (status == Status.OK).all()
    np.testing.assert_allclose(places[:, :2], np.array(beads)[:, :2], atol=0.03)
    mixed = np.concatenate([starts, [(410.0, -30.0)]])
    assert track(image, mixed)[2].tolist() == [0] * 15 + [Status.BORDER]


def test_gain_and_offset_do_not_matter(table: LookupTable) -> None:
    image = one(50.2, 50.4, 430.0)
    expected = track(image.astype(np.float32), table=table)[0]
    other = track((image * 7.5 + 900).astype(np.float32), table=table)[0]
    np.testing.assert_allclose(other[:, :2], expected[:, :2], atol=1e-3)
    np.testing.assert_allclose(other[:, 2], expected[:, 2], atol=0.1)


def test_inverted_contrast() -> None:
    places, _, status, _ = track(as_u8(one(50.3, 49.6, 0, contrast=-70.0)))
    assert status[0] == Status.OK
    assert places[0, :2] == pytest.approx((50.3, 49.6), abs=0.01)


def check_dead(result: Tracked, *expected: Status) -> None:
    places, _, status, profiles = result
    assert Status(status[0]) in expected
    assert np.isnan(places).all()
    assert np.isnan(profiles).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_nothing_there(dtype: type) -> None:
    check_dead(track(np.full((101, 101), 90, dtype)), Status.NO_SIGNAL)


@pytest.mark.parametrize("seed", range(20))
def test_only_noise(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(100, 10, (101, 101))
    check_dead(track(as_u8(noise)), Status.NO_SIGNAL, Status.LOST)


def test_a_slope_of_light_is_no_bead() -> None:
    slope = np.add.outer(np.arange(101.0), np.arange(101.0)).astype(np.float32)
    check_dead(track(slope), Status.NO_SIGNAL, Status.LOST, Status.BORDER)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_pixel_that_is_no_number(bad: float) -> None:
    image = one(50, 50, 0).astype(np.float32)
    image[52, 47] = bad
    check_dead(track(image), Status.NO_SIGNAL)
    image[:] = bad
    check_dead(track(image), Status.NO_SIGNAL)


def test_a_bead_at_the_border() -> None:
    image = as_u8(picture((101, 101), [(6.0, 50.0, 100.0)]))
    check_dead(track(image, [(6.0, 50.0)]), Status.BORDER)
    for start in [(-500.0, 50.0), (1e9, 50.0), (50.0, 101.0), (50.0, -1e300)]:
        check_dead(track(image, [start]), Status.BORDER)
    for start in [(np.nan, 50.0), (50.0, np.inf)]:
        check_dead(track(image, [start]), Status.LOST)


def test_near_the_border_fewer_rings_do(table: LookupTable) -> None:
    image = as_u8(picture((101, 101), [(22.3, 50.4, 330.0)]))
    places, _, status, profiles = track(image, [(22.0, 50.0)], table=table)
    assert status[0] == Status.OK
    assert places[0, :2] == pytest.approx((22.3, 50.4), abs=0.02)
    assert places[0, 2] == pytest.approx(330.0, abs=10)
    assert np.isnan(profiles[0, 22:]).all()
    assert np.isfinite(profiles[0, :22]).all()


def test_a_saturated_bead_keeps_x_and_y(table: LookupTable) -> None:
    image = as_u8(one(50.3, 49.7, 200, background=200.0, contrast=150.0))
    places, _, status, _ = track(image, table=table, saturation=255.0)
    assert status[0] == Status.SATURATED
    assert places[0, :2] == pytest.approx((50.3, 49.7), abs=0.05)
    assert np.isnan(places[0, 2])
    assert track(image, table=table)[2][0] == Status.OK


def test_beyond_the_table(table: LookupTable) -> None:
    for z in (-1290.0, 1290.0, 1500.0):
        places, _, status, _ = track(as_u8(one(50.1, 50.2, z)), table=table)
        assert status[0] == Status.OUT_OF_TABLE
        assert places[0, :2] == pytest.approx((50.1, 50.2), abs=0.02)
        assert np.isnan(places[0, 2])


def test_a_table_of_other_beads(table: LookupTable) -> None:
    random = np.random.default_rng(0)
    other = LookupTable(table.z, random.normal(0, 1, table.profiles.shape).astype(np.float32))
    places, _, status, _ = track(as_u8(one(50.1, 50.2, 0)), table=other)
    assert status[0] == Status.OUT_OF_TABLE
    assert np.isnan(places[0, 2])


@given(st.integers(0, 2**32 - 1), st.integers(1, 100))
@settings(deadline=None, max_examples=50)
def test_whatever_the_picture_no_number_is_wrong_in_kind(seed: int, side: int) -> None:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (side + 2, 60)).astype(np.uint8)
    starts = random.uniform(-20, side + 20, (10, 2))
    places, quality, status, _ = track(image, starts, size=32)
    assert ((status >= 0) & (status <= max(Status))).all()
    valid = np.isin(status, [Status.OK, Status.SATURATED, Status.OUT_OF_TABLE])
    assert np.isfinite(places[valid, :2]).all()
    assert np.isnan(places[~valid]).all()
    assert np.isfinite(quality).all()


def test_arrays_for_results_must_fit() -> None:
    image = np.zeros((50, 50), np.uint8)
    places, quality, status = np.empty((2, 3)), np.empty(2, np.float32), np.empty(2, np.uint8)
    rest = (SIZE, 1.0, RADII, 0.2, 0.7, 0.0, None)
    with pytest.raises(ValueError, match="one row for each start"):
        _native.track_beads(image, np.zeros((3, 2)), *rest, places, quality, status)
    short = np.empty((2, 5), np.float32)
    with pytest.raises(ValueError, match="profiles"):
        _native.track_beads(image, np.zeros((2, 2)), *rest, places, quality, status, short)
    with pytest.raises(TypeError):
        _native.track_beads(image, np.zeros((2, 3)), *rest, places, quality, status)
