"""The bead tracker as a node: regions, table, rows; without a session around it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from marey.errors import ActionError, SettingError, TableError
from marey.processors import BeadTracker, LookupTable, Roi, Status
from marey.processors.gray import full_scale, gray
from marey.processors.regions import Regions
from marey.processors.sweep import FocusSweep
from marey.stream import Spec
from support.rings import as_u8, picture

SHAPE = (240, 320)
BEADS = [(80.3, 70.8, -200.0), (190.6, 90.1, 350.0), (120.2, 170.4, 10.0), (255.7, 180.2, 700.0)]
SOURCE = Spec(SHAPE, np.dtype("u1"), rate=200, pixel_format="Mono8", meta={"nm_per_px": 100.0})


def scene(beads: Any = BEADS, **how: Any) -> NDArray[np.uint8]:
    return as_u8(picture(SHAPE, beads, noise=1.0, **how))


def opened(**settings: Any) -> BeadTracker:
    tracker = BeadTracker(source="cam", **settings)
    tracker.open()
    tracker.describe(SOURCE)
    return tracker


def rois_at(*places: tuple[float, float]) -> list[Roi]:
    return [Roi(id=i, x=x, y=y) for i, (x, y) in enumerate(places)]


@pytest.fixture(scope="module")
def table() -> LookupTable:
    z = np.arange(-1000.0, 1001.0, 50.0)
    profiles = []
    for height in z:
        tracker = opened(rois=rois_at((100, 100)))
        sweep = FocusSweep(np.array([0], np.uint32), np.array([height]), 31)
        tracker._sweep = sweep
        moves = sweep.run(lambda place: None, np.array([height]), 0.0, 1, 0.0)
        next(moves)
        tracker.track(picture((201, 201), [(100.2, 99.7, height)]).astype(np.float32), 2**62)
        assert next(moves) == (1.0, "focus back at 0")
        profiles.append(sweep._sum[0, 0])
    return LookupTable.build(z, profiles, nm_per_px=100.0)


# ---------------------------------------------------------------- rows


def test_every_bead_has_a_row_in_every_frame() -> None:
    tracker = opened(rois=rois_at(*[(x + 2, y - 1) for x, y, _ in BEADS], (300.0, 20.0)))
    rows = tracker.track(scene())
    assert rows.dtype == BeadTracker.row
    assert rows["bead"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(rows["x"][:4], [b[0] for b in BEADS], atol=0.03)
    np.testing.assert_allclose(rows["y"][:4], [b[1] for b in BEADS], atol=0.03)
    assert np.isnan(rows["z"]).all()
    assert rows["status"][:4].tolist() == [Status.OK] * 4
    assert rows["status"][4] != Status.OK
    assert np.isnan([rows["x"][4], rows["y"][4]]).all()
    gone = tracker.track(np.full(SHAPE, 100, np.uint8))
    assert gone["bead"].tolist() == [0, 1, 2, 3, 4]
    assert set(gone["status"].tolist()) == {Status.NO_SIGNAL}
    back = tracker.track(scene())
    assert back["status"][:4].tolist() == [Status.OK] * 4


def test_no_regions_no_rows() -> None:
    rows = opened().track(scene())
    assert rows.shape == (0,)
    assert rows.dtype == BeadTracker.row


def test_regions_of_differing_size() -> None:
    rois = [Roi(id=7, x=80, y=71), Roi(id=3, x=190, y=90, size=48), Roi(id=5, x=120, y=170)]
    rows = opened(rois=rois).track(scene())
    assert rows["bead"].tolist() == [7, 3, 5]
    assert (rows["status"] == Status.OK).all()
    np.testing.assert_allclose(rows["x"], [80.3, 190.6, 120.2], atol=0.03)


def test_heights(table: LookupTable, tmp_path: Path) -> None:
    table.save(tmp_path / "t.npz")
    rois = rois_at(*[b[:2] for b in BEADS])
    rows = opened(rois=rois, table=str(tmp_path / "t.npz")).track(scene())
    assert (rows["status"] == Status.OK).all()
    np.testing.assert_allclose(rows["z"], [b[2] for b in BEADS], atol=10)


def test_what_it_says_of_its_rows() -> None:
    spec = BeadTracker(source="cam", max_beads=50, roi_size=48).describe(SOURCE)
    assert (spec.shape, spec.rate) == ((50,), 200)
    assert set(spec.fields) == set(BeadTracker.row.names or ())
    assert spec.meta["overlay"] == {"x": "x", "y": "y", "label": "bead", "size": 48}
    assert spec.meta["nm_per_px"] == 100.0
    assert spec.meta["status"]["5"] == "out_of_table"
    assert BeadTracker(source="cam", nm_per_px=65).describe(SOURCE).meta["nm_per_px"] == 65


@pytest.mark.parametrize(
    ("pixel_format", "dtype", "expected"),
    [
        ("Mono8", "u1", 255),
        ("Mono12", "u2", 4095),
        ("Mono16", "u2", 65535),
        ("RGB8", "u1", 255),
        ("", "u2", 65535),
        ("Mono16", "u1", 255),
        ("Mono32f", "f4", 0),
    ],
)
def test_full_scale(pixel_format: str, dtype: str, expected: int) -> None:
    assert full_scale(Spec((4, 4), np.dtype(dtype), pixel_format=pixel_format)) == expected


def test_a_saturated_bead() -> None:
    image = scene(background=200.0, contrast=140.0)
    (row,) = opened(rois=rois_at(BEADS[0][:2])).track(image)
    assert row["status"] == Status.SATURATED
    assert row["x"] == pytest.approx(BEADS[0][0], abs=0.1)
    (row,) = opened(rois=rois_at(BEADS[0][:2]), saturation=300).track(image)
    assert row["status"] == Status.OK


def test_colour_is_tracked_as_gray() -> None:
    image = scene()
    colour = np.repeat(image[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(gray(colour), image)
    for kind in ("u2", "f4"):
        np.testing.assert_array_equal(gray(colour.astype(kind)), image.astype(kind))
    assert gray(image) is image
    assert gray(image[:, :, None]).base is not None


# ---------------------------------------------------------------- regions


def test_regions_follow_their_beads() -> None:
    beads = np.array(BEADS)
    tracker = opened(rois=rois_at(*[b[:2] for b in BEADS]))
    still = opened(rois=rois_at(*[b[:2] for b in BEADS]), follow=False)
    for step in range(9):
        beads[:, 0] += 4.0
        image = scene(beads)
        rows = tracker.track(image)
        assert (rows["status"] == Status.OK).all(), step
        np.testing.assert_allclose(rows["x"], beads[:, 0], atol=0.05)
        left = still.track(image)
    assert (left["status"] != Status.OK).any()


def test_added_moved_and_removed() -> None:
    tracker = opened(rois=rois_at(BEADS[0][:2], BEADS[1][:2]))
    tracker.track(scene())
    assert tracker.add_roi(x=120.0, y=170.0) == 2
    rows = tracker.track(scene())
    assert rows["bead"].tolist() == [0, 1, 2]
    assert rows["x"][2] == pytest.approx(120.2, abs=0.03)
    tracker.remove_roi(id=0)
    assert tracker.track(scene())["bead"].tolist() == [1, 2]
    tracker.move_roi(id=1, x=256.0, y=180.0)
    assert tracker.track(scene())["x"][0] == pytest.approx(255.7, abs=0.03)
    assert tracker.add_roi(x=80.0, y=70.0) == 3
    assert [roi.id for roi in tracker.rois] == [1, 2, 3]
    assert tracker.rois[0].x == pytest.approx(255.7, abs=0.03)
    for refused in (lambda: tracker.move_roi(id=9, x=1, y=1), lambda: tracker.remove_roi(id=0)):
        with pytest.raises(ActionError, match=r"found id \d, expected one of 1, 2, 3"):
            refused()


def test_declared_anew_while_it_runs() -> None:
    tracker = opened(rois=rois_at(BEADS[0][:2], BEADS[1][:2]))
    moved = [(x + 6, y, z) for x, y, z in BEADS]
    tracker.track(scene(moved))
    tracker.rois = [*tracker.rois, Roi(id=9, x=120, y=170)]
    tracker.changed({"rois"})
    rows = tracker.track(scene(moved))
    assert rows["bead"].tolist() == [0, 1, 9]
    assert (rows["status"] == Status.OK).all()
    tracker.rois = [Roi(id=9, x=80, y=70)]
    tracker.changed({"rois"})
    assert tracker.track(scene())["x"][0] == pytest.approx(80.3, abs=0.03)
    tracker.rois = []
    tracker.changed({"rois"})
    assert len(tracker.track(scene())) == 0


def test_opened_again_the_regions_are_where_they_were() -> None:
    tracker = opened(rois=rois_at(BEADS[0][:2]))
    for step in range(10):
        tracker.track(scene([(80.3 + 5 * step, 70.8, 0.0)]))
    tracker.close()
    tracker.open()
    (row,) = tracker.track(scene([(126.0, 70.8, 0.0)]))
    assert row["status"] == Status.OK


def test_found_by_itself_and_numbers_are_kept() -> None:
    tracker = opened()
    tracker.find_in(scene())
    assert len(tracker.rois) == 4
    rows = tracker.track(scene())
    by_id = {int(r["bead"]): (float(r["x"]), float(r["y"])) for r in rows}
    assert sorted(x for x, _ in by_id.values()) == pytest.approx(
        sorted(b[0] for b in BEADS), abs=0.03
    )
    # One leaves, another comes, the others stay who they are.
    now = [*BEADS[1:], (60.0, 190.0, 0.0)]
    tracker.find_in(scene(now))
    again = {int(r["bead"]): (float(r["x"]), float(r["y"])) for r in tracker.track(scene(now))}
    assert len(again) == 4
    kept = set(by_id) & set(again)
    assert len(kept) == 3
    for bead in kept:
        assert again[bead] == pytest.approx(by_id[bead], abs=0.1)
    (new,) = set(again) - set(by_id)
    assert new == 4


def test_numbers_are_not_given_twice() -> None:
    regions = Regions()
    regions.declare(rois_at((1, 1), (2, 2)))
    regions.declare([])
    assert regions.new_id() == 2
    regions.declare([Roi(id=10, x=0, y=0)])
    assert regions.new_id() == 11


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"rois": [{"id": 1, "x": 0, "y": 0}, {"id": 1, "x": 9, "y": 9}]}, "more than once: .1."),
        ({"rois": [{"id": -1, "x": 0, "y": 0}]}, "greater than or equal to 0"),
        ({"rois": [{"id": 1, "x": float("nan"), "y": 0}]}, "finite"),
        ({"rois": [{"id": 1, "x": 0, "y": 0, "size": 8}]}, "greater than or equal to 16"),
        ({"rois": [{"id": 1, "x": 0, "y": 0, "radius": 8}]}, "Extra inputs"),
        ({"roi_size": 8}, "greater than or equal to 16"),
        ({"block": 4}, "less than or equal to 1"),
    ],
)
def test_settings_that_are_refused(bad: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        BeadTracker(source="cam", **bad)


def test_more_regions_than_there_is_room_for() -> None:
    rois = rois_at(*[b[:2] for b in BEADS])
    with pytest.raises(
        SettingError, match=r"rois: found 4 regions, expected at most max_beads = 3"
    ):
        opened(rois=rois, max_beads=3)
    tracker = opened(rois=rois[:3], max_beads=3)
    with pytest.raises(ActionError, match="max_beads is 3"):
        tracker.add_roi(x=5, y=5)
    tracker.find_in(scene())
    assert len(tracker.rois) == 3


# ---------------------------------------------------------------- tables


def test_tables_that_are_refused(table: LookupTable, tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    with pytest.raises(TableError, match="there is no such file"):
        opened(table=str(path))
    table.save(path)
    rois = rois_at((80, 70))
    with pytest.raises(TableError, match="table: its profiles reach 30 px far, regions of 200 px"):
        opened(table=str(path), roi_size=200, rois=rois)
    tracker = BeadTracker(source="cam", table=str(path), nm_per_px=65)
    tracker.open()
    with pytest.raises(TableError, match="was made at 100 nm per px, the pictures have 65"):
        tracker.describe(SOURCE)


def test_another_table_while_it_runs(table: LookupTable, tmp_path: Path) -> None:
    table.save(tmp_path / "t.npz")
    tracker = opened(rois=rois_at(BEADS[0][:2]))
    assert np.isnan(tracker.track(scene())["z"][0])
    tracker.table = str(tmp_path / "t.npz")
    tracker.changed({"table"})
    assert tracker.track(scene())["z"][0] == pytest.approx(-200, abs=10)
    tracker.table = str(tmp_path / "none.npz")
    with pytest.raises(TableError):
        tracker.changed({"table"})
    tracker.table = ""
    tracker.changed({"table"})
    assert np.isnan(tracker.track(scene())["z"][0])


def test_a_table_with_longer_profiles_is_cut(table: LookupTable, tmp_path: Path) -> None:
    longer = np.concatenate([table.profiles, table.profiles[:, -1:]], axis=1)
    np.savetxt(tmp_path / "zlut.txt", np.vstack([table.z, longer.T]))
    tracker = opened(rois=rois_at(BEADS[1][:2]), table=str(tmp_path / "zlut.txt"))
    assert tracker.track(scene())["z"][0] == pytest.approx(350, abs=10)


def sweep_of(profiles: NDArray[np.float32], frames: int) -> FocusSweep:
    """A sweep that took `profiles` (steps, frames, beads, radii)."""
    steps, _, beads, radii = profiles.shape
    ids = np.arange(beads, dtype=np.uint32) + 10
    sweep = FocusSweep(ids, np.arange(steps) * -50.0, radii)
    moves = sweep.run(lambda place: None, np.arange(steps) * 1.0, 0.0, frames, 0.0)
    for step in profiles:
        next(moves)
        for frame in step:
            sweep.take(2**62, ids, frame)
            sweep.count(2**62)
    assert next(moves) == (1.0, "focus back at 0")
    sweep.take(2**62, ids, profiles[0, 0])  # not of the sweep any more
    sweep.count(2**62)
    assert next(moves, None) is None
    return sweep


def test_a_sweep_takes_the_steadiest_bead() -> None:
    random = np.random.default_rng(0)
    shape = random.normal(0, 1, (6, 1, 3, 12))
    unrest = np.array([0.3, 0.01, 0.1])[:, None]
    profiles = (shape + unrest * random.normal(0, 1, (6, 8, 3, 12))).astype(np.float32)
    sweep = sweep_of(profiles, 8)
    assert sweep.steadiest() == 11
    table = sweep.table(11, radius_step=1.0)
    np.testing.assert_array_equal(table.z, np.arange(-5, 1) * 50.0)
    np.testing.assert_allclose(table.profiles, profiles[::-1, :, 1].mean(axis=1), atol=1e-5)
    with pytest.raises(TableError, match="bead 3: is none of those"):
        sweep.table(3)


def test_a_sweep_in_which_beads_were_lost() -> None:
    profiles = np.random.default_rng(0).normal(0, 1, (6, 2, 2, 12)).astype(np.float32)
    profiles[2, :, 0] = np.nan
    profiles[4, 0, 1] = np.nan
    sweep = sweep_of(profiles, 2)
    assert sweep.steadiest() == 11
    np.testing.assert_allclose(sweep.table(11).profiles[1], profiles[4, 1, 1], atol=1e-6)
    with pytest.raises(TableError, match="bead 10: was not seen at 1 of 6 heights, first at -100"):
        sweep.table(10)
    profiles[:, :, 1] = np.nan
    with pytest.raises(TableError, match="no bead was seen at all 6 heights; the best at 5"):
        sweep_of(profiles, 2).steadiest()


def test_frames_of_before_the_move_do_not_count() -> None:
    ids = np.array([0], np.uint32)
    sweep = FocusSweep(ids, np.arange(4.0), 10)
    places: list[float] = []
    moves = sweep.run(places.append, np.arange(4.0), 7.0, 1, 0.0)
    next(moves)
    sweep.take(0, ids, np.ones((1, 10), np.float32))
    sweep.count(0)
    assert sweep.frames == 0
    assert next(moves) == (0.0, "focus at 0")
    for _ in range(5):
        sweep.count(2**62)
        last = next(moves, None)
    assert last is None
    assert places == [0, 1, 2, 3, 7]


def test_a_calibration_needs_beads() -> None:
    tracker = opened()
    with pytest.raises(ActionError, match="there are no beads"):
        next(tracker.calibrate("cam", "focus", -1, 1, 11, 5, "t.npz"))
    tracker = opened(rois=rois_at((80, 70)))
    with pytest.raises(ActionError, match="start and stop are the same"):
        next(tracker.calibrate("cam", "focus", 1, 1, 11, 5, "t.npz"))


# ---------------------------------------------------------------- real beads


def frames_of(folder: Path) -> list[NDArray[Any]]:
    frames = []
    for file in sorted(folder.glob("*.png")):
        with av.open(str(file)) as container:
            frames.extend(f.to_ndarray(format="gray") for f in container.decode(video=0))
    return frames


def test_five_colloids_through_fifty_frames(shared_data: Path) -> None:
    frames = frames_of(shared_data / "brightfield")
    tracker = opened(roi_size=40)
    tracker.find_in(frames[0])
    assert len(tracker.rois) == 5
    tracks = np.stack([tracker.track(frame) for frame in frames])
    assert tracks.shape == (50, 5)
    assert np.isin(tracks["status"], [Status.OK, Status.SATURATED]).all()
    assert tracks["quality"].min() > 0.9
    steps = np.hypot(np.diff(tracks["x"], axis=0), np.diff(tracks["y"], axis=0))
    assert steps.max() < 6  # they diffuse
    assert 0.1 < np.median(steps) < 2


def test_all_five_with_regions_of_the_usual_size(shared_data: Path) -> None:
    for frame in frames_of(shared_data / "brightfield")[::10]:
        tracker = opened()
        tracker.find_in(frame)
        assert len(tracker.rois) == 5
        assert np.isfinite(tracker.track(frame)["x"]).all()
