"""What is written is what is read: types, shapes, stamps, blocks, and views that outlive all."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey.errors import StreamClosed, StreamError
from marey.stream import STAMP, UNKNOWN, UNKNOWN_TIME, Source, Spec, Stream

ROWS = np.dtype(
    [("bead", "<i4"), ("xyz", "<f4", (3,)), ("fit", [("r", "<f8"), ("ok", "?")]), ("at", "<M8[ns]")]
)
rng = np.random.default_rng(1)


def random_item(spec: Spec) -> np.ndarray[Any, Any]:
    count = int(np.prod(spec.shape))
    raw = rng.integers(0, 2, (count, spec.dtype.itemsize), np.uint8)  # also a valid bool
    return raw.reshape(-1).view(spec.dtype).reshape(spec.shape)


@pytest.mark.parametrize(
    "spec",
    [
        Spec((5,), np.dtype("u1")),
        Spec((33, 17), np.dtype("u1")),
        Spec((480, 640), np.dtype("u2")),
        Spec((16, 16), np.dtype(">u2")),
        Spec((12, 10, 3), np.dtype("u1")),
        Spec((2, 3, 4, 5), np.dtype("f4")),
        Spec((7, 7), np.dtype("f2")),
        Spec((7,), np.dtype("c16")),
        Spec((6,), np.dtype("?")),
        Spec((6,), np.dtype("S7")),
        Spec((6,), np.dtype("U3")),
        Spec((6,), np.dtype("M8[us]")),
        Spec((9,), ROWS),
    ],
    ids=lambda spec: f"{spec.dtype.str}{spec.shape}",
)
def test_items_arrive_exactly(runtime: Path, spec: Spec) -> None:
    with Stream(runtime, "cam", spec, slots=8) as stream:
        source = Source(runtime, "cam")
        assert source.spec == spec
        reader, blocks = source.every(), source.block(2)
        items = [random_item(spec) for _ in range(6)]
        for item in items[:4]:
            stream.write(item)
        stream.write_block(np.array(items[4:], spec.dtype))
        for seq, item in enumerate(items):
            frame = reader.read(0)
            assert frame.seq == seq
            assert frame.data.dtype == spec.dtype
            assert frame.data.tobytes() == item.tobytes()
            assert frame.copy().tobytes() == item.tobytes()
        block = blocks.read(0)
        assert block.data.shape == (2, *spec.shape)
        assert block.data.tobytes() == np.array(items[:2], spec.dtype).tobytes()
        reader.close()
        blocks.close()


def test_a_large_item_is_exact(runtime: Path) -> None:
    spec = Spec((2048, 2048), np.dtype("u2"))
    item = rng.integers(0, 2**16, spec.shape, np.uint16)
    with Stream(runtime, "cam", spec, slots=2) as stream, Source(runtime, "cam").every() as reader:
        for _ in range(5):
            stream.write(item)
            assert np.array_equal(reader.read(0).data, item)
            item = item + 1


@pytest.mark.parametrize(
    "make", [np.asfortranarray, lambda a: a[::-1, ::-1], lambda a: np.broadcast_to(a[:1], a.shape)]
)
def test_strided_arrays_are_written_as_they_look(
    runtime: Path, make: Callable[[Any], np.ndarray[Any, Any]]
) -> None:
    with Stream(runtime, "cam", Spec((40, 30), np.dtype("u2")), slots=8) as stream:
        item = make(rng.integers(0, 999, (40, 30), np.uint16))
        stream.write(item)
        stream.write(item[::2, ::3])
        stream.write_block(np.array([item, item + 1])[::-1])
        source = Source(runtime, "cam")
        for seq, expected in enumerate([item, item[::2, ::3], item + 1, item]):
            frame = source.at(seq)
            assert frame is not None
            assert np.array_equal(frame.data, expected)


def test_items_may_be_smaller_than_their_slot(runtime: Path) -> None:
    with Stream(runtime, "cam", Spec((10, 8), np.dtype("i4")), slots=16) as stream:
        reader = Source(runtime, "cam").every()
        shapes = [(10, 8), (3, 8), (0, 8), (10, 5), (1, 1), (0, 0)]
        for k, shape in enumerate(shapes):
            stream.write(np.arange(np.prod(shape), dtype="i4").reshape(shape) + k)
        for k, shape in enumerate(shapes):
            data = reader.read(0).data
            assert data.shape == shape
            assert np.array_equal(data.ravel(), np.arange(data.size) + k)
        reader.close()


def test_a_lent_item_may_be_smaller_too(runtime: Path) -> None:
    with Stream(runtime, "rows", Spec((8,), np.dtype("f8")), slots=8) as stream:
        out = stream.lend()
        assert out is not None
        out[:3] = [1, 2, 3]
        assert stream.publish(shape=(3,)) == 0
        frame = Source(runtime, "rows").at(0)
        assert frame is not None
        assert frame.data.tolist() == [1, 2, 3]
        stream.lend()
        for shape in [(9,), (1, 1)]:
            with pytest.raises(StreamError, match="does not fit"):
                stream.publish(shape=shape)


def test_blocks_are_one_view_across_the_wrap(runtime: Path) -> None:
    with Stream(runtime, "cam", Spec((64, 64), np.dtype("u1")), slots=6) as stream:
        reader = Source(runtime, "cam").block(4)
        block: Any = None
        for start in range(0, 24, 4):
            for seq in range(start, start + 4):
                stream.write(np.full((64, 64), seq, "u1"))
            block = reader.read(0)
            assert len(block) == 4
            assert block.seq == start
            assert block.data.shape == (4, 64, 64)
            assert block.data[:, 5, 5].tolist() == list(range(start, start + 4))
            assert block.data.strides == (4096, 64, 1)
            assert not block.data.flags.owndata
        assert [int(item[0, 0]) for item in block] == [20, 21, 22, 23]
        assert block[-1][0, 0] == 23
        with pytest.raises(IndexError):
            block[4]
        reader.close()


def test_blocks_of_differing_shapes_are_taken_one_by_one(runtime: Path) -> None:
    with Stream(runtime, "rows", Spec((4,), np.dtype("i4")), slots=8) as stream:
        reader = Source(runtime, "rows").block(2)
        stream.write(np.arange(4, dtype="i4"))
        stream.write(np.arange(2, dtype="i4"))
        block = reader.read(0)
        with pytest.raises(StreamError, match="differing shape"):
            block.data  # noqa: B018
        assert [item.tolist() for item in block] == [[0, 1, 2, 3], [0, 1]]
        reader.close()


def test_stamps_carry_what_was_given(runtime: Path) -> None:
    with Stream(runtime, "cam", Spec((4,), np.dtype("u1")), slots=64) as stream:
        item = np.zeros(4, "u1")
        stream.write(
            item, source_seq=7, device_frame=2**40, device_time=-5, host_time=11, mono_time=12
        )
        frame = Source(runtime, "cam").at(0)
        assert frame is not None
        assert (frame.seq, frame.source_seq, frame.device_frame) == (0, 7, 2**40)
        assert (frame.device_time, frame.host_time, frame.mono_time) == (-5, 11, 12)
        assert frame.epoch == 1
        assert frame.lost == range(0)
        assert frame.stamps.dtype == STAMP
        assert frame.stamps.tolist() == [(0, 7, 2**40, -5, 11, 12, frame.published)]


def test_stamps_that_were_not_given_are_now_or_unknown(runtime: Path) -> None:
    with Stream(runtime, "cam", Spec((4,), np.dtype("u1")), slots=64) as stream:
        host, mono = time.time_ns(), time.monotonic_ns()
        stream.write(np.zeros(4, "u1"))
        stream.lend()
        stream.publish_one(mono_time=mono)
        first, second = (Source(runtime, "cam").at(seq) for seq in (0, 1))
        assert first is not None
        assert second is not None
        assert first.source_seq is first.device_frame is first.device_time is None
        assert first.stamps["source_seq"] == first.stamps["device_frame"] == UNKNOWN
        assert first.stamps["device_time"] == UNKNOWN_TIME
        assert host <= first.host_time <= time.time_ns()
        assert mono <= first.mono_time == first.published <= time.monotonic_ns()
        # The Unix time of the same moment as the monotonic one, not of the publication.
        assert second.mono_time == mono
        assert second.host_time <= first.host_time


def test_stamps_of_a_block_are_given_one_by_one(runtime: Path) -> None:
    with Stream(runtime, "cam", Spec((4,), np.dtype("u1")), slots=64) as stream:
        stamps = np.zeros(20, STAMP)
        stamps["device_frame"] = np.arange(20) + 100
        stamps["mono_time"] = np.arange(20) + 1
        stream.write_block(np.zeros((20, 4), "u1"), stamps)
        stream.lend(3)
        stream.publish(2, stamps[::10])
        found = Source(runtime, "cam").stamps(100)
        assert found["seq"].tolist() == list(range(22))
        assert found["device_frame"].tolist() == [*range(100, 120), 100, 110]
        assert found["mono_time"].tolist() == [*range(1, 21), 1, 11]


def test_views_are_read_only_and_copies_are_not(runtime: Path) -> None:
    with Stream(runtime, "cam", Spec((4, 4), np.dtype("u1")), slots=64) as stream:
        out = stream.lend()
        assert out is not None
        out[:] = 3
        stream.publish_one()
        frame = Source(runtime, "cam").at(0)
        assert frame is not None
        assert not frame.data.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            frame.data[0, 0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            frame.data.flags.writeable = True
        copy = frame.copy()
        copy[:] = 9
        assert frame.data.max() == 3


def test_views_outlive_reader_writer_and_files(runtime: Path) -> None:
    stream = Stream(runtime, "cam", Spec((64, 64), np.dtype("u1")), slots=4)
    stream.write(np.full((64, 64), 42, "u1"))
    reader = Source(runtime, "cam").every(start="oldest")
    frame = reader.read(0)
    data = frame.data
    reader.close()
    stream.close()
    for path in runtime.iterdir():
        path.unlink()
    del reader, stream
    gc.collect()
    assert frame.valid()
    assert (data == 42).all()
    del frame
    gc.collect()
    assert (data == 42).all()


def test_an_overwritten_item_is_refused(runtime: Path) -> None:
    with Stream(runtime, "cam", Spec((64, 64), np.dtype("u1")), slots=4) as stream:
        reader = Source(runtime, "cam").every()
        for _ in range(4):
            stream.write(np.zeros((64, 64), "u1"))
        frame = reader.read(0)
        assert frame.valid()
        stream.lend()  # begun, not yet published: its slot is the first one's
        assert not frame.valid()
        with pytest.raises(StreamError, match="item 0 was overwritten"):
            frame.copy()
        assert not reader.release()
        assert reader.release()  # nothing is in hand any more
        assert reader.read(0).seq == 1
        reader.close()


def test_seq_has_no_gaps_and_head_counts(runtime: Path) -> None:
    with Stream(runtime, "cam", Spec((64, 64), np.dtype("u1")), slots=16) as stream:
        item = np.zeros((64, 64), "u1")
        assert [stream.write(item) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert stream.write_block(np.array([item] * 40)) == 5
        assert stream.head == Source(runtime, "cam").head == 45
        stream.lend(4)
        assert stream.publish(3) == 45
        assert Source(runtime, "cam").oldest == 49 - 16  # the fourth was begun, too


def test_find_gives_the_last_result_of_an_item_or_of_one_before(runtime: Path) -> None:
    with Stream(runtime, "rows", Spec((1,), np.dtype("f4")), slots=64) as stream:
        source = Source(runtime, "rows")
        assert source.find(3) is None
        for seq in (2, 4, 4, 9):
            stream.write(np.zeros(1, "f4"), source_seq=seq)
        found = [source.find(seq) for seq in range(11)]
        assert [frame and frame.seq for frame in found] == [
            None, None, 0, 0, 2, 2, 2, 2, 2, 3, 3,
        ]  # fmt: skip


def test_device_losses_are_entered(runtime: Path) -> None:
    with Stream(runtime, "cam", Spec((4,), np.dtype("u1")), slots=8) as stream:
        stream.account(3)
        stream.account(0, 2)
        facts = Source(runtime, "cam").ring.facts()
        assert (facts["device_lost"], facts["device_repeated"]) == (3, 2)


def test_a_closed_stream_is_not_written(runtime: Path) -> None:
    stream = Stream(runtime, "cam", Spec((4,), np.dtype("u1")), slots=8)
    stream.lend()
    stream.close()
    stream.close()
    for act in (stream.lend, stream.publish, stream.publish_one, lambda: stream.account(1)):
        with pytest.raises(StreamClosed, match="it is closed"):
            act()
    with pytest.raises(StreamClosed, match="it is closed"):
        stream.write(np.zeros(4, "u1"))
