"""How simulated beads are placed and how they move."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.cameras.scene import KT, VISCOSITY, Walk, place


def walk(count: int = 2000, seed: int = 1) -> Walk:
    return Walk(count, (10.0, 40.0), 500.0, 100.0, seed)


def test_beads_in_equilibrium_have_the_variance_of_equipartition() -> None:
    beads = walk(20_000)
    for frame in range(4):
        beads.advance(frame, 0.01)
        variance = beads.displacement.var(axis=0) * np.array([100.0, 100.0, 1.0]) ** 2  # nm²
        expected = np.array([KT / 10e-6, KT / 10e-6, KT / 40e-6]) * 1e18
        np.testing.assert_allclose(variance, expected, rtol=0.06)  # 6 standard errors
        standard_error = np.sqrt(expected / 20_000) / np.array([100.0, 100.0, 1.0])
        assert (np.abs(beads.displacement.mean(axis=0)) < 5 * standard_error).all()


@pytest.mark.parametrize("step", [1e-4, 1e-3, 3e-2])
def test_beads_forget_at_the_rate_of_stokes_and_hooke(step: float) -> None:
    beads = walk(20_000)
    before = beads.displacement.copy()
    beads.advance(1, step)
    after = beads.displacement
    drag = 6 * np.pi * VISCOSITY * 500e-9
    for axis, stiffness in enumerate((10e-6, 10e-6, 40e-6)):
        correlation = np.corrcoef(before[:, axis], after[:, axis])[0, 1]
        assert correlation == pytest.approx(np.exp(-stiffness * step / drag), abs=0.035)


def test_axes_and_beads_move_independently() -> None:
    moves = walk(20_000).displacement
    assert np.abs(np.corrcoef(moves.T) - np.eye(3)).max() < 0.035
    assert abs(np.corrcoef(moves[1:, 0], moves[:-1, 0])[0, 1]) < 0.035


def test_a_frame_is_the_same_however_many_before_it_were_lost() -> None:
    one, other = walk(50), walk(50)
    for frame in range(1, 11):
        one.advance(frame, 1e-3)
    other.advance(10, 1e-3)
    np.testing.assert_array_equal(one.displacement, other.displacement)


def test_a_very_long_gap_is_leapt_over() -> None:
    beads = walk(100)
    beads.advance(10**12, 1e-3)
    assert np.isfinite(beads.displacement).all()
    assert beads.displacement.std(axis=0) == pytest.approx(beads.spread, rel=0.5)


def test_seeds_differ_and_repeat() -> None:
    np.testing.assert_array_equal(walk(9, 4).displacement, walk(9, 4).displacement)
    assert (walk(9, 4).displacement != walk(9, 5).displacement).all()


@given(
    count=st.integers(0, 400),
    height=st.integers(20, 1500),
    width=st.integers(20, 1500),
    tile=st.integers(8, 128),
    seed=st.integers(0, 99),
)
def test_beads_that_fit_do_not_overlap_and_lie_in_the_frame(
    count: int, height: int, width: int, tile: int, seed: int
) -> None:
    places = place(count, (height, width), tile, np.random.default_rng(seed))
    assert places.shape == (count, 2)
    inside = (places >= -0.5) & (places <= np.array([width, height]) - 0.5)
    assert inside.all()
    if count and count <= (width // tile) * (height // tile):
        x, y = places.T
        apart = np.maximum(np.abs(x[:, None] - x), np.abs(y[:, None] - y))
        np.fill_diagonal(apart, np.inf)
        assert apart.min() >= tile - 1e-9
        edge = tile / 2 - 0.5 - 1e-9
        assert (places >= edge).all()
        assert (places <= np.array([width, height]) - 1 - edge).all()
