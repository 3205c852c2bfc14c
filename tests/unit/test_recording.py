"""Recordings: what was appended comes back exactly, by marey, NumPy, pandas and Zarr."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray
from zarr.core.sync import cleanup_resources

from marey.errors import RecordingError
from marey.recording import Gap, RecordedItem, Recording, RecordingWriter, open_recording
from marey.stream import STAMP, UNKNOWN, UNKNOWN_TIME, Source, Spec, Stream


@pytest.fixture(autouse=True)
def no_threads_of_zarr() -> Iterator[None]:
    """End the threads that Zarr keeps for its next use."""
    yield
    cleanup_resources()


def item(
    data: NDArray[Any], seq: int, epoch: int = 1, lost: range = range(0), **stamps: int
) -> RecordedItem:
    """An item as a stream would give it."""
    stamp = np.array([(seq, UNKNOWN, seq + 7, UNKNOWN_TIME, seq * 10, seq * 10, seq * 10)], STAMP)
    for name, value in stamps.items():
        stamp[name] = value
    return RecordedItem(data, stamp, epoch, lost)


def pixels(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> NDArray[Any]:
    """Random bytes as an array of finite numbers."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 256, (*shape, np.dtype(dtype).itemsize), "u1").view(dtype)[..., 0]


def in_zarr(recording: Recording | RecordingWriter) -> zarr.Group:
    return zarr.open_group(recording.path, mode="r")


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((4, 6), "u1"),
        ((5, 3), "<u2"),
        ((5, 3), ">u2"),
        ((3, 4), "f4"),
        ((2, 3), "f2"),
        ((3, 4, 3), "u1"),
        ((2, 3, 4, 2), "i4"),
        ((7,), "f8"),
        ((3, 3), "?"),
    ],
)
def test_frames_come_back_exactly(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    frames = pixels((11, *shape), dtype) if dtype != "?" else pixels((11, *shape), "u1") > 99
    spec = Spec(shape, np.dtype(dtype), rate=10, pixel_format="Mono8", meta={"nm_per_px": 50.0})
    with RecordingWriter.create(tmp_path, chunk=3 * spec.nbytes) as writer:
        writer.add_stream("cam", spec)
        for seq, frame in enumerate(frames):
            assert writer.append("cam", item(frame, seq))
    with open_recording(writer.path) as rec:
        cam = rec["cam"]
        assert rec.complete
        assert (rec.streams, len(cam), cam.spec) == (["cam"], 11, spec)
        assert np.array_equal(cam.frames, frames)
        assert cam.frames.dtype == frames.dtype
        assert all(np.array_equal(one.data, frame) for one, frame in zip(cam, frames, strict=True))
        assert cam.gaps == []
        assert np.array_equal(cam.stamps["device_frame"], np.arange(11) + 7)
    stored = in_zarr(writer)["cam"]
    assert np.array_equal(stored["frames"][:], frames)
    assert np.array_equal(stored["stamps/seq"][:], np.arange(11))
    assert np.array_equal(stored["stamps/shape"][:], [shape] * 11)
    assert stored["stamps/device_time"][0] == UNKNOWN_TIME


def test_a_frame_smaller_than_its_slot_keeps_its_shape(tmp_path: Path) -> None:
    shapes = [(4, 6), (2, 6), (4, 1), (1, 1), (4, 6)]
    with RecordingWriter.create(tmp_path) as writer:
        writer.add_stream("cam", Spec((4, 6), np.dtype("u2")))
        for seq, shape in enumerate(shapes):
            assert writer.append("cam", item(np.full(shape, seq + 1, "u2"), seq))
    cam = open_recording(writer.path)["cam"]
    assert [one.data.shape for one in cam] == shapes
    assert all((one.data == one.seq + 1).all() for one in cam)
    slots = in_zarr(writer)["cam/frames"][:]
    for seq, (h, w) in enumerate(shapes):
        assert (slots[seq, :h, :w] == seq + 1).all()
        assert slots[seq].sum() == (seq + 1) * h * w


ROW = np.dtype(
    [
        ("bead", "u2"),
        ("z", "f4"),
        ("seq", "i4"),
        ("box", "f8", (2, 2)),
        ("label", "S5"),
        ("name", "U3"),
        ("ok", "?"),
        ("phase", "c8"),
        ("big", ">i2"),
        ("a/b..", "u1"),
        ("zarr.json", "u1"),
    ]
)


def some_rows(count: int, seed: int) -> NDArray[Any]:
    rows = np.zeros(count, ROW)
    rng = np.random.default_rng(seed)
    for name in ("bead", "z", "seq", "big", "a/b..", "zarr.json"):
        rows[name] = rng.integers(0, 100, count)
    rows["box"] = rng.random((count, 2, 2))
    rows["label"], rows["name"] = b"ab", "é"
    rows["ok"] = rows["bead"] > 50
    rows["phase"] = 1j * rows["z"]
    return rows


def test_rows_come_back_exactly_whatever_their_fields(tmp_path: Path) -> None:
    results = [some_rows(count, count) for count in (3, 0, 5, 1)]
    spec = Spec((5,), ROW, fields={"z": "nm, above focus"})
    with RecordingWriter.create(tmp_path, chunk=16) as writer:
        writer.add_stream("tracks", spec)
        for seq, rows in enumerate(results):
            assert writer.append("tracks", item(rows, seq + 10, source_seq=seq + 4))
    tracks = open_recording(writer.path)["tracks"]
    assert [one.source_seq for one in tracks] == [4, 5, 6, 7]
    for one, rows in zip(tracks, results, strict=True):
        assert one.data.dtype == ROW
        assert one.data.tobytes() == rows.tobytes()
    together = np.concatenate(results)
    assert tracks[0:4].tobytes() == b"".join(rows.tobytes() for rows in results)
    assert tracks[::-1].tobytes() == b"".join(rows.tobytes() for rows in results[::-1])
    assert tracks[2:2].dtype == ROW
    table = tracks.rows
    assert table["item_seq"].tolist() == [10] * 3 + [12] * 5 + [13]
    assert all(np.array_equal(table[name], together[name]) for name in ROW.names or ())

    frame = tracks.to_pandas()
    assert frame["source_seq"].tolist() == [4] * 3 + [6] * 5 + [7]
    assert np.array_equal(frame["box_3"], together["box"][:, 1, 1])
    assert np.array_equal(frame["big"], together["big"])

    stored = in_zarr(writer)["tracks"]
    for name in ("bead", "z", "box", "ok", "phase", "big", "seq"):
        assert np.array_equal(stored[f"rows/{name}"][:], together[name])
    assert stored["rows/z"].attrs["meaning"] == "nm, above focus"
    assert stored["rows/item_seq"][:].tolist() == table["item_seq"].tolist()
    assert stored["rows/label"][:].tobytes() == together["label"].tobytes()
    assert stored["rows/a%2Fb.."].attrs["field"] == "a/b.."
    assert stored["stamps/row_start"][:].tolist() == [0, 3, 3, 8]
    assert stored["stamps/row_count"][:].tolist() == [3, 0, 5, 1]


def test_frames_as_a_table_show_what_is_unknown(tmp_path: Path) -> None:
    with RecordingWriter.create(tmp_path) as writer:
        writer.add_stream("cam", Spec((2, 2), np.dtype("u1")))
        for seq in range(2):
            writer.append("cam", item(np.zeros((2, 2), "u1"), seq, device_time=seq or UNKNOWN_TIME))
    table = open_recording(writer.path)["cam"].to_pandas()
    assert table["seq"].tolist() == [0, 1]
    assert table["device_time"].isna().tolist() == [True, False]
    assert table["source_seq"].isna().all()


def test_reading_goes_on_while_it_is_written(tmp_path: Path) -> None:
    writer = RecordingWriter.create(tmp_path, chunk=4 * 6)
    writer.add_stream("cam", Spec((2, 3), np.dtype("u1")))
    early = open_recording(writer.path)
    assert len(early["cam"]) == 0
    assert early["cam"].frames.shape == (0, 2, 3)
    for seq in range(7):
        writer.append("cam", item(np.full((2, 3), seq, "u1"), seq))
        now = open_recording(writer.path)["cam"]
        assert [int(one.data[1, 2]) for one in now] == list(range(seq + 1))
    assert not early.complete
    assert len(early["cam"]) == 0
    writer.flush()
    assert in_zarr(writer)["cam/frames"][:, 0, 0].tolist() == list(range(7))
    assert in_zarr(writer)["cam/stamps/seq"].shape == (7,)
    writer.close()
    writer.close()


def test_frames_of_a_ring_are_recorded_without_a_copy_and_never_torn(tmp_path: Path) -> None:
    spec = Spec((8, 8), np.dtype("u2"))
    shm = tmp_path / "runtime"
    shm.mkdir(mode=0o700)
    with Stream(shm, "cam", spec, slots=8) as stream, RecordingWriter.create(tmp_path) as writer:
        writer.add_stream("cam", spec)
        with Source(shm, "cam").every(start="oldest") as reader:
            for seq in range(4):
                stream.write(np.full((8, 8), seq, "u2"), device_frame=seq)
            assert writer.append("cam", reader.read(0))
            torn = reader.read(0)
            for seq in range(4, stream.slots + 20):
                stream.write(np.full((8, 8), seq, "u2"), device_frame=seq)
            assert not writer.append("cam", torn)
            late = reader.read(0)
            assert writer.append("cam", late)
    cam = open_recording(writer.path)["cam"]
    assert cam.stamps["seq"].tolist() == [0, late.seq]
    assert (cam[1] == late.seq).all()
    assert [(gap.lost, gap.cause) for gap in cam.gaps] == [
        (range(1, 2), "overwritten while being recorded"),
        (range(2, late.seq), "overwritten before it was read"),
    ]
    assert cam.item(1).lost == range(1, late.seq)
    assert writer.streams["cam"].lost == late.seq - 1


def test_an_item_is_found_by_its_seq(tmp_path: Path) -> None:
    with RecordingWriter.create(tmp_path) as writer:
        writer.add_stream("cam", Spec((1,), np.dtype("i8")))
        for epoch, seq in [(1, 4), (1, 5), (1, 9), (2, 2), (2, 4)]:
            writer.append("cam", item(np.array([epoch * 100 + seq]), seq, epoch))
    cam = open_recording(writer.path)["cam"]
    found = {seq: one.data[0] for seq in range(11) if (one := cam.by_seq(seq))}
    assert found == {2: 202, 4: 204, 5: 105, 9: 109}
    assert cam.epochs.tolist() == [1, 1, 1, 2, 2]
    assert [gap.lost for gap in cam.gaps] == [range(6, 9), range(3, 4)]


def test_what_was_lost_before_the_first_item_is_a_gap(tmp_path: Path) -> None:
    with RecordingWriter.create(tmp_path) as writer:
        writer.add_stream("cam", Spec((1,), np.dtype("u1")))
        writer.append("cam", item(np.zeros(1, "u1"), 5, lost=range(2, 5)))
    cam = open_recording(writer.path)["cam"]
    assert [gap.lost for gap in cam.gaps] == [range(2, 5)]
    assert cam.item(0).lost == range(2, 5)


def test_an_item_is_recorded_once_also_after_going_on(tmp_path: Path) -> None:
    spec = Spec((2,), np.dtype("u1"))
    first = RecordingWriter.create(tmp_path, metadata={"session": "bench"})
    first.add_stream("cam", spec)
    for seq in (0, 1, 2):
        assert first.append("cam", item(np.full(2, seq, "u1"), seq))
    with pytest.raises(RecordingError, match="another process is writing"):
        RecordingWriter.resume(first.path)
    first.close()
    with RecordingWriter.resume(first.path) as second:
        assert not open_recording(first.path).complete
        second.add_stream("cam", spec)
        with pytest.raises(RecordingError, match="found items"):
            second.add_stream("cam", Spec((3,), np.dtype("u1")))
        kept = [
            seq for seq in (1, 2, 3, 6, 5) if second.append("cam", item(np.full(2, seq, "u1"), seq))
        ]
        assert kept == [3, 6]
    rec = open_recording(first.path)
    assert rec["cam"].stamps["seq"].tolist() == [0, 1, 2, 3, 6]
    assert [(gap.lost, gap.cause) for gap in rec["cam"].gaps] == [
        (range(4, 6), "overwritten before it was read")
    ]
    assert rec.metadata["session"] == "bench"
    assert len(rec.metadata["resumed"]) == 1


def test_what_passed_while_no_recorder_ran_is_a_gap(tmp_path: Path) -> None:
    spec = Spec((2,), np.dtype("u1"))
    with RecordingWriter.create(tmp_path) as first:
        first.add_stream("cam", spec)
        first.append("cam", item(np.zeros(2, "u1"), 0))
    with RecordingWriter.resume(first.path) as second:
        second.append("cam", item(np.zeros(2, "u1"), 4, epoch=2))
    (gap,) = open_recording(first.path)["cam"].gaps
    assert (gap.lost, gap.cause, gap.epoch) == (range(1, 4), "recorder was not running", 2)


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    paths = []
    for _ in range(3):
        with RecordingWriter.create(tmp_path / "data", "day 1") as writer:
            paths.append(writer.path.name)
    assert paths == ["day 1", "day 1-2", "day 1-3"]


@pytest.mark.parametrize("run", ["a/b", "..", ".hidden", "a\\b", "x\0"])
def test_a_run_must_be_called_like_a_folder(tmp_path: Path, run: str) -> None:
    with pytest.raises(RecordingError, match="expected the name of a folder"):
        RecordingWriter.create(tmp_path, run)
    assert not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordingError, match="no recording can be made there"):
        RecordingWriter.create(tmp_path / "file")
    with pytest.raises(RecordingError, match="no recording can be made there"):
        RecordingWriter.create(tmp_path / "file" / "below")


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (np.zeros((3, 2), "u1"), r"\(3, 2\)"),
        (np.zeros((2, 2), "u2"), "uint16"),
        (np.zeros(2, "u1"), r"\(2,\)"),
    ],
)
def test_an_item_that_does_not_fit_is_refused(tmp_path: Path, data: Any, found: str) -> None:
    with RecordingWriter.create(tmp_path) as writer:
        stream = writer.add_stream("cam", Spec((2, 2), np.dtype("u1")))
        assert not stream.fits(data)
        with pytest.raises(RecordingError, match=f"cam, item 0: found .*{found}"):
            writer.append("cam", item(data, 0))
    assert len(open_recording(writer.path)["cam"]) == 0


def test_stream_names_of_any_kind_have_a_folder_each(tmp_path: Path) -> None:
    names = ["cam", "cam.truth", "run.json", ".lock", "_x", "a b/c", "é"]
    with RecordingWriter.create(tmp_path) as writer:
        for k, name in enumerate(names):
            writer.add_stream(name, Spec((1,), np.dtype("u1")))
            writer.append(name, item(np.array([k], "u1"), 0))
    rec = open_recording(writer.path)
    assert {name: int(rec[name][0][0]) for name in rec} == {name: k for k, name in enumerate(names)}
    assert "cam" in rec
    assert len(rec) == len(names)
    with pytest.raises(RecordingError, match=r"no stream 'other', expected one of: .*cam\.truth"):
        rec["other"]


def test_metadata_tells_what_the_run_was(tmp_path: Path) -> None:
    writer = RecordingWriter.create(
        tmp_path, "r", metadata={"session": "bench", "settings": {"g": 1}}
    )
    writer.add_stream("cam", Spec((1,), np.dtype("u1")))
    writer.append("cam", item(np.zeros(1, "u1"), 0))
    writer.close(ledger={"streams": {}})
    told = open_recording(tmp_path / "r").metadata
    assert (told["session"], told["settings"], told["ledger"]) == (
        "bench",
        {"g": 1},
        {"streams": {}},
    )
    assert told["streams"] == {"cam": {"items": 1, "lost": 0}}
    assert told["started"] < told["ended"]
    assert {"host", "marey", "pid"} <= set(told)
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == [
        ".lock",
        "cam",
        "run.json",
        "zarr.json",
    ]


def test_gaps_are_joined_and_told_once(tmp_path: Path) -> None:
    with RecordingWriter.create(tmp_path) as writer:
        stream = writer.add_stream("cam", Spec((1,), np.dtype("u1")))
        writer.append("cam", item(np.zeros(1, "u1"), 0))
        for seq in range(1, 5):
            stream.lose(range(seq, seq + 1), "disk full")
        writer.append("cam", item(np.zeros(1, "u1"), 7))
    gaps = open_recording(writer.path)["cam"].gaps
    assert all(isinstance(gap, Gap) for gap in gaps)
    assert [(gap.lost, gap.cause) for gap in gaps] == [
        (range(1, 5), "disk full"),
        (range(5, 7), "overwritten before it was read"),
    ]


def test_rows_and_frames_are_not_confused(tmp_path: Path) -> None:
    with RecordingWriter.create(tmp_path) as writer:
        writer.add_stream("cam", Spec((1,), np.dtype("u1")))
        writer.add_stream("tracks", Spec((1,), np.dtype([("x", "f4")])))
    rec = open_recording(writer.path)
    with pytest.raises(RecordingError, match="found frames, expected rows"):
        rec["cam"].rows  # noqa: B018
    with pytest.raises(RecordingError, match="found rows, expected frames"):
        rec["tracks"].frames  # noqa: B018
    assert "cam" in repr(rec)
    assert "0 items" in repr(rec["tracks"])
    assert len(rec["tracks"].to_pandas()) == 0


def test_a_folder_of_runs_opens_its_newest(tmp_path: Path) -> None:
    spec = Spec((4, 4), np.dtype("u1"))
    for n in range(2):
        with RecordingWriter.create(tmp_path) as writer:
            writer.add_stream("cam", spec)
            assert writer.append("cam", item(np.full((4, 4), n, "u1"), 0))
        os.utime(writer.path / "run.json", ns=(n, n))
    with open_recording(tmp_path) as newest:
        assert newest.path == writer.path
        assert newest["cam"][0].max() == 1
