"""Simulated beads through a whole session: found, tracked, calibrated, against the known truth."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import marey
from marey.cameras import Beads
from marey.errors import ActionError, SettingError, TableError
from marey.lab import Lab
from marey.processors import BeadTracker, LookupTable, Spots, Status

SHAPE = (256, 384)


def camera(**settings: Any) -> Beads:
    return Beads(**({"rate": 100, "shape": SHAPE, "fixed": 3, "tethered": 5} | settings))


def pairs(lab: Lab, frames: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Rows of the tracker with the truth of the same frames, from now on."""
    rows = []
    with lab.tracks.every() as reader:
        for frame in reader:
            if len(frame.data):
                rows.append((frame.source_seq, frame.copy()))
            if len(rows) == frames:
                break
    truth = lab.stream("cam.truth")
    found = []
    with truth.every(start="oldest") as reader:
        for frame in reader:
            if frame.source_seq == rows[0][0]:
                found.append((rows.pop(0)[1], frame.copy()))
            if not rows:
                return found
    raise AssertionError("the camera ended")


def errors(found: list[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[np.float64]:
    """Errors (frames, beads, 3) in x and y (px) and z (nm); each bead's true one is the nearest."""
    result = []
    for rows, true in found:
        away = np.hypot(rows["x"][:, None] - true["x"], rows["y"][:, None] - true["y"])
        mine = true[away.argmin(axis=1)]
        result.append(np.stack([rows[axis] - mine[axis] for axis in "xyz"], axis=1))
    return np.array(result)


def test_found_and_tracked_as_the_truth_says(runtime: Path) -> None:
    session = marey.Session("bench", cam=camera(), tracks=BeadTracker(source="cam"))
    with session.running() as lab:
        found = pairs(lab, 40)
        assert len(lab.tracks.get("rois")) == 8
    assert all(len(rows) == 8 for rows, _ in found)
    assert all((rows["status"] == Status.OK).all() for rows, _ in found)
    assert len({tuple(rows["bead"]) for rows, _ in found}) == 1
    off = errors(found)
    assert np.sqrt(np.mean(off[:, :, :2] ** 2)) < 0.01
    assert np.isnan(off[:, :, 2]).all()


def test_calibrated_by_itself(runtime: Path, tmp_path: Path) -> None:
    session = marey.Session(
        "bench", cam=camera(tether=(300.0, 500.0)), tracks=BeadTracker(source="cam")
    )
    file = tmp_path / "table.npz"
    told: list[Any] = []
    with session.running() as lab:
        pairs(lab, 1)
        home = lab.cam.get("focus")
        answer = lab.tracks.do(
            "calibrate",
            device="cam",
            setting="focus",
            start=home - 1.5,
            stop=home + 1.0,
            steps=26,
            frames_per_step=4,
            file=str(file),
            settle=0.0,
            progress=told.append,
        )
        assert lab.cam.get("focus") == home
        assert lab.tracks.get("table") == str(file)
        found = pairs(lab, 40)
    assert answer["heights"] == 26
    assert (answer["from"], answer["to"]) == pytest.approx((-1000, 1500))
    assert told[0][0] == 0
    assert told[-1][0] > 0.9
    table = LookupTable.load(file)
    assert table.nm_per_px == 100.0
    assert table.meta["setting"] == "focus"
    off = errors(found)
    assert np.isfinite(off).all()
    # The bead that the table was made of rests at 0, so that heights agree with the truth.
    assert np.sqrt(np.mean(off[:, :, 2] ** 2)) < 5
    assert np.abs(off[:, :, 2]).max() < 25


def test_regions_change_while_it_runs(runtime: Path) -> None:
    tracker = BeadTracker(source="cam", find_first=False)
    session = marey.Session("bench", cam=camera(), tracks=tracker)
    with session.running() as lab:
        with lab.tracks.every() as reader:
            assert len(next(iter(reader)).data) == 0
        rois = lab.tracks.do("find")
        assert len(rois) == 8
        assert lab.tracks.get("rois") == rois
        (rows, _) = pairs(lab, 1)[0]
        assert rows["bead"].tolist() == [roi["id"] for roi in rois]
        lab.tracks.do("remove_roi", id=2)
        assert lab.tracks.do("add_roi", x=rois[2]["x"], y=rois[2]["y"]) == 8
        with pytest.raises(ActionError, match=r"tracks.move_roi\(\): found id 2, expected one of"):
            lab.tracks.do("move_roi", id=2, x=5, y=5)
        with pytest.raises(SettingError, match=r"tracks.rois.*more than once: \[1\]"):
            lab.tracks.set(rois=[{"id": 1, "x": 5, "y": 5}, {"id": 1, "x": 9, "y": 5}])
        with pytest.raises(TableError, match="there is no such file"):
            lab.tracks.set(table="none.npz")
        assert [roi["id"] for roi in lab.tracks.get("rois")] == [0, 1, 3, 4, 5, 6, 7, 8]
        assert lab.tracks.get("table") == ""
        lab.tracks.set(rois=rois[:1])
        seq = lab.tracks.head
        with lab.tracks.every() as reader:
            lengths = {frame.seq: len(frame.data) for frame in islice(reader, 20)}
        assert all(n == 1 for at, n in lengths.items() if at > seq + 2)


def test_a_calibration_that_cannot_be(runtime: Path, tmp_path: Path) -> None:
    session = marey.Session("bench", cam=camera(), tracks=BeadTracker(source="cam"))
    sweep = {"steps": 8, "frames_per_step": 1, "file": str(tmp_path / "t.npz"), "settle": 0.0}
    with session.running() as lab:
        pairs(lab, 1)
        home = lab.cam.get("focus")
        with pytest.raises(SettingError, match=r"cam\.focus"):
            lab.tracks.do(
                "calibrate", device="cam", setting="focus", start=home, stop=999.0, **sweep
            )
        assert lab.cam.get("focus") == home
        with pytest.raises(marey.errors.NodeMissing, match="has no node 'stage'"):
            lab.tracks.do(
                "calibrate", device="stage", setting="target", start=0.0, stop=1.0, **sweep
            )
        with pytest.raises(ActionError, match="steps"):
            lab.tracks.do(
                "calibrate",
                device="cam",
                setting="focus",
                start=0.0,
                stop=1.0,
                **(sweep | {"steps": 2}),
            )
        assert len(pairs(lab, 3)) == 3
    assert list(tmp_path.iterdir()) == []


def test_spots_of_the_same_camera(runtime: Path) -> None:
    session = marey.Session("bench", cam=camera(), spots=Spots(source="cam", diameter=9))
    with session.running() as lab, lab.spots.every() as reader:
        frame = next(iter(reader))
        assert frame.data.dtype == Spots.row
        assert len(frame.data) > 0
