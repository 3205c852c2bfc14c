"""Recordings against a plain list: any order of items, gaps, restarts and kills."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray
from zarr.core.sync import cleanup_resources

from marey.recording import RecordedItem, RecordingWriter, open_recording
from marey.stream import STAMP, Spec

FRAMES = Spec((4, 3), np.dtype("u2"))
ROWS = Spec((5,), np.dtype([("x", "f4"), ("n", "i2", (2,))]))


@pytest.fixture(autouse=True)
def no_threads_of_zarr() -> Iterator[None]:
    """End the threads that Zarr keeps for its next use."""
    yield
    cleanup_resources()


def item(data: NDArray[Any], seq: int, epoch: int) -> RecordedItem:
    stamp = np.array([(seq, seq + 1, seq + 2, seq, seq, seq, seq)], STAMP)
    return RecordedItem(data, stamp, epoch, range(0))


class Recorded(RuleBasedStateMachine):
    """One run with a stream of frames and one of rows, and the list that it must equal."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory()
        self.items: dict[str, list[tuple[int, int, NDArray[Any]]]] = {"cam": [], "rows": []}
        self.next = {"cam": (1, 0), "rows": (1, 0)}
        self.missing: dict[str, list[int]] = {"cam": [], "rows": []}

    @initialize(chunk=st.sampled_from([1, 24, 100, 2**20]))
    def begin(self, chunk: int) -> None:
        self.writer = RecordingWriter.create(self.home.name, "run", chunk=chunk)
        self.add()

    def add(self) -> None:
        self.writer.add_stream("cam", FRAMES)
        self.writer.add_stream("rows", ROWS)

    @rule(
        name=st.sampled_from(["cam", "rows"]),
        skip=st.integers(0, 3),
        shape=st.tuples(st.integers(0, 4), st.integers(1, 3)),
        again=st.booleans(),
    )
    def append(self, name: str, skip: int, shape: tuple[int, int], again: bool) -> None:
        epoch, first = self.next[name]
        seq = first + skip
        shape = (max(1, shape[0]), shape[1]) if name == "cam" else (shape[0],)  # type: ignore[assignment]
        spec = FRAMES if name == "cam" else ROWS
        data = np.frombuffer(os.urandom(int(np.prod(shape)) * spec.dtype.itemsize), spec.dtype)
        data = data.reshape(shape)
        assert self.writer.append(name, item(data, seq, epoch))
        if again:
            assert not self.writer.append(name, item(data, seq, epoch))
        if self.items[name]:
            self.missing[name] += range(first, seq)
        self.items[name].append((epoch, seq, data))
        self.next[name] = epoch, seq + 1

    @rule(name=st.sampled_from(["cam", "rows"]))
    def restart_of_the_source(self, name: str) -> None:
        epoch, seq = self.next[name]
        self.next[name] = epoch + 1, seq

    @rule()
    def publish(self) -> None:
        self.writer.flush()
        stored = zarr.open_group(self.writer.path, mode="r")
        for name, items in self.items.items():
            assert stored[f"{name}/stamps/seq"][:].tolist() == [seq for _, seq, _ in items]
        slots = stored["cam/frames"][:]
        for slot, (_, _, data) in zip(slots, self.items["cam"], strict=True):
            h, w = data.shape
            assert slot[:h, :w].tobytes() == data.tobytes()
            assert slot.sum(dtype=np.int64) == data.sum(dtype=np.int64)
        x = np.concatenate([data["x"] for _, _, data in self.items["rows"]] or [np.empty(0, "f4")])
        assert stored["rows/rows/x"][:].tobytes() == x.tobytes()

    @rule()
    def close_and_go_on(self) -> None:
        self.writer.close()
        self.writer = RecordingWriter.resume(self.writer.path)
        self.add()

    @rule(
        name=st.sampled_from(["cam", "rows"]),
        junk=st.binary(min_size=1, max_size=127),
        file=st.sampled_from(["index.bin", "gaps.jsonl"]),
    )
    def die_within_an_append(self, name: str, junk: bytes, file: str) -> None:
        """What a kill leaves: nothing closed, and part of a record behind the last one."""
        path = self.writer.path
        for stream in self.writer.streams.values():
            stream._undo.close()
        os.close(self.writer._lock)
        with open(path / name / file, "ab") as torn:
            torn.write(junk.replace(b"\n", b" "))
        self.compare()
        self.writer = RecordingWriter.resume(path)
        self.add()

    @invariant()
    @precondition(lambda self: hasattr(self, "writer"))
    def compare(self) -> None:
        rec = open_recording(self.writer.path)
        for name, items in self.items.items():
            stream = rec[name]
            assert list(zip(stream.epochs, stream.stamps["seq"], strict=True)) == [
                (epoch, seq) for epoch, seq, _ in items
            ]
            for one, (_, seq, data) in zip(stream, items, strict=True):
                assert one.data.shape == data.shape
                assert one.data.tobytes() == data.tobytes()
                assert (one.source_seq, one.device_frame) == (seq + 1, seq + 2)
            missing = [seq for gap in stream.gaps for seq in gap.lost]
            assert missing == self.missing[name]

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.writer.close()
        self.home.cleanup()


TestRecorded = Recorded.TestCase
TestRecorded.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings of differing lengths and chunks: frame i holds the numbers 6 i to 6 i + 5."""
    paths = []
    for count, chunk in [(0, 1), (1, 1), (9, 1), (9, 2), (9, 4), (8, 4)]:
        with RecordingWriter.create(tmp_path_factory.mktemp("films"), chunk=chunk * 12) as writer:
            writer.add_stream("cam", Spec((2, 3), np.dtype("u2")))
            for seq in range(count):
                frame = np.arange(6 * seq, 6 * seq + 6, dtype="u2").reshape(2, 3)
                writer.append("cam", item(frame, seq, 1))
        paths.append(writer.path)
    return paths


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_frames_are_indexed_like_a_numpy_array(films: list[Path], data: st.DataObject) -> None:
    frames = open_recording(data.draw(st.sampled_from(films)))["cam"].frames
    count = len(frames)
    whole = np.arange(count * 6, dtype="u2").reshape(count, 2, 3)
    index = data.draw(
        arrays.basic_indices(whole.shape, min_dims=0, allow_ellipsis=True, allow_newaxis=True)
        | st.lists(st.integers(-12, 12), max_size=4)
        | st.lists(st.booleans(), min_size=count, max_size=count).map(
            lambda mask: np.array(mask, bool)
        )
        | st.tuples(st.just([0, -1, 0]), st.just([1, 0, 1]))
        | st.tuples(st.slices(count), st.just([0, 1]), st.just([0, 2]))
        | st.tuples(st.slices(count), st.slices(2), st.slices(3))
        | st.tuples(st.integers(-12, 12), st.just(slice(None)), st.just([0, 2]))
    )
    found, expected = taken(frames, index), taken(whole, index)
    assert (found is None) == (expected is None), index
    if expected is not None:
        assert np.shape(found) == np.shape(expected)
        assert np.array_equal(found, expected)
    assert np.array_equal(frames, whole)
    assert (frames.size, frames.nbytes, frames.ndim) == (whole.size, whole.nbytes, whole.ndim)


def taken(frames: Any, index: Any) -> Any:
    """What an index gives, None where it is refused."""
    try:
        return frames[index]
    except IndexError:
        return None
