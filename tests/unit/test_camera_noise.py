"""The noise camera: distributions, types, determinism."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from marey.cameras.noise import Noise

Array = np.ndarray[Any, Any]


def frames(count: int, **settings: Any) -> Array:
    camera = Noise(trigger="software", **settings)
    camera.open()
    spec = camera.describe()
    out = np.zeros((count, *spec.shape), spec.dtype)
    for frame in out:
        camera.snap()
        assert camera.grab(frame) is not None
    camera.close()
    return out


@pytest.mark.parametrize("mode", ["gaussian", "cached"])
@pytest.mark.parametrize(
    ("dtype", "mean", "sigma"), [("u8", 100, 10), ("u16", 3e4, 500), ("f32", 5, 2)]
)
def test_gaussian_noise_has_its_mean_and_width(
    mode: str, dtype: str, mean: float, sigma: float
) -> None:
    seen = frames(20, shape=(200, 333), mode=mode, dtype=dtype, mean=mean, sigma=sigma)
    values = seen.astype(float)
    rounding = 0.0 if dtype == "f32" else 1 / 12
    assert values.mean() == pytest.approx(mean, abs=6 * sigma / np.sqrt(seen.size) + 1e-3)
    assert values.var() == pytest.approx(sigma**2 + rounding, rel=0.01)
    inside = (np.abs(values - mean) < sigma).mean()
    assert inside == pytest.approx(0.6827, abs=0.03 if dtype == "u8" else 0.003)
    limit = 6 * sigma**2 / np.sqrt(values.size)
    centred = values - mean
    for axis in range(3):
        a, b = np.moveaxis(centred, axis, 0)[1:], np.moveaxis(centred, axis, 0)[:-1]
        assert abs((a * b).mean()) < limit


def test_cached_noise_leaves_no_pattern_of_columns_behind() -> None:
    seen = frames(400, shape=(256, 256), mode="cached", dtype="u16", mean=1000, sigma=100)
    columns = seen.mean(axis=(0, 1))
    assert columns.std() < 1.5 * 100 / np.sqrt(400 * 256)


@pytest.mark.parametrize(("dtype", "top"), [("u8", 256), ("u16", 65536), ("f32", 1.0)])
def test_uniform_noise_is_even(dtype: str, top: float) -> None:
    values = frames(8, shape=(128, 251), mode="uniform", dtype=dtype).astype(float)
    assert values.min() >= 0
    assert values.max() < top
    counts, _ = np.histogram(values, bins=16, range=(0, top))
    expected = values.size / 16
    assert np.sum((counts - expected) ** 2 / expected) < 45  # chi squared, 15 d.f.: p = 8e-5


@pytest.mark.parametrize("mode", ["uniform", "gaussian", "cached"])
def test_the_same_seed_makes_the_same_frames(mode: str) -> None:
    one, again = (frames(3, shape=(40, 60), mode=mode, seed=5) for _ in range(2))
    other = frames(3, shape=(40, 60), mode=mode, seed=6)
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5
    assert (one[0] != one[1]).mean() > 0.5


def test_colour_frames_have_three_channels_and_their_format_is_told() -> None:
    camera = Noise(shape=(32, 48), color=True)
    assert camera.describe().shape == (32, 48, 3)
    assert camera.describe().pixel_format == "RGB8"
    seen = frames(2, shape=(32, 48), color=True, mode="gaussian")
    assert np.abs(np.corrcoef(seen.reshape(-1, 3).T) - np.eye(3)).max() < 0.1


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"rate": 0.05}, "rate"),
        ({"rate": 200_001}, "rate"),
        ({"dtype": "u32"}, "dtype"),
        ({"dtype": "u16", "color": True}, "dtype"),
        ({"shape": (0, 5)}, "shape"),
        ({"mode": "loud"}, "mode"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Noise(**settings)
