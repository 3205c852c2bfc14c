"""Drawing natively: right rings at the right place, right noise, the same on every processor."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from marey._native import BeadScene
from marey.cameras.optics import Optics, ring_table

TABLE = ring_table(Optics(), 64, (-500.0, 5000.0))
FULL = {np.dtype("u1"): 255.0, np.dtype("u2"): 65535.0}
Array = np.ndarray[Any, Any]


def scene(
    shape: tuple[int, int], dtype: Any, gain: float = 0.0, background: float = 0.4, seed: int = 1
) -> BeadScene:
    full = FULL[np.dtype(dtype)]
    made = BeadScene(
        shape,
        64,
        TABLE.root,
        TABLE.radial_step,
        TABLE.first_z,
        TABLE.z_step,
        background * full,
        full,
        seed,
    )
    made.set_gain(gain)
    return made


def drawn(made: BeadScene, shape: tuple[int, int], dtype: Any, beads: Any, key: int = 0) -> Array:
    out = np.zeros(shape, dtype)
    made.draw(out, key, np.array(beads, np.float64).reshape(-1, 3))
    return out


def exact(shape: tuple[int, int], x: float, y: float, z: float) -> tuple[Array, Array]:
    """Relative intensity by the model itself, and where the tile leaves it as it is."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    r = np.hypot(columns - x, rows - y)
    fine = np.arange(0, 33, 1 / 64)
    profile = Optics().profiles(100 * fine, np.array([z]))[0]
    return np.interp(r, fine, profile), r < 0.85 * 31.5


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_bead_is_drawn_as_the_model_has_it_anywhere_between_pixels_and_planes(dtype: str) -> None:
    made, full = scene((80, 80), dtype), FULL[np.dtype(dtype)]
    random = np.random.default_rng(3)
    for x, y, z in random.uniform((38, 38, 500), (41, 41, 4900), (20, 3)):
        image = drawn(made, (80, 80), dtype, [x, y, z]) / (0.4 * full)
        right, inside = exact((80, 80), x, y, z)
        right = np.minimum(right, 1 / 0.4)  # where the camera is saturated
        difference = (image - right)[inside]
        rounding = 1 / np.sqrt(12) / (0.4 * full)
        assert np.sqrt(np.mean(difference**2)) < 0.005 + rounding
        assert abs(difference.mean()) < 0.001


def test_without_beads_and_noise_there_is_the_background() -> None:
    assert set(np.unique(drawn(scene((32, 48), "u1"), (32, 48), "u1", []))) == {102}
    assert set(np.unique(drawn(scene((32, 48), "u2"), (32, 48), "u2", []))) == {26214}


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_overlapping_beads_multiply(dtype: str) -> None:
    shape, full = (120, 120), FULL[np.dtype(dtype)]
    a, b = [50.3, 55.7, 2500.0], [75.1, 60.2, 3500.0]
    made = scene(shape, dtype, background=0.2)
    one, other, both = (drawn(made, shape, dtype, p).astype(float) for p in (a, b, [a, b]))
    level = 0.2 * full
    wanted = one * other / level
    far_from_white = wanted < 0.9 * full
    tolerance = 1.6 if dtype == "u1" else 12.0  # two roundings, and of the fixed-point tables
    assert np.abs(both - wanted)[far_from_white].max() <= tolerance
    assert (np.abs(one - level) > 2).sum() > 500


def test_a_bead_at_the_edge_is_cut_off_and_one_outside_is_not_there() -> None:
    big = drawn(scene((200, 200), "u2"), (200, 200), "u2", [100.25, 100.5, 3000.0])
    for left, upper in ((90, 80), (60, 120), (131, 100)):
        shape = (200 - upper, 200 - left)
        cut = drawn(scene(shape, "u2"), shape, "u2", [100.25 - left, 100.5 - upper, 3000.0])
        np.testing.assert_array_equal(cut, big[upper:, left:])
    for away in ([-40.0, 20.0, 0.0], [20.0, 1e12, 0.0], [20.0, -1e12, 0.0]):
        assert set(np.unique(drawn(scene((40, 40), "u2"), (40, 40), "u2", away))) == {26214}


@pytest.mark.parametrize(
    ("dtype", "gain", "beads"),
    [
        ("u1", 0.5, [[40.2, 39.7, 3000.0]]),
        ("u1", 0.02, [[40.2, 39.7, 3000.0]]),
        ("u2", 4.0, [[40.2, 39.7, 3000.0]]),
        ("u1", 0.5, [[35.2, 39.7, 3000.0], [52.0, 44.0, 2500.0]]),
        ("u2", 4.0, [[35.2, 39.7, 3000.0], [52.0, 44.0, 2500.0]]),
    ],
)
def test_noise_has_the_mean_and_the_variance_of_shot_noise(
    dtype: str, gain: float, beads: list[list[float]]
) -> None:
    shape, frames = (80, 80), 1500
    clean_scene, noisy = scene(shape, "u2", background=0.2), scene(shape, dtype, gain, 0.2)
    full = FULL[np.dtype(dtype)]
    clean = drawn(clean_scene, shape, "u2", beads) * (full / 65535)
    stack = np.stack([drawn(noisy, shape, dtype, beads, key) for key in range(frames)])
    mean, variance = stack.mean(axis=0), stack.var(axis=0, ddof=1)
    expected = gain * clean + gain**2 / 8 + 1 / 12  # the last: rounding to counts
    # Neither dark nor white pixels: there the camera clips, and so does this one.
    deviation = np.sqrt(expected)
    used = (clean > 5 * deviation) & (clean < full - 5 * deviation)
    assert used.mean() > 0.95
    edges = np.quantile(clean[used], np.linspace(0, 1, 9))
    for low, high in pairwise(edges):
        part = used & (clean >= low) & (clean <= high)
        samples = frames * part.sum()
        standard_error = np.sqrt(expected[part].mean() / samples)
        fixed_point = 0.02 if dtype == "u1" else 3.0  # counts; far below the noise of a frame
        assert abs((mean - clean)[part].mean()) < 5 * standard_error + fixed_point
        ratio = variance[part].sum() / expected[part].sum()
        # u8 at 0.02 counts per electron: the noise is as small as a count, rounding distorts it.
        assert ratio == pytest.approx(1.0, abs=0.02 if gain > 0.1 else 0.1)


def test_noise_repeats_neither_between_pixels_nor_rows_nor_frames() -> None:
    made = scene((256, 512), "u2", gain=4.0)
    stack = np.stack([drawn(made, (256, 512), "u2", [], key) for key in range(40)]).astype(float)
    stack = (stack - stack.mean()) / stack.std()
    limit = 5 / np.sqrt(stack.size)
    assert abs((stack[:, :, 1:] * stack[:, :, :-1]).mean()) < limit
    assert abs((stack[:, 1:] * stack[:, :-1]).mean()) < limit
    assert abs((stack[1:] * stack[:-1]).mean()) < limit
    rows = {row.tobytes() for row in stack[0]}
    assert len(rows) >= 250  # of 256; a pool has 8,192 places for a row to begin


def test_gain_takes_effect_between_frames() -> None:
    made = scene((64, 64), "u1")
    assert drawn(made, (64, 64), "u1", []).std() == 0
    made.set_gain(1.0)
    assert drawn(made, (64, 64), "u1", []).std() == pytest.approx(np.sqrt(102), rel=0.1)


def test_tiles_are_made_again_after_the_cache_was_full() -> None:
    small = BeadScene((80, 80), 64, TABLE.root, 1 / 16, -500.0, 25.0, 102.0, 255.0, 1, 8192 * 4)
    large = scene((80, 80), "u1")
    for z in (1000.0, 2010.0, 3020.0, 1000.0):
        bead = [40.0 + z / 1e4, 40.3, z]
        a, b = drawn(small, (80, 80), "u1", bead), drawn(large, (80, 80), "u1", bead)
        np.testing.assert_array_equal(a, b)
    assert small.tiles <= 8 < large.tiles


PROGRAM = """
import hashlib, sys
import numpy as np
from marey.cameras.beads import Beads
for dtype, beads in (("u8", 12), ("u16", 12), ("u8", 40), ("u16", 40)):
    camera = Beads(shape=(200, 333), dtype=dtype, beads=beads, rate=5000, gain=0.3, seed=7,
                   bead_px=50, trigger="software")
    camera.open()
    out = np.zeros((200, 333), camera.describe().dtype)
    seen = hashlib.sha256()
    for _ in range(5):
        camera.snap()
        assert camera.grab(out) is not None
        seen.update(out.tobytes())
    print(seen.hexdigest())
"""


def test_every_instruction_set_draws_the_same_frames() -> None:
    results = set()
    for level in ("v4", "v3", "v2", "portable"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "MAREY_SIMD": level},
            capture_output=True,
            text=True,
            check=True,
        )
        results.add(done.stdout)
    assert len(results) == 1
    assert len(set(results.pop().split())) == 4


def test_the_same_seed_and_key_make_the_same_frame() -> None:
    def sum_of(seed: int, key: int) -> str:
        image = drawn(scene((64, 64), "u1", 0.3, seed=seed), (64, 64), "u1", [30, 30, 2e3], key)
        return hashlib.sha256(image.tobytes()).hexdigest()

    assert sum_of(1, 5) == sum_of(1, 5)
    assert len({sum_of(1, 5), sum_of(1, 6), sum_of(2, 5)}) == 3


def test_what_cannot_be_drawn_is_refused() -> None:
    made = scene((64, 64), "u1")
    with pytest.raises(ValueError, match="shape"):
        drawn(made, (64, 65), "u1", [])
    with pytest.raises(ValueError, match="type"):
        drawn(made, (64, 64), "u2", [])
    with pytest.raises(TypeError):
        drawn(made, (64, 64), "f4", [])
    with pytest.raises(ValueError, match="finite"):
        drawn(made, (64, 64), "u1", [np.nan, 1, 1])
    read_only = np.zeros((64, 64), np.uint8)
    read_only.flags.writeable = False
    with pytest.raises(TypeError):
        made.draw(read_only, 0, np.zeros((0, 3)))
    with pytest.raises(TypeError):
        made.draw(np.zeros((64, 128), np.uint8)[:, ::2], 0, np.zeros((0, 3)))
    with pytest.raises(ValueError, match="gain"):
        made.set_gain(-1.0)
    with pytest.raises(ValueError, match="table"):
        BeadScene((64, 64), 64, TABLE.root[:, :100].copy(), 1 / 16, 0.0, 25.0, 1.0, 255.0, 1)
