"""The counter camera: every pixel tells the frame, and each fault comes when it was asked for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from marey.cameras.counter import Counter, expected, read_seq
from marey.errors import ActionError, NodeError, StreamError
from marey.node import EndOfStream, Stamp
from marey.stream import STAMP

Array = np.ndarray[Any, Any]


def opened(**settings: Any) -> tuple[Counter, Array]:
    camera = Counter(**({"shape": (5, 7), "free_running": True} | settings))
    camera.open()
    spec = camera.describe()
    return camera, np.zeros(spec.shape, spec.dtype)


def taken(camera: Counter, out: Array, count: int) -> list[tuple[int, int]]:
    """(device_frame, number in the pixels) of the next frames."""
    found: list[tuple[int, int]] = []
    while len(found) < count:
        stamp = camera.grab(out)
        if stamp is not None:
            assert stamp.device_frame is not None
            found.append((stamp.device_frame, read_seq(out)))
    return found


@pytest.mark.parametrize(
    ("dtype", "colour"), [("u8", False), ("u8", True), ("u16", False), ("f32", False)]
)
def test_pixels_tell_the_frame(dtype: str, colour: bool) -> None:
    camera, out = opened(dtype=dtype, color=colour)
    assert out.shape == ((5, 7, 3) if colour else (5, 7))
    assert taken(camera, out, 300) == [(k, k) for k in range(300)]
    np.testing.assert_array_equal(out, expected(299, out.shape, out.dtype))


@given(
    number=st.integers(0, 2**64 - 1),
    height=st.integers(2, 40),
    width=st.integers(4, 40),
    dtype=st.sampled_from(["u1", "u2", "f4"]),
)
def test_expected_frames_are_read_back(number: int, height: int, width: int, dtype: str) -> None:
    assert read_seq(expected(number, (height, width), dtype)) == number


def test_one_wrong_pixel_is_found() -> None:
    frame = expected(1234, (6, 6), "u2")
    frame[4, 5] += 1
    with pytest.raises(StreamError, match=r"pixel \(4, 5\)"):
        read_seq(frame)


def blocks(camera: Counter, size: int) -> Iterator[tuple[Array, Array]]:
    """Frames and stamps, a block at a time, until the camera ends."""
    out, stamps = np.zeros((size, 5, 7), np.uint8), np.zeros(size, STAMP)
    while True:
        n = camera.grab_block(out, stamps)
        yield out[:n], stamps[:n]


def test_blocks_carry_consecutive_frames_and_their_stamps() -> None:
    camera, _ = opened(block=16, count=40)
    seen: list[int] = []
    made = blocks(camera, 16)
    for _ in range(3):
        frames, stamps = next(made)
        seen += [read_seq(frame) for frame in frames]
        assert stamps["device_frame"].tolist() == seen[-len(frames) :]
        assert (np.diff(stamps["mono_time"]) >= 0).all()
        assert (np.abs(stamps["host_time"] - time.time_ns()) < 60e9).all()
    assert seen == list(range(40))
    with pytest.raises(EndOfStream):
        next(made)


def test_paced_blocks_keep_the_schedule() -> None:
    camera, _ = opened(block=64, free_running=False, rate=2000)
    numbers: list[int] = []
    times: list[int] = []
    for frames, stamps in blocks(camera, 64):
        numbers += [read_seq(frame) for frame in frames]
        times += stamps["device_time"].tolist()
        if len(numbers) >= 200:
            break
    np.testing.assert_allclose(times, np.array(numbers) * 500_000, atol=1)


def test_the_camera_ends_after_count_frames() -> None:
    camera, out = opened(count=3)
    taken(camera, out, 3)
    with pytest.raises(EndOfStream):
        camera.grab(out)


def test_frames_that_the_device_loses_are_missing_from_its_counter() -> None:
    camera, out = opened(drop_every=4)
    assert [n for n, _ in taken(camera, out, 7)] == [0, 1, 2, 4, 5, 6, 8]


def test_a_repeated_frame_has_the_same_number_twice() -> None:
    camera, out = opened(repeat_every=3)
    assert taken(camera, out, 6) == [(k, k) for k in (0, 1, 2, 2, 3, 4)]


def test_the_devices_counter_wraps_and_the_pixels_do_not() -> None:
    camera, _ = opened(counter_bits=16, block=4096)
    assert camera.describe().meta["counter_bits"] == 16
    out, stamps = np.zeros((4096, 5, 7), np.uint8), np.zeros(4096, STAMP)
    seen = 0
    while seen <= 65536:
        n = camera.grab_block(out, stamps)
        seen += n
    last = read_seq(out[n - 1])
    assert last == seen - 1
    assert stamps["device_frame"][n - 1] == last - 65536


def test_it_crashes_at_its_frame() -> None:
    camera, out = opened(crash_at=2)
    taken(camera, out, 2)
    with pytest.raises(NodeError, match="crash_at"):
        camera.grab(out)


def test_it_stalls_at_its_frame_and_goes_on() -> None:
    camera, out = opened(stall_at=2, stall_for=0.03)
    taken(camera, out, 2)
    before = time.monotonic()
    assert taken(camera, out, 2) == [(2, 2), (3, 3)]
    assert time.monotonic() - before >= 0.03


def test_it_kills_its_process_at_its_frame() -> None:
    program = (
        "import numpy as np; from marey.cameras.counter import Counter\n"
        "c = Counter(shape=(4, 4), free_running=True, kill_at=3); c.open()\n"
        "while c.grab(np.zeros((4, 4), np.uint8)): print('frame', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["frame"] * 3


def test_faults_come_one_by_one_in_blocks_too() -> None:
    camera, _ = opened(drop_every=3, crash_at=7, block=8)
    made = blocks(camera, 8)
    seen: list[int] = []
    while len(seen) < 5:
        seen += next(made)[1]["device_frame"].tolist()
    assert seen == [0, 1, 3, 4, 6]
    with pytest.raises(NodeError):
        next(made)


def test_a_slow_reader_loses_what_the_devices_buffer_cannot_hold() -> None:
    camera, out = opened(free_running=False, rate=2000, device_buffer=8)
    first = camera.grab(out)
    time.sleep(0.05)  # 100 frames: the slowness that is tested, not a wait for something
    second = camera.grab(out)
    assert isinstance(first, Stamp)
    assert isinstance(second, Stamp)
    assert first.device_frame == 0
    assert second.device_frame is not None
    assert second.device_frame > 80
    assert second.device_time == second.device_frame * 500_000
    assert read_seq(out) == second.device_frame


def test_software_trigger_exposes_one_frame_for_each_snap() -> None:
    camera, out = opened(trigger="software", device_buffer=2)
    assert camera.grab(out) is None
    assert [camera.snap(), camera.snap()] == [0, 1]
    with pytest.raises(ActionError, match="device_buffer"):
        camera.snap()
    assert taken(camera, out, 2) == [(0, 0), (1, 1)]
    assert camera.grab(out) is None
    assert camera.snap() == 2
    assert taken(camera, out, 1) == [(2, 2)]


def test_snap_is_refused_while_the_camera_runs_free() -> None:
    camera, _ = opened()
    with pytest.raises(ActionError, match="'free'"):
        camera.snap()


def test_changing_the_trigger_goes_on_counting() -> None:
    camera, out = opened()
    taken(camera, out, 5)
    camera.trigger = "software"
    camera.changed({"trigger"})
    assert camera.grab(out) is None
    assert camera.snap() == 5
    assert taken(camera, out, 1) == [(5, 5)]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"rate": 0}, "rate"),
        ({"shape": (1, 7)}, "shape"),
        ({"counter_bits": 20}, "counter_bits"),
        ({"dtype": "f32", "color": True}, "dtype"),
        ({"block": 0}, "block"),
    ],
)
def test_bad_settings_are_refused_by_name(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        Counter(**settings)
