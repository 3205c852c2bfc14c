"""The camera `replay`, driven as the worker drives it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey.cameras.replay import Replay
from marey.errors import RecordingError
from marey.node import EndOfStream, Stamp
from marey.recording import RecordedItem, RecordingWriter
from marey.stream import STAMP, UNKNOWN, Spec

MS = 1_000_000


def record(
    folder: Path, spec: Spec, stamps: list[dict[str, Any]], shapes: dict[int, Any] | None = None
) -> str:
    """A recording of `cam` whose i-th frame holds the number i + 1."""
    with RecordingWriter.create(folder, "run") as writer:
        writer.add_stream("cam", spec)
        for i, given in enumerate(stamps):
            stamp = np.zeros(1, STAMP)
            stamp["seq"], stamp["device_frame"] = i, UNKNOWN
            for name, value in given.items():
                stamp[name] = value
            data = np.full((shapes or {}).get(i, spec.shape), i + 1, spec.dtype)
            writer.append("cam", RecordedItem(data, stamp, 1, range(0)))
    return str(writer.path)


def play(camera: Replay, most: int = 1000) -> list[tuple[np.ndarray, Stamp]]:
    """All frames that the camera gives, at most so many."""
    frames = []
    for _ in range(most):
        out = np.zeros(camera.describe().shape, camera.describe().dtype)
        try:
            stamp = camera.grab(out)
        except EndOfStream:
            break
        if stamp is not None:
            used = out.size if stamp.shape is None else int(np.prod(stamp.shape))
            frames.append((out.reshape(-1)[:used].reshape(stamp.shape or out.shape), stamp))
    return frames


def test_pixels_shapes_and_stamps_are_the_recorded_ones(tmp_path: Path) -> None:
    spec = Spec((3, 4), np.dtype("u2"), rate=50, pixel_format="Mono16")
    given = [
        {"device_frame": 7 + i, "device_time": 1000 * i, "host_time": 5 + i, "mono_time": i}
        for i in range(4)
    ]
    camera = Replay(path=record(tmp_path, spec, given, {2: (2, 3)}), lossless=True)
    camera.open()
    assert camera.describe() == spec
    frames = play(camera)
    assert [(s.device_frame, s.device_time, s.host_time, s.mono_time) for _, s in frames] == [
        (7, 0, 5, None),
        (8, 1000, 6, None),
        (9, 2000, 7, None),
        (10, 3000, 8, None),
    ]
    assert [data.shape for data, _ in frames] == [(3, 4), (3, 4), (2, 3), (3, 4)]
    assert all((data == i + 1).all() for i, (data, _) in enumerate(frames))
    camera.close()


def test_it_keeps_the_recorded_pace(tmp_path: Path) -> None:
    times = [{"mono_time": t * MS} for t in (1000, 1000, 1020, 1090, 20, 30)]
    camera = Replay(path=record(tmp_path, Spec((1,), np.dtype("u1")), times))
    camera.open()
    began = time.monotonic()
    assert len(play(camera)) == len(times)
    assert time.monotonic() - began >= 0.1
    camera.close()


def test_it_keeps_a_given_rate(tmp_path: Path) -> None:
    path = record(tmp_path, Spec((1,), np.dtype("u1"), rate=5), [{}] * 11)
    camera = Replay(path=path, rate=100, lossless=True)
    camera.open()
    assert camera.describe().rate == 100
    began = time.monotonic()
    assert len(play(camera)) == 11
    assert time.monotonic() - began >= 0.1
    camera.close()


def test_it_answers_while_the_next_frame_is_far_away(tmp_path: Path) -> None:
    times = [{"mono_time": 0}, {"mono_time": 3600 * 1000 * MS}]
    camera = Replay(path=record(tmp_path, Spec((1,), np.dtype("u1")), times))
    camera.open()
    out = np.zeros(1, "u1")
    assert camera.grab(out) is not None
    assert camera.grab(out) is None
    camera.rate = 1000
    camera.changed({"rate"})
    assert camera.grab(out) is not None
    camera.close()


def test_what_the_recording_does_not_hold_shows_in_the_counter(tmp_path: Path) -> None:
    path = record(tmp_path, Spec((1,), np.dtype("u1")), [{"seq": seq} for seq in (3, 4, 8)])
    camera = Replay(path=path, lossless=True)
    camera.open()
    assert [stamp.device_frame for _, stamp in play(camera)] == [3, 4, 8]
    camera.close()


def test_a_loop_goes_on_counting(tmp_path: Path) -> None:
    spec = Spec((1,), np.dtype("u1"), meta={"counter_bits": 4})
    given = [{"device_frame": n} for n in (14, 15, 0, 1, 2)]
    camera = Replay(path=record(tmp_path, spec, given), lossless=True, loop=True)
    camera.open()
    frames = play(camera, 12)
    assert [stamp.device_frame for _, stamp in frames] == [(14 + k) % 16 for k in range(12)]
    assert [int(data[0]) for data, _ in frames] == [k % 5 + 1 for k in range(12)]
    camera.close()


def test_what_cannot_be_played_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="not a recording"):
        Replay(path=str(tmp_path / "none")).open()
    with RecordingWriter.create(tmp_path, "run") as writer:
        writer.add_stream("a", Spec((1,), np.dtype("u1")))
        writer.add_stream("b", Spec((1,), np.dtype("u1")))
        writer.add_stream("rows", Spec((1,), np.dtype([("x", "f4")])))
    path = str(tmp_path / "run")
    for stream, message in [
        ("", r"has 2 streams of frames \(a, b\); name one"),
        ("rows", "has rows, expected a stream of frames"),
        ("a", "has no frames"),
        ("c", "no stream 'c', expected one of: a, b, rows"),
    ]:
        camera = Replay(path=path, stream=stream)
        with pytest.raises(RecordingError, match=message):
            camera.open()
        camera.close()
