"""The simulated scene: what is drawn is what the truth says, and settings mean what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from marey.cameras.beads import TRUTH, Beads
from marey.cameras.optics import Optics

Array = np.ndarray[Any, Any]

SMALL: dict[str, Any] = {"shape": (300, 400), "beads": 12, "trigger": "software", "rate": 1000}


def opened(**settings: Any) -> tuple[Beads, Array]:
    camera = Beads(**(SMALL | settings))
    camera.open()
    spec = camera.describe()
    return camera, np.zeros(spec.shape, spec.dtype)


def frames(camera: Beads, out: Array, count: int) -> Array:
    taken = []
    for _ in range(count):
        camera.snap()
        assert camera.grab(out) is not None
        taken.append(out.copy())
    return np.stack(taken)


def test_the_truth_is_where_the_beads_are_drawn() -> None:
    camera, out = opened(dtype="u16", gain=0)
    emitted: list[tuple[str, Array]] = []
    camera._emit = lambda stream, rows: emitted.append((stream, rows.copy()))
    image = frames(camera, out, 3)[-1] / (0.4 * 65535)
    assert [name for name, _ in emitted] == ["truth"] * 3
    rows = emitted[-1][1]
    np.testing.assert_array_equal(rows, camera.truth)
    assert rows.dtype == TRUTH == camera.also()["truth"].dtype
    assert rows["bead"].tolist() == list(range(12))
    y, x = np.mgrid[:300, :400]
    for _, bead_x, bead_y, z in rows.tolist():
        r = np.hypot(x - bead_x, y - bead_y)
        fine = np.arange(0, 33, 1 / 64)
        profile = Optics().profiles(100 * fine, np.array([z + 3000.0]))[0]
        inside = r < 0.85 * 31.5
        right = np.minimum(np.interp(r[inside], fine, profile), 2.5)
        assert np.sqrt(np.mean((image[inside] - right) ** 2)) < 0.005


def test_fixed_beads_rest_and_tethered_ones_move_about_their_height() -> None:
    camera, out = opened(fixed=4, stiffness=10, stiffness_z=40, tether=(700, 800))
    seen = []
    for _ in range(300):
        frames(camera, out, 1)
        seen.append(camera.truth)
    path = np.stack(seen)
    assert (path["z"][:, :4] == 0).all()
    assert np.ptp(path["x"][:, :4], axis=0).max() == 0
    height = path["z"][:, 4:].mean(axis=0)
    assert ((height > 680) & (height < 820)).all()
    assert path["x"][:, 4:].std(axis=0) == pytest.approx(0.203, rel=0.35)  # sqrt(kT / k) = 20.3 nm
    assert path["z"][:, 4:].std(axis=0) == pytest.approx(10.1, rel=0.35)


def test_the_same_seed_makes_the_same_frames_bit_for_bit() -> None:
    one, again, other = (frames(*opened(seed=s), 4) for s in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.3


def test_frames_taken_on_schedule_are_those_taken_by_hand() -> None:
    by_snap = frames(*opened(seed=9), 6)
    camera, out = opened(seed=9, trigger="free", device_buffer=100_000)
    for right in by_snap:
        while camera.grab(out) is None:
            pass
        np.testing.assert_array_equal(out, right)


def test_focus_shifts_all_beads_and_is_live() -> None:
    low, out = opened(dtype="u16", gain=0, fixed=12, focus=-2.0)
    before = frames(low, out, 1)[0]
    low.focus = -5.5
    low.changed({"focus"})
    after = frames(low, out, 1)[0]
    assert (before != after).mean() > 0.1
    assert (low.truth["z"] == 0).all()
    other, out = opened(dtype="u16", gain=0, fixed=12, focus=-5.5)
    np.testing.assert_array_equal(frames(other, out, 1)[0], after)


def test_gain_is_live() -> None:
    camera, out = opened(beads=0, gain=0)
    assert frames(camera, out, 1).std() == 0
    camera.gain = 2.0
    camera.changed({"gain"})
    assert frames(camera, out, 1).var() == pytest.approx(2 * 102, rel=0.05)


def test_rate_is_live_and_told() -> None:
    camera, out = opened(trigger="free", rate=10)
    assert camera.describe().rate == 10
    assert camera.grab(out) is not None
    camera.rate = 2000
    camera.changed({"rate"})
    times = []
    while len(times) < 3:
        stamp = camera.grab(out)
        if stamp is not None:
            times.append((stamp.device_frame, stamp.device_time))
    (first, start), *rest = times
    for frame, moment in rest:
        assert moment - start == pytest.approx((frame - first) * 500_000, abs=1)


@pytest.mark.parametrize(
    ("settings", "counts"),
    [
        ({}, (10, 90)),
        ({"fixed": 0, "tethered": 3}, (0, 3)),
        ({"beads": 100}, (10, 90)),
        ({"beads": 5}, (5, 0)),
        ({"beads": 200, "fixed": 50}, (50, 150)),
        ({"beads": 0}, (0, 0)),
    ],
)
def test_beads_is_the_total(settings: dict[str, Any], counts: tuple[int, int]) -> None:
    assert Beads(**settings).counts == counts


def test_scenes_without_beads_and_with_too_many_are_drawn() -> None:
    empty, out = opened(beads=0)
    assert frames(empty, out, 1).shape == (1, 300, 400)
    assert empty.also()["truth"].shape == (1,)
    assert len(empty.truth) == 0
    crowd, out = opened(beads=500)
    assert len(np.unique(frames(crowd, out, 1))) > 50


def test_the_description_is_complete() -> None:
    spec = Beads(dtype="u16", nm_per_px=80).describe()
    assert (spec.shape, spec.dtype, spec.pixel_format) == ((1024, 1280), np.dtype("u2"), "Mono16")
    assert spec.meta["nm_per_px"] == 80
    assert set(Beads().also()["truth"].fields) == {"bead", "x", "y", "z"}


@pytest.mark.parametrize(
    ("field", "value", "bound"),
    [
        ("rate", 0.05, "0.1"),
        ("rate", 200_001, "200000"),
        ("fixed", -1, "0"),
        ("fixed", 5001, "5000"),
        ("tethered", 5001, "5000"),
        ("beads", 5001, "5000"),
        ("focus", 11, "10"),
        ("gain", -0.1, "0"),
        ("background", 1.5, "1"),
        ("dtype", "f32", "'u8' or 'u16'"),
        ("shape", (0, 10), "1"),
        ("tether", (5, 1), "greatest"),
        ("bead_px", 4, "8"),
        ("rate", float("nan"), "finite"),
    ],
)
def test_what_is_out_of_range_is_refused_with_field_value_and_range(
    field: str, value: Any, bound: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Beads(**{field: value})
    (problem,) = refused.value.errors()
    assert problem["loc"][0] == field
    assert bound in problem["msg"]
